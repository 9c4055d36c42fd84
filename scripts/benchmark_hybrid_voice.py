"""From audio to audio: twenty scripted conversations in mode adaptive, judged by ear.

    python -m scripts.benchmark_hybrid_voice                 # 20 conversations, in real time
    python -m scripts.benchmark_hybrid_voice --count 4       # a quick look
    python -m scripts.benchmark_hybrid_voice --typed         # the questions typed: no transcriber

Held-out voices ask for sums, the time, a timer that speaks up later, and what they told before.
The offline brain thinks. Right is what PocketSphinx hears in coda-tiny's own sound; beside it
stand what the transcriber understood, what was forced, and all that the agent said. All voices
that coda-tiny's training held out speak by turns: Debian's festival (with festvox-us-slt-hts) and
espeak-ng. Writes benchmarks/hybrid_voice.json after every conversation.
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
from coda_tools.builtin.clock import clock_time, local_now
from num2words import num2words
from rich.console import Console

from coda_voice import VoiceManager
from coda_voice.events import Event, ScriptEnded, Transcript, WordSpoken
from coda_voice.hybrid.speakable import speakable
from coda_voice.moshi.frames import FRAME_SAMPLES, FRAME_SECONDS, Pcm
from scripts.benchmarks.judges import Ears, known_words
from scripts.benchmarks.report import Report, bar, print_rows
from scripts.benchmarks.users import VOICES, spoken
from scripts.train_tiny import corpus

ROOT = Path(__file__).parent.parent
NUMBERS = [num2words(number) for number in range(41)]
SUMS = ((3, 4), (2, 5), (8, 1), (6, 6), (9, 2), (7, 7), (4, 5), (1, 2))
LIKES = ("chess", "music", "swimming", "cooking")
THINGS = ("memory", "timer", "time", "sum", "sum")


@dataclass(frozen=True)
class Conversation:
    """What is asked, each with the seconds listened to afterwards; what must be heard."""

    kind: str
    turns: tuple[tuple[str, float], ...]
    wanted: str
    """Words of the last answer; "" for the time of day, whatever it is then."""


@dataclass
class Outcome:
    """One conversation, judged."""

    kind: str
    voice: str
    asked: str
    understood: str
    forced: str
    said: str
    """The agent's words since the last question, forced or its own."""
    heard: str
    right: bool
    second: str | None
    """What the second ear heard; None: it is not there."""
    second_right: bool
    dropped_frames: int
    """Lost because the machine did not keep up: what was asked then had holes."""


def conversations(count: int) -> list[Conversation]:
    """Make the scripts: sums, times, timers, memories by turns."""
    made = []
    for number in range(count):
        kind = THINGS[number % len(THINGS)]
        first, second = SUMS[number % len(SUMS)]
        like = LIKES[number % len(LIKES)]
        if kind == "sum":
            text = f"what is {num2words(first)} plus {num2words(second)}"
            made.append(Conversation(kind, ((text, 4.0),), num2words(first + second)))
        elif kind == "time":
            made.append(Conversation(kind, (("what time is it", 6.0),), ""))
        elif kind == "timer":
            turns = (("set a timer for two seconds", 12.0),)
            made.append(Conversation(kind, turns, "two second timer is done"))
        else:
            turns = ((f"please remember that i like {like}", 5.0), ("what do i like", 5.0))
            made.append(Conversation(kind, turns, like))
    return made


def speech(text: str, voice: str) -> Pcm:
    """Speak ``text`` with a voice of the users, whole frames."""
    pcm = spoken(text, voice)
    return np.pad(pcm, (0, -len(pcm) % FRAME_SAMPLES))


async def hold(talk: Conversation, voice: str, store: str, ears: Ears, typed: bool) -> Outcome:
    """Hold one conversation in real time and judge the answer to its last turn."""
    config = {
        "mode": "adaptive",
        "moshi": {"device": "cpu", "threads": 1, "seed": 1, "slots": 1},
        "external_llm": {"provider": "offline"},
        "integration": {"memory_store": store},
        "logging": {"level": "error"},
    }
    understood: list[str] = []
    forced: list[str] = []
    said: list[str] = []

    def note(event: Event) -> None:
        if isinstance(event, Transcript) and event.final:
            understood.append(event.text)
        elif isinstance(event, ScriptEnded) and event.heard:
            forced.append(event.heard)
        elif isinstance(event, WordSpoken) and event.speaker == "agent":
            said.append(event.text)

    last_from = 0
    sounds = [np.zeros(0, np.float32) if typed else speech(text, voice) for text, _ in talk.turns]
    began = local_now()

    async with VoiceManager(config) as manager:
        manager.events.listen(note)
        name = await manager.start_conversation(user_id=voice)

        async def microphone() -> AsyncIterator[Pcm]:
            nonlocal last_from
            due, sent = time.perf_counter(), 0
            for (text, listen), pcm in zip(talk.turns, sounds, strict=True):
                last_from = sent + len(pcm) // FRAME_SAMPLES
                said.clear()
                if typed:
                    manager.send_text(name, text)
                rest = np.zeros(round(listen / FRAME_SECONDS) * FRAME_SAMPLES, dtype=np.float32)
                for frame in np.concatenate([pcm, rest]).reshape(-1, FRAME_SAMPLES):
                    yield frame
                    sent += 1
                    due += FRAME_SECONDS
                    await asyncio.sleep(max(0.0, due - time.perf_counter()))

        chunks = manager.process_voice_stream(name, microphone(), finish_answer=False)
        async with aclosing(chunks):
            out, dropped = [], 0
            async for chunk in chunks:
                out.append(np.frombuffer(chunk.audio_data, dtype="<i2") / np.float32(32_768))
                dropped = chunk.dropped_frames
        await manager.end_conversation(name)
    pcm = np.concatenate(out)[last_from * FRAME_SAMPLES :]
    heard, second = ears.recognise(pcm)
    wanted = [talk.wanted] if talk.wanted else times_since(began)
    words = " ".join(said)
    return Outcome(
        talk.kind,
        voice,
        " / ".join(text for text, _ in talk.turns),
        " / ".join(understood),
        " / ".join(forced),
        words,
        heard,
        is_right(wanted, words, heard),
        second,
        second is not None and is_right(wanted, words, second),
        dropped,
    )


def times_since(began: datetime) -> list[str]:
    """Give what may be said to be the time in a conversation that began then."""
    minutes = int((local_now() - began) / timedelta(minutes=1)) + 2
    due = (clock_time(began + timedelta(minutes=n)) for n in range(minutes))
    return [speakable(time_of_day.split()[0]) for time_of_day in due]  # hour and minute alone


def is_right(wanted: list[str], said: str, heard: str) -> bool:
    """Whether one of the answers that are right was said, and was heard word for word."""
    said = _words(said)
    return any(
        f" {answer} " in f" {said} " and f" {answer} " in f" {heard} "
        for answer in map(_words, wanted)
    )


def _words(text: str) -> str:
    plain = text.lower().replace("-", " ")
    return " ".join("".join(c for c in plain if c.isalnum() or c in " '").split())


def judged(folder: Path) -> Ears:
    """Recognisers of the answers, wrong ones as well: any number, time of day, thing."""
    numbers = [number.replace("-", " ") for number in NUMBERS]
    minutes = [num2words(minute).replace("-", " ") for minute in range(1, 60)]
    sentences = [
        "<number>", "it is <hour> <minute> <part>", "a timer for <number> seconds is running",
        "your <number> second timer is done", "you like <like>", "i will remember that",
        "nothing is remembered about that", "hello how can i help you", "i do not know",
        *corpus.LEADS,
    ]  # fmt: skip
    slots = {
        "number": numbers,
        "hour": numbers[1:13],
        "minute": ["o'clock", *(f"oh {minute}" for minute in minutes[:9]), *minutes[9:]],
        "part": ["at night", "in the morning", "in the afternoon", "in the evening"],
        "like": sorted({*LIKES, *known_words()[0]}),
    }
    return Ears(folder, sentences, slots)


async def measure(report: Report, count: int, typed: bool) -> list[Outcome]:
    """Hold the conversations one after the other, each user with a memory of her own."""
    outcomes: list[Outcome] = []
    with tempfile.TemporaryDirectory() as folder:
        ears = judged(Path(folder))
        for number, talk in enumerate(conversations(count)):
            voice = VOICES[number % len(VOICES)]
            store = str(Path(folder) / f"memories{number}")
            outcomes.append(await hold(talk, voice, store, ears, typed))
            rows = [asdict(found) for found in outcomes]
            complete = len(outcomes) == count
            report.put("typed" if typed else "spoken", rows, bars(outcomes), complete=complete)
    return outcomes


def bars(outcomes: list[Outcome]) -> list[dict[str, Any]]:
    """Give bar 1, and the share of right ones of each kind and voice, which have no bar."""
    right, of = sum(found.right for found in outcomes), len(outcomes)
    lost = sum(found.dropped_frames for found in outcomes)
    rows = [
        bar("1 conversations right", right, f">= 90 % of {of}", right >= 0.9 * of),
        *second_ear(outcomes),
        bar("1 frames dropped", lost, "0: else the machine was too busy", not lost),
    ]
    for key in ("kind", "voice"):
        for value in sorted({getattr(found, key) for found in outcomes}):
            chosen = [found.right for found in outcomes if getattr(found, key) == value]
            row = bar(f"1 … {key} {value}", sum(chosen), f"of {len(chosen)}", True)
            rows.append({**row, "holds": None})
    return rows


def second_ear(outcomes: list[Outcome]) -> list[dict[str, Any]]:
    """Give how many are right by the second ear, where it is installed."""
    if all(found.second is None for found in outcomes):
        return []
    right = sum(found.second_right for found in outcomes)
    return [{**bar("1 … by the second ear", right, f"of {len(outcomes)}", True), "holds": None}]


def main() -> None:
    """Measure, print the table, write the report."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=20)
    parser.add_argument("--typed", action="store_true")
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "hybrid_voice.json")
    options = parser.parse_args()
    report = Report.at(options.out)
    outcomes = asyncio.run(measure(report, options.count, options.typed))
    console = Console()
    rows = [asdict(found) for found in outcomes]
    print_rows(console, "Conversations from audio to audio", rows)
    report.print_bars(console)
    console.print(f"written to {options.out}")


if __name__ == "__main__":
    main()
