"""A voice made up from another says the same words at other times, higher or lower."""

from __future__ import annotations

import numpy as np
import pytest

from scripts.train_tiny.other_voices import by_another, taken_apart
from scripts.train_tiny.speech import SAMPLE_RATE, Speech

HZ = 120.0


@pytest.fixture(scope="module")
def said() -> Speech:
    """Two vowels of a second in all, and a silence between them."""
    t = np.arange(SAMPLE_RATE) / SAMPLE_RATE
    buzz = sum(np.sin(2 * np.pi * HZ * n * t) / n for n in range(1, 40))
    buzz[int(0.45 * SAMPLE_RATE) : int(0.55 * SAMPLE_RATE)] = 0
    return Speech((0.2 * buzz).astype(np.float32), [("ah", 0.0, 0.45), ("oh", 0.55, 1.0)])


def test_the_words_lie_where_they_sound(said: Speech) -> None:
    for seed in range(6):
        other = by_another(said, seed)
        assert [word for word, _, _ in other.words] == ["ah", "oh"]
        (_, begin, end), (_, again, over) = other.words
        assert 0 <= begin < end < again < over <= len(other.pcm) / SAMPLE_RATE + 0.01
        loud = [np.abs(other.pcm[int(a * SAMPLE_RATE) : int(b * SAMPLE_RATE)]).mean()
                for a, b in ((begin + 0.05, end - 0.05), (end + 0.03, again - 0.03))]  # fmt: skip
        assert loud[0] > 5 * loud[1]
        assert np.abs(other.pcm).max() <= 1


def test_each_seed_is_a_voice_of_its_own(said: Speech) -> None:
    pitches = []
    for seed in range(6):
        pitch = taken_apart(by_another(said, seed).pcm).pitch
        pitches.append(float(np.median(pitch[pitch > 0])))
    assert max(pitches) > 1.3 * min(pitches)
    assert np.array_equal(by_another(said, 3).pcm, by_another(said, 3).pcm)
