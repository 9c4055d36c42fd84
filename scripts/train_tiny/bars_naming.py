"""Beside bar 3: how clearly names and things are said, where nothing else can go wrong.

Answers are forced through the monologue, so that neither ear nor memory has a part in it, and
judged by the grammar of all answers. The recorded voice through the codec stands beside them, for
more cannot be had of the language model, and that voice itself, for more is not to be had of the
ear. A second ear, where it is installed, is given the same sounds and the same answers.
"""

from __future__ import annotations

import random
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np

from .bars_conversation import answer_forms, answer_grammar, answer_slots, real, sounds_right
from .bars_speech import original, say, through_the_codec
from .encode import FRAME
from .judge import Judge, pronounced, spelled_out
from .second_ear import SecondEar, weights

if TYPE_CHECKING:
    from .evaluate import Bench

BEFORE_AND_AFTER = 5  # frames of silence around a recording


def naming_bars(bench: Bench, scale: float) -> list[dict[str, Any]]:
    """Names and things that are understood, of the language model and of the recorded voice."""
    rng, known = random.Random(3 + bench.variant), pronounced()
    names, things = real(bench.words.names[:300], known), real(bench.words.likes[:150], known)
    ears: list[tuple[str, Judge | SecondEar]] = [("", answer_grammar(bench))]
    if weights():
        answers = [*spelled_out(answer_forms(), answer_slots(bench))]
        ears.append((", second ear", SecondEar(answers)))
    rows, quiet = [], BEFORE_AND_AFTER * FRAME
    for kind, form, items in (("names", "your name is", names), ("things", "you like", things)):
        texts = [f"{form} {item}" for item in rng.sample(items, max(8, int(140 * scale)))]
        said = [bench.decode(codes) for _, codes in say(bench, texts)]
        padded = [np.pad(original(bench, text), quiet) for text in texts]
        recorded = [through_the_codec(bench, pcm) for pcm in padded]
        voices = (("", said), (", recorded voice", recorded), (", before the codec", padded))
        for (by, ear), (whose, sounds) in product(ears, voices):
            heard = [ear.recognise(pcm) for pcm in sounds]
            right = [sounds_right(got, text) for got, text in zip(heard, texts, strict=True)]
            name = f"3 answers: {kind} understood when given{whose}{by}"
            rows.append(dict(name=name, value=float(np.mean(right)), count=len(texts)))
    return rows
