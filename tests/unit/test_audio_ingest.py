"""The whole input chain of a user, on spoken audio, good and bad; and the way out."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from coda_voice.audio.files import read
from coda_voice.audio.ingest import AudioSettings, Ingest, IngestFrame, Outlet
from coda_voice.audio.pcm import encode_samples
from coda_voice.audio.resample import resample
from coda_voice.audio.telephony import decode as decode_g711
from coda_voice.errors import AudioProcessingError, ConfigurationError
from coda_voice.moshi.frames import FRAME_SAMPLES

DATA = Path(__file__).parents[1] / "data"
SPOKEN = json.loads((DATA / "spoken.json").read_text())
RATE = 24_000
ALL_STAGES = {"noise_reduction": True, "echo_cancellation": True, "auto_gain_control": True}


def spoken(name: str, rate: int = RATE) -> np.ndarray:
    return read(DATA / SPOKEN[name]["file"]).at(rate)


def feed(ingest: Ingest, audio: bytes | np.ndarray, chunk: int) -> list[IngestFrame]:
    frames: list[IngestFrame] = []
    for start in range(0, len(audio), chunk):
        frames += ingest.push(audio[start : start + chunk])
    return frames + ingest.finish()


def joined(frames: list[IngestFrame]) -> np.ndarray:
    return np.concatenate([frame.pcm for frame in frames])


def test_24_khz_sound_goes_through_untouched_in_exact_frames() -> None:
    pcm = spoken("what_is_your_name")
    frames = feed(Ingest(), pcm, 1_000)
    assert len(frames) == -(-len(pcm) // FRAME_SAMPLES)
    assert [frame.frame for frame in frames] == list(range(len(frames)))
    assert all(f.pcm.shape == (FRAME_SAMPLES,) and f.pcm.dtype == np.float32 for f in frames)
    np.testing.assert_array_equal(joined(frames)[: len(pcm)], pcm)
    assert not joined(frames)[len(pcm) :].any()


@pytest.mark.parametrize("rate", [8_000, 16_000, 44_100])
def test_sound_at_full_scale_stays_within_it_at_any_rate(rate: int) -> None:
    square = np.where(np.arange(rate) % 8 < 4, 32_767, -32_768).astype(np.int16)
    sound = joined(feed(Ingest(AudioSettings(sample_rate=rate, vad_enabled=False)), square, 500))
    assert 0.9 < np.abs(sound).max() <= 1.0


@pytest.mark.parametrize(
    ("rate", "channels", "encoding"),
    [
        (16_000, 1, "int16"),
        (44_100, 2, "int16"),
        (48_000, 2, "float32"),
        (8_000, 1, "mulaw"),
        (8_000, 1, "alaw"),
        (192_000, 8, "int16"),
        (22_050, 1, "int24"),
        (48_000, 1, "int32"),
    ],
)
def test_any_format_becomes_the_same_sound(rate: int, channels: int, encoding: str) -> None:
    reference = spoken("what_is_your_name")
    interleaved = np.repeat(resample(reference, RATE, rate), channels)
    settings = AudioSettings(sample_rate=rate, channels=channels, encoding=encoding)  # type: ignore[arg-type]
    frames = feed(Ingest(settings), encode_samples(interleaved, settings.sample_encoding), 999)
    pcm = joined(frames)[: len(reference)]
    assert abs(len(frames) - len(reference) / FRAME_SAMPLES) <= 1
    # Below the telephone's limit all must agree; resampling shifts by up to 0.25 ms.
    top = round(3_000 * len(reference) / RATE)
    there, here = np.fft.rfft(reference)[:top], np.fft.rfft(pcm)[:top]
    assert np.abs(here).sum() == pytest.approx(np.abs(there).sum(), rel=0.05)
    shift = np.fft.irfft(here * np.conj(there), len(pcm))
    assert shift.max() > 0.98 * np.sqrt(np.sum(np.abs(here) ** 2) * np.sum(np.abs(there) ** 2)) / (
        len(pcm) / 2
    )
    assert int(shift.argmax()) in (*range(7), *range(len(pcm) - 7, len(pcm)))
    events = [event for frame in frames for event in frame.events]
    assert [event.kind for event in events] == ["start", "end"]
    assert events[0].time == pytest.approx(SPOKEN["what_is_your_name"]["onset"], abs=0.1)


def test_bytes_and_arrays_and_any_chunking_are_the_same() -> None:
    pcm = spoken("hello")
    data = encode_samples(pcm, "int16")
    exact = np.frombuffer(data, dtype="<i2").astype(np.int16)
    reference = joined(feed(Ingest(), data, len(data)))
    for chunk in (1, 3, 641, 3_840):
        np.testing.assert_array_equal(joined(feed(Ingest(), data, chunk)), reference)
    np.testing.assert_array_equal(joined(feed(Ingest(), exact, 777)), reference)
    stereo = np.stack([exact, exact], axis=1)
    np.testing.assert_array_equal(joined(feed(Ingest(), stereo, 777)), reference)
    np.testing.assert_array_equal(
        joined(feed(Ingest(), memoryview(data), 555)),
        reference,  # type: ignore[arg-type]
    )


def test_zero_length_chunks_change_nothing() -> None:
    pcm = spoken("hello")
    ingest = Ingest(AudioSettings(**ALL_STAGES))
    assert ingest.push(b"") == []
    assert ingest.push(np.zeros(0, np.float32)) == []
    frames = []
    for start in range(0, len(pcm), 960):
        frames += ingest.push(pcm[start : start + 960])
        frames += ingest.push(b"")
    plain = feed(Ingest(AudioSettings(**ALL_STAGES)), pcm, 960)
    np.testing.assert_array_equal(joined(frames + ingest.finish()), joined(plain))


def test_half_a_sample_is_carried_and_at_the_end_dropped_and_counted() -> None:
    data = encode_samples(spoken("hello"), "int16")
    ingest = Ingest()
    frames = ingest.push(data[:1001]) + ingest.push(data[1001:]) + ingest.push(b"\x55")
    frames += ingest.finish()
    assert ingest.counters.dropped_bytes == 1
    np.testing.assert_array_equal(joined(frames), joined(feed(Ingest(), data, 10_000)))


def test_a_stream_that_stops_within_a_frame_is_filled_with_silence() -> None:
    pcm = spoken("stop")[:15_000]
    frames = feed(Ingest(), pcm, 480)
    assert len(frames) == 8
    assert not frames[-1].pcm[15_000 - 7 * FRAME_SAMPLES :].any()
    assert [event.kind for frame in frames for event in frame.events] == ["start", "end"]


@pytest.mark.parametrize("stages", [{}, ALL_STAGES])
def test_nan_and_infinity_become_silence_and_are_counted(stages: dict[str, bool]) -> None:
    pcm = spoken("what_do_i_like")
    broken = pcm.copy()
    broken[2_000:2_050] = np.nan
    broken[3_000] = np.inf
    broken[3_001] = -np.inf
    broken[4_000] = 1e30
    data = broken.astype("<f4").tobytes()
    ingest = Ingest(AudioSettings(encoding="float32", **stages))
    frames = feed(ingest, data, 4_001)
    assert ingest.counters.bad_samples == 52
    assert ingest.counters.clipped_samples == 1
    assert np.isfinite(joined(frames)).all()
    assert np.abs(joined(frames)).max() <= 1.0
    assert [event.kind for frame in frames for event in frame.events] == ["start", "end"]
    healthy = joined(feed(Ingest(AudioSettings(**stages)), pcm, 1_920))
    if not stages:
        np.testing.assert_array_equal(joined(frames)[5_000:], healthy[5_000:])


def test_pure_garbage_bytes_never_break_the_chain() -> None:
    rng = np.random.default_rng(0)
    for encoding in ("int16", "float32", "mulaw"):
        ingest = Ingest(AudioSettings(encoding=encoding, sample_rate=16_000, **ALL_STAGES))  # type: ignore[arg-type]
        for frame in feed(ingest, rng.bytes(100_001), 3_333):
            assert np.isfinite(frame.pcm).all()
            assert np.abs(frame.pcm).max() <= 1.0


def test_voice_activity_can_be_off() -> None:
    frames = feed(Ingest(AudioSettings(vad_enabled=False)), spoken("hello"), 1_920)
    assert not any(frame.in_utterance or frame.events for frame in frames)
    assert {frame.speech for frame in frames} == {None}  # unknown: no word is dropped for it


def test_silence_duration_is_the_settings() -> None:
    pcm = np.concatenate([spoken("hello"), np.zeros(2 * RATE, np.float32)])
    for milliseconds in (200, 1_000):
        frames = feed(Ingest(AudioSettings(silence_duration_ms=milliseconds)), pcm, 1_920)
        (end,) = (e for frame in frames for e in frame.events if e.kind == "end")
        assert end.detected_at - end.time == pytest.approx(milliseconds / 1_000, abs=0.15)


def test_noise_reduction_is_a_setting_that_acts() -> None:
    pcm = spoken("long_question")
    noisy = pcm + 0.01 * np.random.default_rng(0).standard_normal(len(pcm)).astype(np.float32)
    plain = feed(Ingest(), noisy, 1_920)
    quiet = feed(Ingest(AudioSettings(noise_reduction=True)), noisy, 1_920)
    assert len(plain) == len(quiet)
    # The last half second is noise alone.
    assert plain[-4].level_dbfs - quiet[-4].level_dbfs > 8
    starts = [next(e.time for f in frames for e in f.events) for frames in (plain, quiet)]
    assert starts[0] == pytest.approx(starts[1], abs=0.08)


def test_automatic_gain_is_a_setting_that_acts() -> None:
    pcm = spoken("long_question") * np.float32(0.1)
    plain = feed(Ingest(), pcm, 1_920)
    level = feed(Ingest(AudioSettings(auto_gain_control=True)), pcm, 1_920)
    loud = [max(frame.level_dbfs for frame in frames[40:]) for frames in (plain, level)]
    assert loud[0] < -35 < -25 < loud[1]


def test_echo_cancellation_is_a_setting_that_acts() -> None:
    agent = np.tile(spoken("agent_answer"), 3)
    echo = 0.3 * np.concatenate([np.zeros(2_400, np.float32), agent])[: len(agent)]
    levels = {}
    for on in (False, True):
        ingest = Ingest(AudioSettings(echo_cancellation=on))
        frames = []
        # The agent's frames come in 80 ms pieces, the microphone's in 20 ms.
        for start in range(0, len(agent) - 1_919, 480):
            said = agent[start : start + 1_920] if start % 1_920 == 0 else None
            frames += ingest.push(echo[start : start + 480].astype(np.float32), reference=said)
        half = joined(frames)[len(agent) * 2 // 3 :]
        levels[on] = 10 * np.log10(np.mean(half**2))
        assert ingest.counters.reference_dropped == 0
    assert levels[False] - levels[True] > 20


def test_reference_that_nobody_needs_is_bounded_and_counted() -> None:
    ingest = Ingest(AudioSettings(echo_cancellation=True))
    for _ in range(50):
        ingest.push(b"", reference=np.zeros(FRAME_SAMPLES, np.float32))
    assert ingest.counters.reference_dropped == 50 * FRAME_SAMPLES - RATE


def test_after_the_end_nothing_more_is_taken() -> None:
    ingest = Ingest()
    ingest.push(b"\x00" * 100)
    assert len(ingest.finish()) == 1
    assert ingest.finish() == []
    with pytest.raises(AudioProcessingError, match="finished"):
        ingest.push(b"\x00\x00")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"sample_rate": 0}, "sample rate"),
        ({"channels": 0}, "channels"),
        ({"bit_depth": 8}, "bit_depth"),
        ({"encoding": "opus"}, "opus"),
        ({"vad_threshold": 2.0}, "vad_threshold"),
    ],
)
def test_settings_that_cannot_be_say_so(settings: dict[str, object], message: str) -> None:
    with pytest.raises((AudioProcessingError, ConfigurationError), match=message):
        Ingest(AudioSettings(**settings))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("rate", "encoding"), [(24_000, "int16"), (16_000, "float32"), (48_000, "int16")]
)
def test_the_way_out_has_the_exact_length(rate: int, encoding: str) -> None:
    pcm = spoken("agent_answer")
    pcm = pcm[: len(pcm) // FRAME_SAMPLES * FRAME_SAMPLES]
    outlet = Outlet(rate, encoding)  # type: ignore[arg-type]
    data = b"".join(outlet.push(pcm[i : i + 1_920]) for i in range(0, len(pcm), 1_920))
    data += outlet.finish()
    back = np.frombuffer(data, "<i2" if encoding == "int16" else "<f4")
    back = back / 32_768 if encoding == "int16" else back
    assert len(back) == len(pcm) * rate // RATE
    assert np.mean(back**2) == pytest.approx(np.mean(pcm**2), rel=0.02)


def test_the_way_out_to_a_telephone() -> None:
    pcm = spoken("agent_answer")[: 50 * FRAME_SAMPLES]
    for law in ("mulaw", "alaw"):
        outlet = Outlet(8_000, law)  # type: ignore[arg-type]
        data = b"".join(outlet.push(pcm[i : i + 1_920]) for i in range(0, len(pcm), 1_920))
        back = decode_g711(data + outlet.finish(), law)  # type: ignore[arg-type]
        assert len(back) == len(pcm) // 3
        assert np.mean(back**2) == pytest.approx(np.mean(pcm**2), rel=0.1)
