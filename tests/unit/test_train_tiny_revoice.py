"""The vocoder of the recipe makes somebody else of a voice."""

from __future__ import annotations

import numpy as np

from scripts.train_tiny.speech import SAMPLE_RATE, Speech, revoice


def man(seconds: float = 1.0) -> Speech:
    """A hum at 110 Hz whose overtones are strongest around 600 Hz, and silence around it."""
    t = np.arange(int(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    overtones = np.arange(1, 30) * 110.0
    strength = np.exp(-(((overtones - 600) / 200) ** 2)) + 0.02
    pcm = (strength[:, None] * np.sin(2 * np.pi * overtones[:, None] * t)).sum(0)
    quiet = np.zeros(SAMPLE_RATE // 4)
    whole = np.concatenate([quiet, 0.1 * pcm, quiet]).astype(np.float32)
    return Speech(whole, [("hum", 0.25, 0.25 + seconds)])


def pitch_of(pcm: np.ndarray) -> float:
    middle = pcm[len(pcm) // 2 - 4096 : len(pcm) // 2 + 4096]
    alike = np.correlate(middle, middle, "full")[len(middle) - 1 :]
    lags = np.arange(SAMPLE_RATE // 400, SAMPLE_RATE // 80)
    return SAMPLE_RATE / lags[alike[lags].argmax()]


def strongest_hz(pcm: np.ndarray) -> float:
    power = np.abs(np.fft.rfft(pcm)) ** 2
    hz = np.fft.rfftfreq(len(pcm), 1 / SAMPLE_RATE)
    return float((hz * power).sum() / power.sum())


def test_pitch_and_formants_move_apart_and_words_stay() -> None:
    before = man()
    after = revoice(before, 200.0, 1.2)
    assert after.words == before.words
    assert len(after.pcm) == len(before.pcm)
    assert abs(pitch_of(before.pcm) - 110) < 3
    assert abs(pitch_of(after.pcm) - 200) < 8
    assert 1.1 < strongest_hz(after.pcm) / strongest_hz(before.pcm) < 1.35


def test_silence_stays_silence() -> None:
    quiet = Speech(np.zeros(SAMPLE_RATE, np.float32), [])
    assert np.abs(revoice(quiet, 200.0, 1.2).pcm).max() == 0
