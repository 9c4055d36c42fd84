"""Noise reduction, echo cancellation and automatic gain do what they promise, in decibels."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from scipy import signal

from coda_voice.audio.echo import EchoCanceller
from coda_voice.audio.files import read
from coda_voice.audio.gain import AutomaticGain
from coda_voice.audio.noise import NoiseReducer
from coda_voice.errors import AudioProcessingError

DATA = Path(__file__).parents[1] / "data"
SPOKEN = json.loads((DATA / "spoken.json").read_text())
RATE = 24_000
FRAME = 1_920
Pcm = np.ndarray


def spoken(*names: str) -> Pcm:
    pcm = np.concatenate([read(DATA / SPOKEN[name]["file"]).at(RATE) for name in names])
    return pcm[: len(pcm) // FRAME * FRAME]


def whole_frames(pcm: Pcm) -> Pcm:
    return pcm[: len(pcm) // FRAME * FRAME].astype(np.float32)


def in_frames(stage: Callable[[Pcm], Pcm], pcm: Pcm) -> Pcm:
    return np.concatenate([stage(pcm[i : i + FRAME]) for i in range(0, len(pcm), FRAME)])


def decibels(part: Pcm, other: Pcm) -> float:
    return float(10 * np.log10(np.sum(part**2) / (np.sum(other**2) + 1e-20)))


def si_sdr(heard: Pcm, clean: Pcm) -> float:
    """Scale-invariant signal to distortion ratio, dB: noise and harm together."""
    scale = (heard @ clean) / (clean @ clean)
    return decibels(scale * clean, heard - scale * clean)


def background(kind: str, samples: int) -> Pcm:
    white = np.random.default_rng(0).standard_normal(samples)
    match kind:
        case "white":
            return white
        case "fan":
            return signal.lfilter(*signal.butter(1, 1_500 / 12_000), white)
        case "hum":
            n = np.arange(samples) / RATE
            return sum(np.sin(2 * np.pi * 50 * k * n) / k for k in (1, 2, 3)) + 0.05 * white
    raise AssertionError(kind)


# Noise reduction


@pytest.mark.parametrize(
    ("kind", "snr", "gained"),
    [("white", 0, 7), ("white", 5, 6), ("white", 10, 5), ("fan", 5, 3.5), ("fan", 10, 2.5)],
)
@pytest.mark.parametrize("name", ["long_question", "agent_answer"])
def test_noisy_speech_becomes_cleaner(name: str, kind: str, snr: float, gained: float) -> None:
    speech = whole_frames(np.concatenate([np.zeros(RATE, np.float32), spoken(name)]))
    begin, end = (round((1 + SPOKEN[name][key]) * RATE) for key in ("onset", "offset"))
    noise = background(kind, len(speech))
    noise *= np.sqrt(np.mean(speech[begin:end] ** 2) / np.mean(noise**2) / 10 ** (snr / 10))
    noisy = (speech + noise).astype(np.float32)
    reducer = NoiseReducer()
    heard = in_frames(reducer.process, noisy)[reducer.delay_samples :]
    before = si_sdr(noisy[begin:end], speech[begin:end])
    after = si_sdr(heard[begin:end], speech[begin:end])
    assert after - before >= gained
    # Where nobody speaks, the noise is far down.
    pause = slice(RATE // 2, RATE)
    assert decibels(noise[pause], heard[pause]) > 9
    assert reducer.noise_dbfs == pytest.approx(10 * np.log10(np.mean(noise**2)), abs=4)


@pytest.mark.parametrize("name", SPOKEN)
def test_clean_speech_is_not_harmed(name: str) -> None:
    speech = spoken(name)
    heard = in_frames(NoiseReducer().process, speech)[240:]
    assert si_sdr(heard, speech[:-240]) > 24
    assert abs(decibels(heard, speech[:-240])) < 0.3


def test_speech_from_the_very_first_sample_is_not_taken_for_noise() -> None:
    speech = whole_frames(spoken("long_question")[RATE // 2 :])
    heard = in_frames(NoiseReducer().process, speech)[240:]
    assert si_sdr(heard[: RATE // 2], speech[: RATE // 2]) > 18


def test_hum_goes_and_the_voice_stays() -> None:
    speech = spoken("agent_answer")
    hum = background("hum", len(speech)) * 0.02
    heard = in_frames(NoiseReducer().process, (speech + hum).astype(np.float32))[240:]
    assert decibels(hum[: RATE // 2], heard[: RATE // 2]) > 12


def test_noise_that_becomes_louder_is_learned_anew() -> None:
    noise = 0.001 * background("white", 8 * RATE).astype(np.float32)
    noise[3 * RATE :] *= 20
    heard = in_frames(NoiseReducer().process, whole_frames(noise))
    assert decibels(noise[6 * RATE : 7 * RATE], heard[6 * RATE : 7 * RATE]) > 8


def test_silence_stays_silence() -> None:
    assert not in_frames(NoiseReducer().process, np.zeros(10 * FRAME, np.float32)).any()


def test_after_a_reset_noise_reduction_begins_anew() -> None:
    reducer = NoiseReducer()
    first = in_frames(reducer.process, spoken("hello"))
    reducer.reset()
    np.testing.assert_array_equal(in_frames(reducer.process, spoken("hello")), first)


# Echo cancellation


def room(delay: float, level: float = 0.5, reverberation: float = 0.25, seed: int = 0) -> Pcm:
    """A room's impulse response: delay, direct sound, decaying reflections (RT60 seconds)."""
    rng = np.random.default_rng(seed)
    n = np.arange(round(0.35 * RATE))
    tail = 0.15 * rng.standard_normal(len(n)) * 10 ** (-3 * n / RATE / reverberation)
    tail[0] = 1.0
    response = np.concatenate([np.zeros(round(delay * RATE)), tail])
    return level * response / np.sqrt(np.sum(response**2))


# An agent has one voice, and the filter learns at the frequencies which that voice has.
AGENT = ("agent_answer",) * 5


def echo_of(agent: Pcm, response: Pcm) -> Pcm:
    echo = signal.fftconvolve(agent, response)[: len(agent)]
    return (echo + 1e-4 * background("white", len(agent))).astype(np.float32)


def cancel(microphone: Pcm, agent: Pcm, canceller: EchoCanceller) -> Pcm:
    out = []
    for start in range(0, len(microphone), FRAME):
        canceller.hear(agent[start : start + FRAME])
        out.append(canceller.process(microphone[start : start + FRAME]))
    late = canceller.delay_samples
    return np.concatenate([*out, np.zeros(late, np.float32)])[late:]


@pytest.mark.parametrize("delay", [0.0, 0.08, 0.3])
def test_the_echo_is_taken_out_by_20_db_and_more(delay: float) -> None:
    agent = spoken(*AGENT)
    echo = echo_of(agent, room(delay))
    canceller = EchoCanceller()
    left = cancel(echo, agent, canceller)
    second = [slice(s * RATE, (s + 2) * RATE) for s in range(0, 20, 2)]
    loss = [decibels(echo[part], left[part]) for part in second]
    assert loss[1] > 8, "after two seconds"
    assert min(loss[5:]) > 20, "once it knows the room"
    assert canceller.echo_delay_seconds == pytest.approx(delay, abs=0.021)
    filter_alone = cancel(echo, agent, EchoCanceller(suppress_residual=False))
    assert decibels(echo[second[8]], filter_alone[second[8]]) > 17


@pytest.mark.parametrize(("delay", "level"), [(0.05, 0.3), (0.25, 1.0)])
def test_the_user_is_heard_while_the_agent_speaks(delay: float, level: float) -> None:
    agent = spoken(*AGENT)
    echo = echo_of(agent, room(delay, level))
    user = np.zeros_like(agent)
    said = spoken("what_do_i_like", "what_is_your_name", "stop")
    begin = 11 * RATE
    part = slice(begin, begin + len(said))
    user[part] = said
    heard = cancel(echo + user, agent, EchoCanceller())
    before, after = (decibels(user[part], x[part] - user[part]) for x in (echo + user, heard))
    assert after > before + 8
    assert after > 15
    scale = (heard[part] @ user[part]) / (user[part] @ user[part])
    assert abs(20 * np.log10(scale)) < 1.0
    # The user has not talked the filter out of what it knew.
    later = slice(part.stop, part.stop + 3 * RATE)
    assert decibels(echo[later], heard[later]) > 20


def test_with_headphones_the_user_is_left_alone() -> None:
    agent = spoken("agent_answer", "weather", "agent_answer")
    user = whole_frames(np.tile(spoken("what_do_i_like", "stop"), 4)[: len(agent)])
    agent = agent[: len(user)]
    heard = cancel(user, agent, EchoCanceller())
    assert si_sdr(heard, user) > 15


def test_without_a_reference_nothing_changes_but_the_delay() -> None:
    user = spoken("long_question")
    canceller = EchoCanceller()
    heard = in_frames(canceller.process, user)
    np.testing.assert_allclose(heard[240:], user[:-240], atol=1e-5)
    exact = EchoCanceller(suppress_residual=False)
    np.testing.assert_array_equal(in_frames(exact.process, user), user)


def test_a_moved_microphone_is_learned_anew() -> None:
    agent = spoken(*AGENT)
    echo = np.concatenate([echo_of(agent, room(0.05)), echo_of(agent, room(0.2, seed=7))])
    left = cancel(echo, np.tile(agent, 2), EchoCanceller())
    end = slice(len(echo) - 6 * RATE, len(echo) - 2 * RATE)
    assert decibels(echo[end], left[end]) > 18


def test_lost_microphone_packets_do_not_leave_the_reference_behind() -> None:
    agent = spoken(*AGENT)
    echo = echo_of(agent, room(0.05))
    canceller = EchoCanceller()
    lost = range(50, 55)
    heard = []
    for number in range(len(agent) // FRAME):
        part = slice(number * FRAME, (number + 1) * FRAME)
        canceller.hear(agent[part])
        heard.append(echo[part] if number in lost else canceller.process(echo[part]))
    late = canceller.delay_samples
    left = np.concatenate([*heard, np.zeros(late, np.float32)])[late:]
    end = slice(len(echo) - 5 * RATE, len(echo) - RATE)
    assert decibels(echo[end], left[end]) > 18
    assert 0 < canceller.reference_dropped <= len(lost) * FRAME


# Automatic gain


def active_dbfs(pcm: Pcm) -> float:
    blocks = pcm[: len(pcm) // 480 * 480].reshape(-1, 480).astype(np.float64)
    power = np.mean(blocks**2, axis=1)
    return float(10 * np.log10(power[power > power.max() * 1e-3].mean()))


@pytest.mark.parametrize("level", [-40, -30, -20, -12, -6])
@pytest.mark.parametrize("name", ["long_question", "agent_answer"])
def test_speech_of_any_level_comes_to_the_target(name: str, level: float) -> None:
    speech = spoken(name, name)
    scaled = speech * np.float32(10 ** ((level - active_dbfs(speech)) / 20))
    heard = in_frames(AutomaticGain(target_dbfs=-23).process, np.clip(scaled, -1, 1))
    half = len(heard) // 2
    assert active_dbfs(heard[half:]) == pytest.approx(-23, abs=2)
    assert active_dbfs(heard[:half]) == pytest.approx(-23, abs=4)
    assert np.abs(heard).max() < 0.9


def test_noise_alone_is_not_pumped_up() -> None:
    noise = 0.001 * background("white", 20 * RATE).astype(np.float32)
    heard = in_frames(AutomaticGain().process, noise)
    assert abs(decibels(heard, noise)) < 0.5


def test_the_gain_stands_still_while_nobody_speaks() -> None:
    gain = AutomaticGain()
    speech = spoken("long_question") * np.float32(0.2)
    hiss = 3e-4 * background("white", len(speech) + 10 * RATE).astype(np.float32)
    in_frames(gain.process, speech + hiss[: len(speech)])
    settled = gain.gain_db
    rest = whole_frames(hiss[len(speech) :])
    heard = in_frames(gain.process, rest)
    assert gain.gain_db == pytest.approx(settled, abs=0.5)
    assert active_dbfs(heard) < -45


def test_a_detector_that_hears_no_speech_holds_the_gain() -> None:
    gain = AutomaticGain()
    music = spoken("agent_answer") * np.float32(0.1)
    in_frames(lambda frame: gain.process(frame, is_speech=False), music)
    assert gain.gain_db == 0.0


def test_a_shout_after_a_whisper_does_not_clip() -> None:
    speech = spoken("long_question")
    sudden = np.concatenate([speech * np.float32(0.03), speech * np.float32(2.5)])
    heard = in_frames(AutomaticGain().process, np.clip(sudden, -1, 1))
    shout = heard[len(speech) :]
    assert np.abs(heard).max() < 0.9
    # Held down by the limiter's gain, not cut off: hardly a sample sits at the ceiling.
    assert np.count_nonzero(np.abs(shout) > 0.89) < 0.01 * len(shout)
    assert active_dbfs(shout[-2 * RATE :]) == pytest.approx(-23, abs=3)


def test_the_gain_has_no_steps() -> None:
    tone = (0.01 * np.sin(2 * np.pi * 200 * np.arange(RATE) / RATE)).astype(np.float32)
    bursts = whole_frames(np.concatenate([np.zeros(RATE // 2, np.float32), tone] * 4))
    heard = in_frames(AutomaticGain().process, bursts)
    loudest = np.abs(heard).max()
    # A 200 Hz tone moves by at most 5.3 % of its amplitude from sample to sample.
    assert np.abs(np.diff(heard)).max() < 0.08 * loudest


# All of them


STAGES = {
    "noise": NoiseReducer().process,
    "echo": EchoCanceller().process,
    "gain": AutomaticGain().process,
}


@pytest.mark.parametrize("stage", STAGES)
def test_wrong_lengths_are_refused(stage: str) -> None:
    with pytest.raises(AudioProcessingError, match="multiple"):
        STAGES[stage](np.zeros(1_000, np.float32))


def yardstick() -> float:
    """Seconds of 50 transforms of 4096 samples: some two milliseconds of a server's processor."""
    noise = np.random.default_rng(0).standard_normal(4096).astype(np.float32)
    begun = time.thread_time()
    for _ in range(50):
        np.fft.rfft(noise)
    return time.thread_time() - begun


def test_a_frame_costs_little_a_stage() -> None:
    # Speech throughout: a canceller with nothing to cancel would be cheap.
    speech = spoken("long_question")[12 * FRAME : 84 * FRAME]
    canceller = EchoCanceller()

    def echo(frame: Pcm) -> Pcm:
        canceller.hear(frame)
        return canceller.process(frame)

    for stage in (NoiseReducer().process, echo, AutomaticGain().process):
        costs, beside = [], []
        for start in range(0, len(speech), FRAME):
            begun = time.thread_time()
            stage(speech[start : start + FRAME])
            costs.append(time.thread_time() - begun)
            beside.append(yardstick())
        # The lowest tenth: what it costs when nobody else is in the way.
        assert np.percentile(costs, 10) < 2.5 * np.percentile(beside, 10)
