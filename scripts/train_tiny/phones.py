"""Phones for the codec's first codebook: what is said, apart from who says it and how.

Mimi's first codebook is taught by a self-supervised speech model (Défossez et al. 2024, "Moshi",
section 3.3.1). Here the texts of all recordings are known, so it is taught by phones: a word's
phones and their shares of its length come from flite, whoever spoke the word.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from .speech import WordTimes, flite_voice

PARTS = 4  # labels a frame: one every 20 ms
PART_SECONDS = 0.02
LATENESS = 0.02  # a causal encoder hears the end of a sound a little after it
SILENCE = "pau"

Lexicon = dict[str, list[tuple[str, float]]]


def word_phones(word: str) -> list[tuple[str, float]]:
    """(phone, end as a share of the word's length) of `word` as flite says it."""
    found = flite_voice("slt").phones(word)
    begin, spoken = 0.0, []
    for name, end in found:
        if name == SILENCE and not spoken:
            begin = end
        elif name != SILENCE:
            spoken.append((name, end))
    last = spoken[-1][1] if spoken else 1.0
    return [(name, (end - begin) / (last - begin)) for name, end in spoken]


def lexicon(folder: Path, spoken: Iterable[WordTimes]) -> Lexicon:
    """The phones of every word in all that is `spoken`; kept in `folder/phones.json`."""
    path = folder / "phones.json"
    known: Lexicon = json.loads(path.read_text()) if path.exists() else {}
    words = {word for times in spoken for word, _, _ in times}
    missing = sorted(words - known.keys())
    for count, word in enumerate(missing):
        known[word] = word_phones(word)
        if count % 500 == 0:
            print(f"\rphones {count}/{len(missing)}", end="", flush=True)
    if missing:
        print()
        path.write_text(json.dumps(known))
    return known


class Labels:
    """Turns clips into phone numbers, `PARTS` a frame; 0 is silence."""

    def __init__(self, words: Lexicon) -> None:
        names = sorted({name for phones in words.values() for name, _ in phones})
        self.words = words
        self.names = [SILENCE, *names]
        self._number = {name: index for index, name in enumerate(self.names)}

    def of(self, spoken: WordTimes, start: float, frames: int) -> np.ndarray:
        """Labels int64 [PARTS, frames] of the stretch that begins `start` seconds into a clip."""
        labels = np.zeros(frames * PARTS, np.int64)
        times = start - LATENESS + (np.arange(frames * PARTS) + 0.5) * PART_SECONDS
        for word, begin, end in spoken:
            phones = self.words.get(word)
            if not phones or end <= times[0] or begin >= times[-1]:
                continue
            inside = np.flatnonzero((times >= begin) & (times < end))
            if len(inside) == 0:
                continue
            share = (times[inside] - begin) / max(end - begin, 1e-3)
            edges = np.array([edge for _, edge in phones])
            chosen = np.minimum(np.searchsorted(edges, share, "right"), len(phones) - 1)
            labels[inside] = [self._number[phones[index][0]] for index in chosen]
        return labels.reshape(frames, PARTS).T
