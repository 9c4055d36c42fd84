"""Resampling without drift or clicks, and exact frames."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coda_voice.audio.framing import Framer
from coda_voice.audio.resample import Resampler, resample
from coda_voice.errors import AudioProcessingError
from coda_voice.moshi.frames import FRAME_SAMPLES

RATES = [8_000, 11_025, 16_000, 22_050, 32_000, 44_100, 48_000, 96_000, 192_000]
PAIRS = [(rate, 24_000) for rate in RATES] + [(24_000, rate) for rate in RATES]


def tone(hertz: float, rate: int, seconds: float) -> np.ndarray:
    n = np.arange(round(rate * seconds))
    return (0.5 * np.sin(2 * np.pi * hertz * n / rate)).astype(np.float32)


def stream(pcm: np.ndarray, in_rate: int, out_rate: int, chunk: int) -> np.ndarray:
    resampler = Resampler(in_rate, out_rate)
    out = [resampler.process(pcm[i : i + chunk]) for i in range(0, len(pcm), chunk)]
    return np.concatenate([*out, resampler.flush()])


def residue_db(signal: np.ndarray, hertz: float, rate: int) -> float:
    """How far everything but a steady tone lies below it: clicks and steps would show."""
    angle = 2 * np.pi * hertz * np.arange(len(signal)) / rate
    basis = np.stack([np.sin(angle), np.cos(angle)], axis=1)
    fit, *_ = np.linalg.lstsq(basis, signal, rcond=None)
    rest = signal - basis @ fit
    return float(10 * np.log10(np.mean(rest**2) / np.mean(signal**2)))


@pytest.mark.parametrize(("in_rate", "out_rate"), PAIRS)
def test_a_tone_stays_the_same_tone_in_any_chunking(in_rate: int, out_rate: int) -> None:
    pcm = tone(997, in_rate, 2.0)
    out = stream(pcm, in_rate, out_rate, 313)
    assert len(out) == round(len(pcm) * out_rate / in_rate)
    middle = out[out_rate // 4 : -out_rate // 4]
    assert residue_db(middle, 997, out_rate) < -90
    np.testing.assert_array_equal(out, stream(pcm, in_rate, out_rate, 1_000_000))


@pytest.mark.parametrize(("in_rate", "limit_ms"), [(16_000, 16), (44_100, 7), (48_000, 6)])
def test_the_delay_is_short_and_does_not_depend_on_chunks(in_rate: int, limit_ms: int) -> None:
    for chunk in (1, 160, 4_096):
        resampler = Resampler(in_rate, 24_000)
        for _ in range(in_rate // chunk):
            resampler.process(np.zeros(chunk, dtype=np.float32))
        assert 0 <= resampler.pending_seconds * 1_000 <= limit_ms
        outward = Resampler(24_000, in_rate)
        for _ in range(24_000 // chunk):
            outward.process(np.zeros(chunk, dtype=np.float32))
        assert 0 <= outward.pending_seconds * 1_000 <= 12


def test_a_telephone_line_adds_no_more_than_30_ms() -> None:
    for pair in ((8_000, 24_000), (24_000, 8_000)):
        resampler = Resampler(*pair)
        for _ in range(100):
            resampler.process(np.zeros(pair[0] // 50, dtype=np.float32))
            assert resampler.pending_seconds <= 0.0301


@pytest.mark.parametrize(("in_rate", "out_rate"), [(22_050, 24_000), (24_000, 11_025)])
def test_an_hour_does_not_drift(in_rate: int, out_rate: int) -> None:
    resampler = Resampler(in_rate, out_rate)
    silence = np.zeros(in_rate // 5, dtype=np.float32)
    out = sum(len(resampler.process(silence)) for _ in range(5 * 3_600 - 5))
    late = resampler.pending_seconds
    # What comes after an hour is exactly what would have come in the second second.
    pcm = tone(500, in_rate, 1.0)
    mark = resampler.process(pcm)
    assert abs(resampler.pending_seconds - late) < 0.001
    rest = resampler.flush()
    assert out + len(mark) + len(rest) == 3_600 * out_rate
    sound = np.concatenate([mark, rest])[-out_rate:]
    fresh = Resampler(in_rate, out_rate)
    early = [fresh.process(np.zeros(in_rate, np.float32)), fresh.process(pcm), fresh.flush()]
    np.testing.assert_allclose(sound, np.concatenate(early)[-out_rate:], atol=1e-3)


@pytest.mark.parametrize(("in_rate", "out_rate"), PAIRS)
def test_what_comes_out_is_in_its_place_within_a_quarter_millisecond(
    in_rate: int, out_rate: int
) -> None:
    out = stream(tone(500, in_rate, 1.0), in_rate, out_rate, 480)[out_rate // 4 : -out_rate // 4]
    angle = 2 * np.pi * 500 * (np.arange(len(out)) + out_rate // 4) / out_rate
    phase = np.angle(np.sum(out * np.exp(-1j * angle)) * 1j)
    assert abs(phase) / (2 * np.pi * 500) < 0.00025


def test_what_the_lower_rate_cannot_hold_is_gone_not_folded_back() -> None:
    for pitch in (4_500, 7_000, 11_000):
        out = stream(tone(pitch, 24_000, 1.0), 24_000, 8_000, 480)[1_000:-1_000]
        assert 10 * np.log10(np.mean(out**2) / 0.125) < -90


def test_after_flush_and_reset_nothing_of_the_old_stream_is_heard() -> None:
    resampler = Resampler(16_000, 24_000)
    resampler.process(tone(440, 16_000, 0.5))
    resampler.flush()
    assert not np.concatenate([resampler.process(np.zeros(1_600, np.float32)), resampler.flush()])[
        :2_400
    ].any()
    resampler.process(tone(440, 16_000, 0.5))
    resampler.reset()
    assert not resampler.process(np.zeros(16_000, np.float32)).any()
    assert not len(Resampler(16_000, 24_000).flush())


@pytest.mark.parametrize("chunk", [0, 1])
def test_tiny_chunks_are_fine(chunk: int) -> None:
    resampler = Resampler(16_000, 24_000)
    for _ in range(50):
        assert len(resampler.process(np.zeros(chunk, np.float32))) <= 2


@pytest.mark.parametrize(("in_rate", "out_rate"), PAIRS)
def test_a_whole_signal_has_its_exact_length(in_rate: int, out_rate: int) -> None:
    for samples in (1, 7, in_rate // 3):
        out = resample(np.ones(samples, dtype=np.float32), in_rate, out_rate)
        assert len(out) == round(samples * out_rate / in_rate)


def test_impossible_rates_are_refused() -> None:
    for rate in (0, -8_000, 50, 5_000_000):
        with pytest.raises(AudioProcessingError, match="sample rate"):
            Resampler(rate, 24_000)
        with pytest.raises(AudioProcessingError, match="sample rate"):
            resample(np.zeros(10, np.float32), 24_000, rate)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 5_000), max_size=20))
def test_frames_hold_every_sample_once_whatever_the_chunks(sizes: list[int]) -> None:
    signal = np.arange(sum(sizes), dtype=np.float32)
    framer = Framer()
    frames: list[np.ndarray] = []
    position = 0
    for size in sizes:
        frames += framer.push(signal[position : position + size])
        position += size
        assert len(framer) < FRAME_SAMPLES
    last = framer.flush()
    if last is not None:
        frames.append(last)
    assert all(len(frame) == FRAME_SAMPLES for frame in frames)
    joined = np.concatenate([*frames, np.zeros(0, np.float32)])
    np.testing.assert_array_equal(joined[: len(signal)], signal)
    assert not joined[len(signal) :].any()
    assert len(joined) - len(signal) < FRAME_SAMPLES


def test_frames_belong_to_the_caller() -> None:
    framer = Framer(4)
    first = framer.push(np.ones(4, np.float32))[0]
    framer.push(np.full(4, 2.0, np.float32))
    np.testing.assert_array_equal(first, np.ones(4))
    framer.push(np.ones(3, np.float32))
    framer.reset()
    assert framer.flush() is None
