"""An ear for the agent's voice: an independent recogniser that knows what coda-tiny may say."""

from __future__ import annotations

import tempfile
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from scripts.benchmarks.judges import judge_of, known_words
from scripts.train_tiny import corpus
from scripts.train_tiny.judge import Judge

SENTENCES = (
    "hello how can i help you", "hello <name> how can i help you", "my name is <agent>",
    "your name is <name>", "i do not know your name", "you like <like>",
    "i do not know what you like", "i do not know where you live", "nice to meet you <name>",
    "i will remember that you like <like>", "i am fine thank you", "you are welcome",
    "goodbye", "goodbye <name>", "sorry i did not understand", *corpus.LEADS,
)  # fmt: skip


@lru_cache
def _judge() -> Judge:
    likes, names = known_words()
    agents = corpus.vocabularies()[0].agents
    with tempfile.TemporaryDirectory() as folder:  # read when the recogniser is made
        return judge_of(Path(folder), SENTENCES, {"like": likes, "name": names, "agent": agents})


def recognised(pcm: NDArray[np.float32]) -> str:
    """The words in the agent's sound [samples], at 24 kHz, of all that it may say."""
    return _judge().recognise(np.asarray(pcm, np.float32))
