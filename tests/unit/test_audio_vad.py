"""Voice activity: events at the right times, on spoken audio."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from coda_voice.audio.files import read
from coda_voice.audio.vad import VadEvent, VadFrame, VadSettings, VoiceActivityDetector
from coda_voice.errors import ConfigurationError

DATA = Path(__file__).parents[1] / "data"
SPOKEN = json.loads((DATA / "spoken.json").read_text())
RATE = 24_000


def spoken(name: str, *, before: float = 0.0, after: float = 1.0) -> np.ndarray:
    silence = [np.zeros(round(s * RATE), np.float32) for s in (before, after)]
    return np.concatenate([silence[0], read(DATA / SPOKEN[name]["file"]).at(RATE), silence[1]])


def detect(
    pcm: np.ndarray, detector: VoiceActivityDetector | None = None, chunk: int = 1_920
) -> tuple[list[VadEvent], list[VadFrame]]:
    detector = detector or VoiceActivityDetector()
    frames = [detector.process(pcm[i : i + chunk]) for i in range(0, len(pcm), chunk)]
    frames.append(detector.finish())
    return [event for frame in frames for event in frame.events], frames


@pytest.mark.parametrize("name", SPOKEN)
@pytest.mark.parametrize("noise", [0.0, 0.003])
def test_speech_is_found_where_it_is(name: str, noise: float) -> None:
    pcm = spoken(name)
    pcm = pcm + noise * np.random.default_rng(0).standard_normal(len(pcm)).astype(np.float32)
    events, frames = detect(pcm)
    assert [event.kind for event in events] == ["start", "end"]
    start, end = events
    assert -0.05 <= start.time - SPOKEN[name]["onset"] <= 0.1
    assert -0.05 <= end.time - SPOKEN[name]["offset"] <= 0.1
    # Known soon: within three frames of the beginning, and once the silence has lasted.
    assert start.detected_at - SPOKEN[name]["onset"] <= 0.24
    assert 0.4 <= end.detected_at - end.time <= 0.7
    inside = [frame for frame in frames if frame.in_utterance]
    assert len(inside) * 0.08 == pytest.approx(end.detected_at - start.detected_at, abs=0.09)
    assert sum(frame.is_speech for frame in frames) * 0.08 > 0.7 * (end.time - start.time)


def test_how_far_off_the_times_are_on_average() -> None:
    late = {"start": [], "end": []}
    for name, entry in SPOKEN.items():
        for event in detect(spoken(name))[0]:
            late[event.kind].append(
                event.time - entry["onset" if event.kind == "start" else "offset"]
            )
    assert np.mean(np.abs(late["start"])) < 0.04
    assert np.mean(np.abs(late["end"])) < 0.05


def test_quiet_speech_is_still_speech() -> None:
    events, _ = detect(spoken("long_question") * np.float32(0.1))
    assert [event.kind for event in events] == ["start", "end"]


@pytest.mark.parametrize("sound", ["silence", "white noise", "hum", "clicks"])
def test_what_is_no_speech_gives_no_event(sound: str) -> None:
    rng = np.random.default_rng(1)
    pcm = np.zeros(RATE * 6, np.float32)
    if sound == "white noise":
        pcm += 0.05 * rng.standard_normal(len(pcm)).astype(np.float32)
    elif sound == "hum":
        pcm += (0.1 * np.sin(2 * np.pi * 50 * np.arange(len(pcm)) / RATE)).astype(np.float32)
    elif sound == "clicks":
        pcm[:: RATE // 3] = 0.9
    events, frames = detect(pcm)
    assert events == []
    assert not any(frame.is_speech or frame.in_utterance for frame in frames)


def test_a_pause_ends_an_utterance_only_when_it_is_long_enough() -> None:
    pcm = np.concatenate([spoken("stop", after=0.0), spoken("hello", after=2.0)])
    # Between the two: 0.7 s after the first and 0.5 s before the second.
    short, _ = detect(pcm, VoiceActivityDetector(VadSettings(silence_duration_ms=500)))
    long, _ = detect(pcm, VoiceActivityDetector(VadSettings(silence_duration_ms=1_500)))
    assert [event.kind for event in short] == ["start", "end", "start", "end"]
    assert [event.kind for event in long] == ["start", "end"]
    assert long[1].time == short[3].time
    assert long[1].detected_at - long[1].time == pytest.approx(1.5, abs=0.2)


def test_speech_that_is_still_going_on_ends_with_the_stream() -> None:
    pcm = spoken("long_question")[: RATE * 3]
    events, _ = detect(pcm)
    assert [event.kind for event in events] == ["start", "end"]
    assert events[1].time == pytest.approx(3.0, abs=0.1)


def test_chunks_of_any_length_give_the_same_times() -> None:
    pcm = spoken("weather")
    whole = [(event.kind, event.time) for event in detect(pcm)[0]]
    for chunk in (240, 777, 5_000):
        assert [(event.kind, event.time) for event in detect(pcm, chunk=chunk)[0]] == whole


def test_streams_share_the_network_but_not_the_state() -> None:
    talker, listener = VoiceActivityDetector(), VoiceActivityDetector()
    alone, _ = detect(spoken("what_is_your_name"))
    pcm = spoken("what_is_your_name")
    heard: list[VadEvent] = []
    for i in range(0, len(pcm), 1_920):
        heard += talker.process(pcm[i : i + 1_920]).events
        quiet = listener.process(np.zeros(1_920, np.float32))
        assert not quiet.events
        assert quiet.probability < 0.2
    assert [*heard, *talker.finish().events] == alone


def test_after_a_reset_the_clock_and_the_memory_begin_anew() -> None:
    detector = VoiceActivityDetector()
    first, _ = detect(spoken("hello"), detector)
    detector.process(spoken("agent_answer")[: 2 * RATE])
    detector.reset()
    assert detect(spoken("hello"), detector)[0] == first


def test_a_higher_threshold_hears_less() -> None:
    pcm = spoken("goodbye") * np.float32(0.02)
    pcm = pcm + 0.002 * np.random.default_rng(2).standard_normal(len(pcm)).astype(np.float32)
    heard = [
        sum(frame.is_speech for frame in detect(pcm, VoiceActivityDetector(VadSettings(t)))[1])
        for t in (0.1, 0.5, 0.95)
    ]
    assert heard[0] >= heard[1] >= heard[2]
    assert heard[0] > heard[2]


@pytest.mark.parametrize("threshold", [0.0, 1.0, -3.0, float("nan")])
def test_impossible_thresholds_are_refused(threshold: float) -> None:
    with pytest.raises(ConfigurationError, match="vad_threshold"):
        VadSettings(threshold)


def test_torch_is_not_needed() -> None:
    program = (
        "import sys, numpy as np\n"
        "from coda_voice.audio.ingest import Ingest\n"
        "Ingest().push(np.zeros(48000, dtype=np.float32))\n"
        "sys.exit('torch' in sys.modules)\n"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
