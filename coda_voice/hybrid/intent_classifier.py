"""Guess the kind of an utterance that no rule recognises: logistic regression on n-grams.

Word and character n-grams, weights in ``intent_weights.json``, which
``scripts/train_router.py`` writes. It costs a tenth of a millisecond; an embedding that is
computed for the memory anyway can take its place behind the same method.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from importlib.resources import files
from typing import cast

from coda_voice.hybrid.route_rules import KINDS, Kind


def features(words: str, has_previous: bool) -> Iterator[str]:
    """Give the features of an utterance (normalised words), each at most once."""
    tokens = words.split()
    found = {"after an answer" if has_previous else "first"}
    found.add(f"length {min(len(tokens), 12) // 3}")
    for at, token in enumerate(tokens):
        found.add(token)
        found.add(f"{'^' if at == 0 else tokens[at - 1]} {token}")
        padded = f"<{token}>"
        found.update(f"~{padded[i : i + 4]}" for i in range(len(padded) - 3))
    if tokens:
        found.add(f"^{' '.join(tokens[:3])}")
        found.add(f"{tokens[-1]} $")
    yield from found


class IntentClassifier:
    """Weights by feature, one for each kind; the bias is the feature ``""``."""

    def __init__(self, weights: Mapping[str, Sequence[float]]) -> None:
        self._weights = weights

    @staticmethod
    @cache
    def shipped() -> IntentClassifier:
        """Load the weights that come with the package, once for all conversations."""
        text = files("coda_voice.hybrid").joinpath("intent_weights.json").read_text("utf-8")
        return IntentClassifier(cast("dict[str, list[float]]", json.loads(text)))

    def probabilities(self, words: str, has_previous: bool) -> dict[Kind, float]:
        """Give how likely each kind is; ``words`` normalised."""
        scores = list(self._weights[""])
        for feature in features(words, has_previous):
            row = self._weights.get(feature)
            if row is not None:
                for at, weight in enumerate(row):
                    scores[at] += weight
        highest = max(scores)
        exponentials = [math.exp(score - highest) for score in scores]
        total = sum(exponentials)
        return {kind: e / total for kind, e in zip(KINDS, exponentials, strict=True)}
