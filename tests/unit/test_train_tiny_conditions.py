"""Recording conditions of the recipe: every voice is heard at every level."""

import numpy as np
import pytest

from scripts.train_tiny.conditions import LOUDNESS_DB, levelled, loudness

RATE = 24_000


def voice(level_db: float, pause: float = 0.4) -> np.ndarray:
    """A second of something like a voice, with a pause in it."""
    rng = np.random.default_rng(1)
    sound = rng.standard_normal(RATE).astype(np.float32)
    sound[: int(pause * RATE)] = 0
    return sound * 10 ** (level_db / 20)


@pytest.mark.parametrize("level", [-45.0, -30.0, -8.0])
def test_voices_of_any_level_come_out_equally_loud(level):
    assert loudness(levelled(voice(level))) == pytest.approx(LOUDNESS_DB, abs=0.1)


def test_pauses_do_not_make_a_voice_louder():
    assert loudness(voice(-20, pause=0.6)) == pytest.approx(loudness(voice(-20, pause=0.1)), abs=1)


@pytest.mark.parametrize("clip", [np.zeros(RATE, np.float32), np.zeros(10, np.float32)])
def test_silence_stays_silence(clip):
    assert not levelled(clip).any()
