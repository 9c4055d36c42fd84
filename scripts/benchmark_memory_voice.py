"""Does coda-tiny itself know what its user said: across restarts, and told in mid-conversation?

    python -m scripts.benchmark_memory_voice                 # 20 pairs, 20 live, control
    python -m scripts.benchmark_memory_voice --pairs 4       # a quick look
    python -m scripts.benchmark_memory_voice --parts live    # the exchange in mid-conversation only
    python -m scripts.benchmark_memory_voice --typed         # the statement typed: no transcriber

*Restart*: a held-out voice says "i like chess" in one process and asks "what do i like" in
another, LLM off; *control*: the same without a memory. *Live*: the prompt is exchanged in
mid-conversation, in real time, and the next answers must use it; a name said before must still be
known: as it was greeted, for what the ears have lost is lost before any exchange. Right is what
PocketSphinx hears in coda-tiny's own sound; the monologue stands beside it, and what a second
recogniser hears where it is installed (`pip install '.[ear]'`). Needs Debian's libespeak-ng1,
festival and festvox-us-slt-hts. Writes benchmarks/memory_voice.json after each step.
"""

from __future__ import annotations

import argparse
import asyncio
import io
import json
import os
import random
import subprocess
import sys
import tempfile
from concurrent.futures import Future
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import soundfile
from rich.console import Console
from rich.progress import track
from rich.table import Table

from coda_voice.manager import VoiceManager
from coda_voice.models import VoiceResponse
from coda_voice.moshi.conditioning import Conditioner, Injection
from coda_voice.moshi.frames import FRAME_SAMPLES, SAMPLE_RATE, Pcm
from coda_voice.remembering import Remembering
from scripts.benchmarks.exchange import Exchange, around, stream
from scripts.benchmarks.judges import Ears, known_words
from scripts.benchmarks.report import Report, Row, bar
from scripts.benchmarks.users import VOICES, spoken, wav
from scripts.train_tiny import corpus
from scripts.train_tiny.bars_recall import greeted_name

ROOT = Path(__file__).parent.parent
STEPS = ("say", "ask", "control", "live")
PARTS = {"restart": ("say", "ask"), "control": ("control",), "live": ("live",)}
"""The processes of each part, one after the other."""
UNEXCHANGED = "live: old turn, nothing exchanged"
LISTENING_SECONDS = 3.0
"""Of silence behind the words during which the prompt is exchanged."""
console = Console()


@dataclass
class Outcome:
    """One answer: what was wanted, what the monologue said, what was heard."""

    part: str
    voice: str
    item: str
    prompt: str
    monologue: str
    heard: str
    right: bool
    second: str | None
    """What the second ear heard; None: it is not there."""
    second_right: bool
    greeted: str | None = None
    """The name that it took its user's for, when she told it."""


def samples(response: VoiceResponse) -> Pcm:
    """The agent's sound, float32 at 24 kHz."""
    if not response.audio_data:
        return np.zeros(FRAME_SAMPLES, dtype=np.float32)
    pcm, _ = soundfile.read(io.BytesIO(response.audio_data), dtype="float32")
    return pcm


def settings(store: str | None) -> dict[str, object]:
    """coda-tiny alone, with a memory or without."""
    integration = {} if store is None else {"memory_store": store}
    return {
        "moshi": {"device": "cpu", "threads": 1, "seed": 1},
        "integration": integration,
        "logging": {"level": "error"},
    }


async def say(store: str, items: list[tuple[str, str]], typed: bool) -> None:
    """The first process: each user tells what she likes."""
    async with VoiceManager(settings(store)) as manager:
        for number, (item, voice) in enumerate(track(items, "saying", console=console)):
            talk = await manager.start_conversation(user_id=f"user{number}")
            if typed:
                manager.conversation(talk).type_text(f"I like {item}.")
            else:
                await manager.process_voice_input(talk, wav(f"i like {item}", voice))
            await manager.end_conversation(talk)


async def ask(store: str | None, items: list[tuple[str, str]], ears: Ears) -> list[Outcome]:
    """Another process: each user asks what she likes."""
    outcomes = []
    part = "control" if store is None else "restart"
    async with VoiceManager(settings(store)) as manager:
        for number, (item, voice) in enumerate(track(items, part, console=console)):
            talk = await manager.start_conversation(user_id=f"user{number}")
            prompt = manager.conversation(talk).slot.prompt.text
            said = await manager.process_voice_input(talk, wav("what do i like", voice))
            outcomes.append(outcome(part, voice, item, f"you like {item}", prompt, said, ears))
            await manager.end_conversation(talk)
    return outcomes


def outcome(
    part: str, voice: str, item: str, wanted: str, prompt: str, said: VoiceResponse, ears: Ears
) -> Outcome:
    """Judge one answer by ear."""
    heard, second = ears.recognise(samples(said))
    return Outcome(
        part, voice, item, prompt, said.text_content, heard, wanted in heard,
        second, second is not None and wanted in second,
    )  # fmt: skip


async def live(
    items: list[tuple[str, str]], names: list[str], ears: Ears
) -> tuple[list[Outcome], list[Exchange]]:
    """Introduce oneself, have the prompt exchanged, ask for the new fact and for the old one."""
    outcomes, swaps = [], []
    async with VoiceManager(settings(None)) as manager:
        manager.attend(lambda _: Remembering())
        for number, (item, voice) in enumerate(track(items, "live", console=console)):
            name = names[number]
            talk = await manager.start_conversation()
            conversation = manager.conversation(talk)
            (attendant,) = (a for a in conversation.attendants if isinstance(a, Remembering))
            greeting = await manager.process_voice_input(talk, wav(f"my name is {name}", voice))
            begun = conversation.slot.counters.frames_out
            told: list[Future[Injection]] = []

            def tell(
                fact: str = f"The user likes {item}.",
                conditioner: Conditioner = attendant.conditioner,
                told: list[Future[Injection]] = told,
            ) -> None:
                told.append(conditioner.know([fact]))

            pcm = np.pad(spoken("how are you", voice), (0, round(LISTENING_SECONDS * SAMPLE_RATE)))
            streamed = await stream(manager, talk, pcm, tell)
            made = await asyncio.wrap_future(told[0])
            prompt = conversation.slot.prompt.text
            swaps.append(around(streamed, None if made.frame is None else made.frame - begun))
            said = await manager.process_voice_input(talk, wav("what do i like", voice))
            outcomes.append(
                outcome("live: new fact", voice, item, f"you like {item}", prompt, said, ears)
            )
            said = await manager.process_voice_input(talk, wav("what is my name", voice))
            old = outcome("live: old turn", voice, name, f"your name is {name}", prompt, said, ears)
            outcomes.append(replace(old, greeted=greeted_name(greeting.text_content)))
            await manager.end_conversation(talk)
            outcomes.append(await unexchanged(manager, voice, name, ears))
    return outcomes, swaps


async def unexchanged(manager: VoiceManager, voice: str, name: str, ears: Ears) -> Outcome:
    """The same name told and asked for, the prompt being left alone: what the ears alone lose."""
    talk = await manager.start_conversation()
    prompt = manager.conversation(talk).slot.prompt.text
    greeting = await manager.process_voice_input(talk, wav(f"my name is {name}", voice))
    await manager.process_voice_input(talk, wav("how are you", voice))
    said = await manager.process_voice_input(talk, wav("what is my name", voice))
    await manager.end_conversation(talk)
    old = outcome(UNEXCHANGED, voice, name, f"your name is {name}", prompt, said, ears)
    return replace(old, greeted=greeted_name(greeting.text_content))


def judged(folder: Path) -> Ears:
    """Recognisers of the answers, wrong ones as well.

    Of all things and names of the domain, not of those asked for alone: else a mumble would be
    heard as what is wanted.
    """
    likes, names = known_words()
    sentences = [
        "i do not know what you like", "i do not know your name", "i am fine thank you",
        "hello how can i help you", "sorry i did not understand", "you like <like>",
        "i will remember that you like <like>", "your name is <name>", "nice to meet you <name>",
        *corpus.LEADS,
    ]  # fmt: skip
    return Ears(folder, sentences, {"like": likes, "name": names})


def chosen(count: int) -> tuple[list[tuple[str, str]], list[str]]:
    """Things that can be liked and names, both known to the recogniser, and voices."""
    dice, (likes, names) = random.Random(12), known_words()
    items = dice.sample(likes, count)
    return [(item, VOICES[i % len(VOICES)]) for i, item in enumerate(items)], dice.sample(
        names, count
    )


def show(outcomes: list[Outcome]) -> None:
    """Print each answer."""
    table = Table("part", "voice", "item", "prompt", "monologue", "heard", "", "second ear")
    for one in outcomes:
        table.add_row(
            one.part, one.voice, one.item, one.prompt, one.monologue, one.heard,
            "right" if one.right else "", one.second or "",
        )  # fmt: skip
    console.print(table)


def answers(outcomes: list[Outcome], part: str, least: float | None, most: float = 1.0) -> Row:
    """Make the row of one kind of answer: how many are right by ear, and in the monologue."""
    mine = [one for one in outcomes if one.part == part]
    right = sum(one.right for one in mine)
    thought = sum(one.item in one.monologue for one in mine)
    aside = f"{thought} in the monologue"
    if any(one.second is not None for one in mine):
        aside += f", {sum(one.second_right for one in mine)} by the second ear"
    wanted = f"at most {most:.0%}" if least is None else f"at least {least:.0%}"
    share = right / len(mine) if mine else None
    holds = share is not None and (least or 0.0) <= share <= most
    return bar(f"{part}: {right} of {len(mine)} by ear ({aside})", share, wanted, holds)


def as_greeted(outcomes: list[Outcome], part: str) -> Row:
    """Make the row of how many names are said as they were greeted: what was heard is known."""
    mine = [one for one in outcomes if one.part == part]
    known = sum(
        one.greeted is not None and f"your name is {one.greeted}" in one.monologue for one in mine
    )
    share = known / len(mine) if mine else None
    holds = share is not None and share >= 0.9
    name = f"{part}: {known} of {len(mine)} as it was greeted, in the monologue"
    return bar(name, share, "at least 90%", holds)


def bars_of(part: str, outcomes: list[Outcome], swaps: list[Exchange]) -> list[Row]:
    """Hold a part against what was promised of it."""
    if part == "restart":
        return [answers(outcomes, "restart", 0.9)]
    if part == "control":
        return [answers(outcomes, "control", None, 0.05)]
    made = [swap for swap in swaps if swap.swapped_at is not None]
    missing = sum(swap.frames_sent - swap.frames_out for swap in swaps)
    late = sum(swap.late_during for swap in made)
    otherwise = sum(swap.late_otherwise for swap in made)
    clicks = sum(swap.clicks for swap in made)
    return [
        answers(outcomes, "live: new fact", 0.9),
        answers(outcomes, "live: old turn", 0.9),
        as_greeted(outcomes, "live: old turn"),
        {**answers(outcomes, UNEXCHANGED, None), "wanted": "for comparison", "holds": None},
        {**as_greeted(outcomes, UNEXCHANGED), "wanted": "for comparison", "holds": None},
        bar("exchanges made", len(made), str(len(swaps)), len(made) == len(swaps)),
        bar("frames missing", missing, "0", missing == 0),
        bar(
            f"frames late while exchanging ({otherwise} late before and after)",
            late, "0", late == 0,
        ),
        bar("clicks above the speech", clicks, "0", clicks == 0),
    ]  # fmt: skip


def in_another_process(step: str, folder: Path, given: argparse.Namespace) -> None:
    """Run one step of this script by itself: nothing but the store's folder goes across."""
    command = [sys.executable, "-m", "scripts.benchmark_memory_voice", "--step", step]
    command += ["--folder", str(folder), "--pairs", str(given.pairs)]
    subprocess.run(command + ["--typed"] * given.typed, check=True, cwd=ROOT)


def measure(step: str, folder: Path, pairs: int, typed: bool) -> None:
    """Do one step and leave what came of it in ``folder``."""
    items, names = chosen(pairs)
    store = str(folder / "memory")
    if step == "say":
        asyncio.run(say(store, items, typed))
        return
    ears = judged(folder)
    outcomes: list[Outcome] = []
    swaps: list[Exchange] = []
    if step == "live":
        outcomes, swaps = asyncio.run(live(items, names, ears))
    else:
        outcomes = asyncio.run(ask(store if step == "ask" else None, items, ears))
    found = {"outcomes": [asdict(o) for o in outcomes], "swaps": [asdict(s) for s in swaps]}
    (folder / f"{step}.json").write_text(json.dumps(found))


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--pairs", type=int, default=20)
    parser.add_argument("--parts", nargs="*", choices=PARTS, default=[*PARTS])
    parser.add_argument("--typed", action="store_true", help="the statement is typed, not spoken")
    parser.add_argument("--json", type=Path, default=ROOT / "benchmarks" / "memory_voice.json")
    parser.add_argument("--step", choices=STEPS, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.step is not None:
        measure(given.step, given.folder, given.pairs, given.typed)
        return
    report = Report.at(given.json)
    with tempfile.TemporaryDirectory() as name:
        for part in given.parts:
            for step in PARTS[part]:
                in_another_process(step, Path(name), given)
            found = json.loads((Path(name) / f"{PARTS[part][-1]}.json").read_text())
            outcomes = [Outcome(**one) for one in found["outcomes"]]
            swaps = [Exchange(**one) for one in found["swaps"]]
            show(outcomes)
            values = {"pairs": given.pairs, "typed": given.typed, "cores": os.cpu_count(), **found}
            report.put(part, values, bars_of(part, outcomes, swaps), complete=given.pairs >= 20)
    report.print_bars(console)


if __name__ == "__main__":
    main()
