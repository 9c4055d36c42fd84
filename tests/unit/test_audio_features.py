"""Features of a frame, and the quality figure."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from coda_voice.audio.features import SILENCE_DBFS, level_dbfs, measure, pitch
from coda_voice.audio.files import read
from coda_voice.audio.quality import QualityMeter, quality
from coda_voice.audio.resample import resample

DATA = Path(__file__).parents[1] / "data"
SPOKEN = json.loads((DATA / "spoken.json").read_text())
RATE = 24_000


def sine(hertz: float, amplitude: float = 0.5, samples: int = 1_920) -> np.ndarray:
    return (amplitude * np.sin(2 * np.pi * hertz * np.arange(samples) / RATE)).astype(np.float32)


def spoken(name: str) -> np.ndarray:
    return read(DATA / SPOKEN[name]["file"]).at(RATE)


def test_a_tone_measures_as_what_it_is() -> None:
    features = measure(sine(1_000, 0.5))
    assert features.level_dbfs == pytest.approx(-9.03, abs=0.02)
    assert features.peak_dbfs == pytest.approx(-6.02, abs=0.02)
    assert features.zero_crossing_hz == pytest.approx(2_000, rel=0.02)
    assert features.centroid_hz == pytest.approx(1_000, rel=0.05)
    assert features.clipped == 0.0


def test_silence_and_nothing_measure_as_silence() -> None:
    for frame in (np.zeros(1_920, np.float32), np.zeros(0, np.float32)):
        features = measure(frame)
        assert features.level_dbfs == features.peak_dbfs == SILENCE_DBFS
        assert features.centroid_hz == features.zero_crossing_hz == 0.0
        assert features.pitch_hz is None


def test_clipping_is_seen() -> None:
    assert measure(np.clip(sine(300, 3.0), -1, 1)).clipped > 0.7


def test_hiss_is_brighter_than_speech() -> None:
    hiss = 0.1 * np.random.default_rng(0).standard_normal(1_920).astype(np.float32)
    voiced = spoken("agent_answer")[RATE : RATE + 1_920]
    assert measure(hiss).centroid_hz > 5_000 > measure(voiced).centroid_hz
    assert measure(hiss).zero_crossing_hz > 1.5 * measure(voiced).zero_crossing_hz


@pytest.mark.parametrize("hertz", [70, 110, 155.6, 220, 330, 390])
def test_the_pitch_of_a_rich_tone_is_its_fundamental(hertz: float) -> None:
    tone = sum(sine(hertz * k, 0.3 / k) for k in range(1, 6))
    assert pitch(tone.astype(np.float32)) == pytest.approx(hertz, rel=0.01)


def test_noise_has_no_pitch() -> None:
    rng = np.random.default_rng(0)
    noise = [0.1 * rng.standard_normal(1_920).astype(np.float32) for _ in range(50)]
    assert sum(pitch(frame) is not None for frame in noise) <= 2


def test_a_womans_voice_is_higher_than_a_mans() -> None:
    def median_pitch(name: str) -> float:
        pcm = spoken(name)
        found = [pitch(pcm[i : i + 1_920]) for i in range(0, len(pcm) - 1_920, 1_920)]
        return float(np.median([hertz for hertz in found if hertz is not None]))

    assert 140 < median_pitch("agent_answer") < 260
    assert 70 < median_pitch("long_question") < 140


@pytest.mark.parametrize("name", ["long_question", "agent_answer", "weather", "thank_you"])
def test_clean_speech_is_good(name: str) -> None:
    judged = quality(spoken(name))
    assert judged is not None
    assert judged.score > 0.85
    assert judged.snr_db > 30
    assert judged.clipped_share < 0.001
    assert judged.level_dbfs == pytest.approx(-23, abs=3)


@pytest.mark.parametrize("name", ["long_question", "agent_answer", "weather"])
def test_more_noise_is_never_better(name: str) -> None:
    speech = spoken(name)
    noise = np.random.default_rng(0).standard_normal(len(speech)).astype(np.float32)
    noise *= np.sqrt(np.mean(speech**2))
    scores = []
    for snr in (40, 30, 20, 10, 5, 0):
        judged = quality(speech + noise * np.float32(10 ** (-snr / 20)))
        assert judged is not None
        scores.append(judged.score)
    assert scores == sorted(scores, reverse=True)
    assert scores[0] > 0.8
    assert scores[-1] < 0.25


@pytest.mark.parametrize("name", ["long_question", "agent_answer", "weather"])
def test_more_clipping_is_never_better(name: str) -> None:
    speech = spoken(name)
    peak = float(np.abs(speech).max())
    scores = []
    for limit in (1.0, 0.7, 0.5, 0.3, 0.2):
        clipped = np.clip(speech, -limit * peak, limit * peak)
        # Brought back to its level: it is the shape that is judged, not the loudness.
        clipped *= np.sqrt(np.mean(speech**2) / np.mean(clipped**2))
        judged = quality(clipped)
        assert judged is not None
        scores.append(judged.score)
    assert scores == sorted(scores, reverse=True)
    assert scores[-1] < 0.6 * scores[0]


def test_a_telephone_is_worse_than_a_microphone_and_far_away_worse_than_near() -> None:
    speech = spoken("long_question")
    near = quality(speech)
    phone = quality(resample(resample(speech, RATE, 8_000), 8_000, RATE))
    far = quality(speech * np.float32(0.01))
    assert near is not None
    assert phone is not None
    assert far is not None
    assert phone.bandwidth_hz < 4_200 < near.bandwidth_hz
    assert phone.score < near.score
    assert far.score < 0.8 * near.score


def test_without_speech_there_is_no_figure() -> None:
    assert quality(np.zeros(RATE, np.float32)) is None
    assert quality(np.zeros(0, np.float32)) is None
    assert quality(spoken("hello")[: RATE // 2]) is None
    hiss = 0.05 * np.random.default_rng(0).standard_normal(5 * RATE).astype(np.float32)
    judged = quality(hiss)
    assert judged is None or judged.score < 0.1


def test_a_stream_is_judged_as_the_whole_is() -> None:
    speech = spoken("long_question")
    meter = QualityMeter()
    for start in range(0, len(speech), 1_111):
        meter.push(speech[start : start + 1_111])
    assert meter.quality() == quality(speech)


def test_level_of_nothing() -> None:
    assert level_dbfs(np.zeros(0, np.float32)) == SILENCE_DBFS
    assert level_dbfs(np.ones(10, np.float32)) == pytest.approx(0.0)
