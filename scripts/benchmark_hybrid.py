"""How fast the LLM's answer is heard, how the voice yields, what thinking costs the frames.

    python scripts/benchmark_hybrid.py [--questions N] [--interruptions N] [--seconds N]
                                       [--only latency delays frames barge-in]

A stand-in for Ollama (real HTTP, in a process of its own where it is to be felt) answers
after a chosen time. The questions are recordings, paced in real time; their text is given, so
the figures do not depend on how well the transcriber hears. Prints tables, and a row for each
bar; writes benchmarks/hybrid.json after every step, where parts not measured now stay as they
were. Run it on an idle machine: frames that came late are counted beside the figures.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import itertools
import json
import random
import statistics
import sys
import tempfile
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from rich.console import Console  # noqa: E402

from coda_voice import VoiceManager  # noqa: E402
from coda_voice.audio import files  # noqa: E402
from coda_voice.composition import HouseTools  # noqa: E402
from coda_voice.moshi.frames import FRAME_SECONDS, Pcm  # noqa: E402
from scripts.benchmarks.hybrid import (  # noqa: E402
    LONG_ANSWER,
    Asked,
    RealTime,
    answer_after,
    ask,
    engine_milliseconds,
    look_up,
    tool_then,
)
from scripts.benchmarks.interruptions import (  # noqa: E402
    COUNTED_MOMENTS,
    Ear,
    Interrupted,
    interrupt,
    whole_answer,
)
from scripts.benchmarks.report import Report, Row, bar, print_rows  # noqa: E402
from tests.integration.hybrid_talk import HybridTalk  # noqa: E402
from tests.integration.llm_server import LlmServer  # noqa: E402

PARTS = ("latency", "delays", "frames", "barge-in")
LLM_SECONDS = (0.0, 0.25, 0.5, 1.0)
ALLOWED_SECONDS = 0.64
"""From the end of the user's speech to the answer's first word, beyond the LLM's time."""
LATE_BAR = 1
"""Percent of frames that may be late: where they are, an LLM's time takes fewer of them."""
DELAYS = (0.0, 0.5, 1.0, 2.0, 3.0, 5.0, 8.0)
QUESTIONS = (
    ("what_is_your_name", "what day is it today"),
    ("what_do_i_like", "how long is the week"),
    ("weather", "tell me about the weather there"),
)
FACTS: dict[str, dict[str, Any]] = json.loads((ROOT / "tests/data/spoken.json").read_text())
STRETCHES = 8
"""Of frames with and without thinking, by turns."""


def recorded(name: str) -> Pcm:
    """Give a spoken file of tests/data."""
    return files.read(ROOT / "tests" / "data" / f"{name}.flac").at(24_000)


@contextlib.asynccontextmanager
async def managing(
    url: str, mode: str = "hybrid", memory: str | None = None, **hybrid: float
) -> AsyncIterator[VoiceManager]:
    """coda-tiny, with the LLM at ``url``."""
    config = {
        "mode": mode,
        "moshi": {"device": "cpu", "seed": 5, "slots": 1},
        "external_llm": {"endpoint": url, "fallback_enabled": False},
        "hybrid": {"turns_per_minute": 600, **hybrid},
        "integration": {"memory_store": memory, "memory_llm": "off"},
        "logging": {"level": "error"},
    }
    async with VoiceManager(config, tools=HouseTools(look_up)) as manager:
        yield manager


async def asked_once(
    url: str, mode: str, name: str, words: str, listen: float, seed: int
) -> tuple[Asked, RealTime]:
    """Ask one question in a conversation of its own, which samples by ``seed``."""
    async with managing(url, mode) as manager:
        sampling = replace(manager.sampling(), seed=seed)
        talk = await HybridTalk.begin(manager, sampling=sampling)
        pace = talk.pace = RealTime()
        await talk.silence(10)
        asked = await ask(talk, recorded(name), words, listen, FACTS[name]["offset"])
        return asked, pace


# ---- bar 2: latency --------------------------------------------------------------------


async def latency(report: Report, questions: int) -> list[Row]:
    """End of speech to the first word of the answer, for each speed of the LLM.

    The same questions with the same seeds each time, so that what Moshi says by itself can be
    compared; first without any LLM.
    """
    rows: list[Row] = []
    alone: list[float | None] = []
    for seconds in (None, *LLM_SECONDS):
        mode = "moshi_only" if seconds is None else "hybrid"
        asked: list[Asked] = []
        late = paced = 0
        async with LlmServer(answer_after(seconds or 0.0)) as server:
            chosen = itertools.islice(itertools.cycle(QUESTIONS), questions)
            for seed, (name, words) in enumerate(chosen):
                listen = 4.0 + (seconds or 0.0)
                one, pace = await asked_once(server.url, mode, name, words, listen, seed)
                asked.append(one)
                late += pace.late
                paced += pace.frames
        if seconds is None:
            alone = [a.moshi for a in asked]
        rows.append(_latency_row(seconds, asked, alone, late / paced))
        report.put("latency", rows, latency_bars(rows), complete=seconds == LLM_SECONDS[-1])
    return rows


def _latency_row(
    seconds: float | None, asked: list[Asked], alone: list[float | None], late: float
) -> Row:
    moved = [
        abs(a.moshi - before) / FRAME_SECONDS
        for a, before in zip(asked, alone, strict=True)
        if a.moshi is not None and before is not None
    ]
    return {
        "llm_ms": None if seconds is None else seconds * 1e3,
        "questions": len(asked),
        "answered": sum(a.answer is not None for a in asked),
        "word_ms": _median_ms([a.answer for a in asked]),
        "word_worst_ms": max((1e3 * a.answer for a in asked if a.answer is not None), default=None),
        "sound_ms": _median_ms([a.answer_sound for a in asked]),
        "moshi_first": len(moved),
        "moshi_ms": _median_ms([a.moshi for a in asked]),
        "moshi_moved_frames": max(moved, default=None),
        "late_share": late,
        "asked": [a.as_json() for a in asked],
    }


def _median_ms(seconds: list[float | None]) -> float | None:
    known = [s for s in seconds if s is not None]
    return 1e3 * statistics.median(known) if known else None


def latency_bars(rows: list[Row]) -> list[Row]:
    """Hold bar 2 against the rows of ``latency``."""
    bars = []
    for row in rows:
        if row["llm_ms"] is None:
            continue
        allowed = row["llm_ms"] + 1e3 * ALLOWED_SECONDS
        name = f"2 answer's first word, LLM of {row['llm_ms']:.0f} ms"
        word = row["word_ms"]
        whole = row["answered"] == row["questions"]
        holds = word is not None and word <= allowed and whole
        bars.append(bar(f"{name}, ms", word, f"<= {allowed:.0f}, all answered", holds))
        sound = row["sound_ms"]
        bars.append(
            bar(f"{name}, its sound, ms", sound, f"<= {allowed:.0f}", (sound or 0) <= allowed)
        )
    moved = [r["moshi_moved_frames"] for r in rows if r["llm_ms"] is not None]
    worst = max((m for m in moved if m is not None), default=None)
    late = 100 * max(row["late_share"] for row in rows)
    bars += [
        bar("2 Moshi's own first sound moved, frames", worst, "<= 1", (worst or 0) <= 1.01),
        bar("2 frames late, %", late, f"<= {LATE_BAR}: else these flatter", late <= LATE_BAR),
    ]
    return bars


async def delays(report: Report) -> list[Row]:
    """What is said, and when, where the answer takes long."""
    rows: list[Row] = []
    name, words = QUESTIONS[2]
    for seconds in DELAYS:
        async with LlmServer(answer_after(seconds)) as server:
            asked, pace = await asked_once(server.url, "hybrid", name, words, 6.0 + seconds, 5)
        rows.append({"delay_s": seconds, **asked.as_json(), "late_frames": pace.late})
        complete = len(rows) == len(DELAYS)
        measured = bar("2 delays in the table", len(rows), f"{len(DELAYS)}", complete)
        report.put("delays", rows, [measured], complete=complete)
    return rows


# ---- bar 3: frames ---------------------------------------------------------------------


async def frames(report: Report, seconds: float) -> list[Row]:
    """What frames cost with an LLM in another process at work, and without, by turns.

    The transcriber writes in both, so that only the thinking differs: LLM, tools and memory.
    What the transcriber costs is measured by benchmark_transcriber.
    """
    server = await asyncio.create_subprocess_exec(
        sys.executable, __file__, "--serve", stdout=asyncio.subprocess.PIPE
    )
    assert server.stdout is not None
    url = (await server.stdout.readline()).decode().strip()
    models: dict[str, list[float]] = {"moshi_only": [], "hybrid": []}
    total: dict[str, list[float]] = {"moshi_only": [], "hybrid": []}
    rows: list[Row] = []
    name, words = QUESTIONS[2]
    try:
        with tempfile.TemporaryDirectory() as store:
            async with managing(url, memory=store) as manager:
                talk = await HybridTalk.begin(manager, user_id="ada")
                await ask(talk, recorded(name), "remember that i like rain", 2.0, 0.0)
                for stretch in range(STRETCHES):
                    mode = ("moshi_only", "hybrid")[stretch % 2]
                    await manager.set_mode(mode, talk.conversation.id)
                    talk.conversation.transcribe(False)
                    talk.conversation.slot.transcribe(True)
                    talk.pace = RealTime()
                    since = len(talk.heard)
                    while (len(talk.heard) - since) * FRAME_SECONDS < seconds / STRETCHES:
                        asked = words if mode == "hybrid" else ""
                        await ask(talk, recorded(name), asked, 3.0, 0.0)
                    took, all_in_all = engine_milliseconds(talk, since)
                    models[mode] += took
                    total[mode] += all_in_all
                    rows = [_frames_row(m, models[m], total[m]) for m in models if models[m]]
                    bars = _frames_bars(rows)
                    report.put("frames", rows, bars, complete=stretch == STRETCHES - 1)
    finally:
        server.terminate()
        await server.wait()
    return rows


def _frames_row(mode: str, models: list[float], total: list[float]) -> Row:
    return {
        "mode": mode,
        "frames": len(models),
        "p50_ms": statistics.median(models),
        "p99_ms": statistics.quantiles(models, n=100)[98],
        "arrival_to_end_p99_ms": statistics.quantiles(total, n=100)[98],
        "late_share": sum(value > 1e3 * FRAME_SECONDS for value in total) / len(total),
    }


def _frames_bars(rows: list[Row]) -> list[Row]:
    if len(rows) < 2:
        return []
    without, thinking = rows
    rise = 100 * (thinking["p99_ms"] / without["p99_ms"] - 1)
    more = 100 * (thinking["late_share"] - without["late_share"])
    return [
        bar("3 p99 of the tick rises, %", rise, "<= 10", rise <= 10),
        bar("3 more frames late than before, %", more, "<= 0", more <= 0),
    ]


# ---- bar 4: interruptions --------------------------------------------------------------


async def barge_in(report: Report, count: int, seed: int = 1) -> list[Row]:
    """Interruptions at random moments of answers that use a tool and stream slowly.

    ``count`` of them fall into the lead, the script, the tool or the stream; those that came
    before or after are kept beside them.
    """
    chance = random.Random(seed)
    trials: list[Interrupted] = []
    errors: list[int] = []
    ear = Ear()
    stop, name = recorded("stop"), QUESTIONS[2]
    answer = tool_then(LONG_ANSWER, 0.6)
    async with LlmServer(answer) as server, managing(server.url, filler_after=60.0) as manager:
        talk = await HybridTalk.begin(manager)
        await talk.silence(10)
        question = recorded(name[0]), name[1]
        whole = await whole_answer(talk, question, ear)
        while sum(t.during in COUNTED_MOMENTS for t in trials) < count and len(trials) < 2 * count:
            asked, words = chance.choice(QUESTIONS)
            trials.append(
                await interrupt(talk, (recorded(asked), words), stop, FACTS["stop"], chance, ear)
            )
            await talk.silence(5)
            if trials[-1].ear_words is not None:
                errors.append(whole.error(trials[-1].history_words))
            values = {"trials": [t.as_json() for t in trials], "ear_errors": errors}
            enough = sum(t.during in COUNTED_MOMENTS for t in trials) >= count
            report.put("barge-in", values, barge_in_bars(trials, errors), complete=enough)
    return _by_moment(trials)


def barge_in_bars(trials: list[Interrupted], errors: list[int]) -> list[Row]:
    """Hold bar 4 against ``trials``; ``errors``: how far the ear is off by itself."""
    counted = [t for t in trials if t.during in COUNTED_MOMENTS]
    if not counted:
        return []
    silent = 100 * sum(t.silent for t in counted) / len(counted)
    words = sum(t.late_words + t.went_on for t in counted)
    tools = sum(t.stale_tools for t in counted)
    untrue = sum(not t.history_true for t in counted)
    off = [abs(t.ear_words - t.history_words) for t in trials if t.ear_words is not None]
    by_ear = statistics.mean(off) if off else None
    own = statistics.mean(errors) if errors else 0.0
    return [
        bar("4 interruptions", len(counted), ">= 200", len(counted) >= 200),
        bar("4 silent within 400 ms, %", silent, ">= 95", silent >= 95),
        bar("4 words of the old script afterwards", words, "0", not words),
        bar("4 stale tools started", tools, "0", not tools),
        bar("4 history other than what sounded", untrue, "0", not untrue),
        bar(
            "4 words the history is off, by ear",
            by_ear,
            f"<= {own + 0.5:.2f} (the ear's own error is {own:.2f})",
            (by_ear or 0) <= own + 0.5,
        ),
    ]


def _by_moment(trials: list[Interrupted]) -> list[Row]:
    rows = []
    for during in sorted({t.during for t in trials}):
        chosen = [t for t in trials if t.during == during]
        rows.append(
            {
                "during": during,
                "interruptions": len(chosen),
                "voice was heard": sum(t.spoke for t in chosen),
                "silent in 400 ms": sum(t.silent for t in chosen),
                "late words": sum(t.late_words for t in chosen),
                "went on": sum(t.went_on for t in chosen),
                "stale tools": sum(t.stale_tools for t in chosen),
                "history true": sum(t.history_true for t in chosen),
            }
        )
    return rows


# ---- the program -----------------------------------------------------------------------


async def serve() -> None:
    """Be the stand-in, in a process of its own."""
    async with LlmServer(tool_then(LONG_ANSWER, 0.6)) as server:
        print(server.url, flush=True)
        await asyncio.Event().wait()


async def measure(options: argparse.Namespace, console: Console) -> None:
    """Run what was asked for, one after the other."""
    report = Report.at(options.out)
    if "latency" in options.only:
        rows = await latency(report, options.questions)
        print_rows(console, "End of the user's speech to the answer's first word", rows)
    if "delays" in options.only:
        print_rows(console, "Answers that take long", await delays(report))
    if "frames" in options.only:
        rows = await frames(report, options.seconds)
        print_rows(console, "Frames with and without thinking", rows)
    if "barge-in" in options.only:
        rows = await barge_in(report, options.interruptions)
        print_rows(console, "Interruptions", rows)
    report.print_bars(console)


def main() -> None:
    """Measure and write the report."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--questions", type=int, default=12)
    parser.add_argument("--interruptions", type=int, default=200)
    parser.add_argument("--seconds", type=float, default=240.0)
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "hybrid.json")
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        with contextlib.suppress(KeyboardInterrupt):
            asyncio.run(serve())
        return
    console = Console()
    asyncio.run(measure(options, console))
    console.print(f"written to {options.out}")


if __name__ == "__main__":
    main()
