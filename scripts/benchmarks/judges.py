"""The recognisers of a benchmark's answers, and the words of the domain that they know."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from scripts.train_tiny import corpus
from scripts.train_tiny.judge import Judge, pronounced, spelled_out, write_grammar
from scripts.train_tiny.second_ear import SecondEar, weights


def judge_of(folder: Path, sentences: Sequence[str], slots: Mapping[str, Sequence[str]]) -> Judge:
    """Make a recogniser of these sentences, one after the other, and of nothing else.

    Trigrams would do, were the voice a person's: through coda-tiny's codec they take every second
    "i do not know" for "i did not know", which nobody in this domain ever says.
    """
    write_grammar(folder / "answers.gram", sentences, slots, several=True)
    return Judge(grammar=folder / "answers.gram")


class Ears:
    """PocketSphinx, and Moonshine where it is installed: both hear these sentences alone."""

    def __init__(
        self, folder: Path, sentences: Sequence[str], slots: Mapping[str, Sequence[str]]
    ) -> None:
        self._first = judge_of(folder, sentences, slots)
        self._second = SecondEar([*spelled_out(sentences, slots)]) if weights() else None

    def recognise(self, pcm: np.ndarray) -> tuple[str, str | None]:
        """What the first and the second hear in float32 PCM at 24 kHz; None: it is not there."""
        second = None if self._second is None else self._second.recognise(pcm)
        return self._first.recognise(pcm), second


def known_words() -> tuple[list[str], list[str]]:
    """Things that can be liked and names that the recogniser knows."""
    known = pronounced()
    words, _ = corpus.vocabularies()
    likes = [word for word in words.likes[:150] if word in known]
    return likes, [word for word in words.names[:300] if word in known]
