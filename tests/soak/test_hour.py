"""An hour of conversation through one slot, as fast as it goes (`make soak`).

Takes about half an hour on one core. Writes benchmarks/soak_hour.json and a plot beside it.
Step times are processor time, so that whatever else runs on the machine does not count.
"""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import matplotlib
import numpy as np
import psutil
import pytest
from rich.progress import Progress

from coda_voice.moshi.checkpoint import load_models
from coda_voice.moshi.engine import Engine, EngineOptions
from coda_voice.moshi.frames import FRAME_RATE, FrameOut, Pcm, Sampling
from coda_voice.moshi.prompt import Prompt
from tests.integration.speech import Talk, spoken, words

matplotlib.use("Agg")
from matplotlib import pyplot as plt

BENCHMARKS = Path(__file__).parent.parent.parent / "benchmarks"
HOURS = float(os.environ.get("CODA_SOAK_HOURS", "1"))
TALK = ["hello", "what_is_your_name", "what_do_i_like", "weather", "thank_you", "long_question"]


def a_minute() -> list[Pcm]:
    """A minute of a user who asks, and waits for the answers."""
    frames = [frame for name in TALK for frame in spoken(name, silence_after=50)]
    assert len(frames) < 60 * FRAME_RATE
    return frames + spoken("goodbye", int(60 * FRAME_RATE) - len(frames))[: 750 - len(frames)]


def seam(before: FrameOut, after: FrameOut) -> float:
    """The jump between two frames' samples."""
    return float(abs(after.pcm[0] - before.pcm[-1]))


@pytest.mark.soak
def test_an_hour_goes_on_as_its_first_minute() -> None:
    minute = a_minute()
    minutes = max(10, round(HOURS * 60))
    process = psutil.Process()
    cpu: list[float] = []
    rss: list[float] = []
    jumps: list[float] = []
    seams: list[float] = []
    spoken_words: list[int] = []
    said: list[str] = []
    with (
        Engine(load_models("coda-tiny", "cpu"), EngineOptions(slots=1, threads=1)) as engine,
        Progress() as progress,
    ):
        bar = progress.add_task("an hour through one slot", total=minutes)
        talk = Talk(
            engine,
            prompt=Prompt("your name is nova. the user is anna. the user likes chess"),
            sampling=Sampling(
                temperature=0.6, top_k=50, text_temperature=0.3, text_top_k=5, seed=1
            ),
        )
        last: FrameOut | None = None
        for number in range(minutes):
            started = process.cpu_times()
            out = talk.feed(minute)
            ended = process.cpu_times()
            talk.out.clear()
            assert len(out) == len(minute)
            assert [f.frame for f in out] == list(
                range(number * len(minute), (number + 1) * len(minute))
            ), "a frame is missing"
            assert all(np.isfinite(frame.pcm).all() for frame in out)
            pcm = np.concatenate([frame.pcm for frame in out])
            jumps.append(float(np.quantile(np.abs(np.diff(pcm)), 0.9995)))
            for before, after in zip([last, *out], out, strict=False):
                if after.renewed and before is not None:
                    seams.append(seam(before, after))
            last = out[-1]
            cpu.append(ended.user + ended.system - started.user - started.system)
            rss.append(process.memory_info().rss / 2**20)
            said.append(words(out))
            spoken_words.append(len(said[-1].split()))
            progress.advance(bar)
        renewals = talk.slot.counters.renewals
        talk.close()

    tenth = minutes // 10
    growth = float(np.mean(cpu[-tenth:]) / np.mean(cpu[tenth : 2 * tenth]))
    report = {
        "minutes": minutes,
        "frames": minutes * len(minute),
        "renewals": renewals,
        "cpu_ms_per_frame": [1e3 * value / len(minute) for value in cpu],
        "last_tenth_over_second_tenth": growth,
        "rss_mib": rss,
        "largest_seam": max(seams),
        "speech_jump_p9995": max(jumps),
        "words_per_minute": spoken_words,
        "first_minute": said[0],
        "last_minute": said[-1],
        "finished": time.strftime("%Y-%m-%d"),
    }
    BENCHMARKS.mkdir(exist_ok=True)
    (BENCHMARKS / "soak_hour.json").write_text(json.dumps(report, indent=1) + "\n")
    plot(report)

    assert renewals > minutes, "the context of coda-tiny is shorter than a minute"
    assert growth <= 1.1
    assert max(rss[2:]) - min(rss[2:]) < 32, "memory grows after the first context length"
    assert max(seams) <= max(jumps), "a click at a renewal"
    assert sum(spoken_words[-tenth:]) > 0.5 * sum(spoken_words[:tenth]), "the agent fell silent"


def plot(report: dict[str, object]) -> None:
    """Step time, memory and words over the hour."""
    figure, axes = plt.subplots(3, 1, figsize=(9, 6), sharex=True)
    for axis, key, label in zip(
        axes,
        ("cpu_ms_per_frame", "rss_mib", "words_per_minute"),
        ("CPU ms a frame", "memory, MiB", "words a minute"),
        strict=True,
    ):
        axis.plot(report[key], linewidth=1.5)
        axis.set_ylabel(label)
        axis.set_ylim(bottom=0)
        axis.grid(alpha=0.3)
    axes[-1].set_xlabel("minute of one conversation")
    axes[0].set_title(f"{report['frames']} frames, {report['renewals']} renewals")
    figure.tight_layout()
    figure.savefig(BENCHMARKS / "soak_hour.png", dpi=110)
    plt.close(figure)
