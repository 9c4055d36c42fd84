"""Does coda-tiny itself know what its user said: across restarts, and told in mid-conversation?

    python -m scripts.benchmark_memory_voice                 # 20 pairs, 20 live, control
    python -m scripts.benchmark_memory_voice --pairs 4       # a quick look
    python -m scripts.benchmark_memory_voice --typed         # the statement typed: no transcriber

*Restart*: a held-out voice says "i like chess" in one process and asks "what do i like" in
another, LLM off; *control*: the same without a memory. *Live*: the prompt is exchanged in
mid-conversation, and the next answers must use it; a name said before must still be known.
Right is what PocketSphinx hears in coda-tiny's own sound; the monologue stands beside it. Needs
the voices of scripts/train_tiny (flite and espeak-ng). Writes benchmarks/memory_voice.json.
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
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import soundfile
from rich.console import Console
from rich.table import Table

from coda_voice.manager import VoiceManager
from coda_voice.models import VoiceResponse
from coda_voice.moshi.conditioning import Conditioner, Injection
from coda_voice.moshi.frames import FRAME_SAMPLES, SAMPLE_RATE
from coda_voice.remembering import Remembering
from scripts.train_tiny import corpus
from scripts.train_tiny.judge import Judge, pronounced, write_language_model
from scripts.train_tiny.synthesis import HELD_OUT_USERS, UserLine, speak_user

ROOT = Path(__file__).parent.parent
VOICES = [voice for voice in HELD_OUT_USERS if not voice.startswith("festival:")]
SILENCE_SECONDS = (0.5, 0.7)
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


@dataclass
class Live:
    """The sound around one exchange of the prompt."""

    frames_in: int
    frames_out: int
    swap_frames: int
    jump_at_swap: float
    jump_of_speech: float


def wav(text: str, voice: str) -> bytes:
    """Speak ``text`` with a voice of the users, silence around it, as a WAV file."""
    pcm = speak_user(UserLine(text, "", None, voice)).pcm
    pcm = 0.3 * pcm / max(1e-6, float(np.abs(pcm).max()))
    before, after = (round(seconds * SAMPLE_RATE) for seconds in SILENCE_SECONDS)
    file = io.BytesIO()
    soundfile.write(file, np.pad(pcm, (before, after)), SAMPLE_RATE, format="WAV")
    return file.getvalue()


def samples(response: VoiceResponse) -> np.ndarray:
    """The agent's sound, float32 at 24 kHz."""
    if not response.audio_data:
        return np.zeros(FRAME_SAMPLES, dtype=np.float32)
    pcm, _ = soundfile.read(io.BytesIO(response.audio_data), dtype="float32")
    return pcm


def settings(store: str | None) -> dict[str, object]:
    """coda-tiny alone, with a memory or without."""
    integration = {} if store is None else {"memory_store": store}
    return {"moshi": {"device": "cpu", "threads": 1, "seed": 1}, "integration": integration}


async def say(store: str, items: list[tuple[str, str]], typed: bool) -> None:
    """The first process: each user tells what she likes."""
    async with VoiceManager(settings(store)) as manager:
        for number, (item, voice) in enumerate(items):
            talk = await manager.start_conversation(user_id=f"user{number}")
            if typed:
                manager.conversation(talk).type_text(f"I like {item}.")
            else:
                await manager.process_voice_input(talk, wav(f"i like {item}", voice))
            await manager.end_conversation(talk)


async def ask(store: str | None, items: list[tuple[str, str]], judge: Judge) -> list[Outcome]:
    """Another process: each user asks what she likes."""
    outcomes = []
    part = "control" if store is None else "restart"
    async with VoiceManager(settings(store)) as manager:
        for number, (item, voice) in enumerate(items):
            talk = await manager.start_conversation(user_id=f"user{number}")
            prompt = manager.conversation(talk).slot.prompt.text
            said = await manager.process_voice_input(talk, wav("what do i like", voice))
            outcomes.append(outcome(part, voice, item, f"you like {item}", prompt, said, judge))
            await manager.end_conversation(talk)
    return outcomes


def outcome(
    part: str, voice: str, item: str, wanted: str, prompt: str, said: VoiceResponse, judge: Judge
) -> Outcome:
    """Judge one answer by ear."""
    heard = judge.recognise(samples(said))
    return Outcome(part, voice, item, prompt, said.text_content, heard, wanted in heard)


async def live(
    items: list[tuple[str, str]], names: list[str], judge: Judge
) -> tuple[list[Outcome], list[Live]]:
    """Introduce oneself, have the prompt exchanged, ask for the new fact and for the old one."""
    outcomes, swaps = [], []
    async with VoiceManager(settings(None)) as manager:
        manager.attend(lambda _: Remembering())
        for (item, voice), name in zip(items, names, strict=True):
            talk = await manager.start_conversation()
            conversation = manager.conversation(talk)
            (attendant,) = (a for a in conversation.attendants if isinstance(a, Remembering))
            await manager.process_voice_input(talk, wav(f"my name is {name}", voice))
            begun = conversation.slot.counters.frames_out
            told: list[Future[Injection]] = []

            def tell(
                fact: str = f"The user likes {item}.",
                conditioner: Conditioner = attendant.conditioner,
                told: list[Future[Injection]] = told,
            ) -> None:
                told.append(conditioner.know([fact]))

            pcm, count = await stream(manager, talk, wav("how are you", voice), tell)
            made = await asyncio.wrap_future(told[0])
            prompt = conversation.slot.prompt.text
            swaps.append(around(pcm, count, begun, made.frame))
            said = await manager.process_voice_input(talk, wav("what do i like", voice))
            outcomes.append(
                outcome("live: new fact", voice, item, f"you like {item}", prompt, said, judge)
            )
            said = await manager.process_voice_input(talk, wav("what is my name", voice))
            outcomes.append(
                outcome("live: old turn", voice, name, f"your name is {name}", prompt, said, judge)
            )
            await manager.end_conversation(talk)
    return outcomes, swaps


async def stream(
    manager: VoiceManager, talk: str, audio: bytes, midway: Callable[[], None]
) -> tuple[np.ndarray, int]:
    """Stream a WAV file with three seconds of silence behind it; the agent's sound, frames in.

    ``midway`` is called where the agent may be answering.
    """
    pcm, _ = soundfile.read(io.BytesIO(audio), dtype="int16")
    pcm = np.pad(pcm, (0, 3 * SAMPLE_RATE))
    pcm = pcm[: len(pcm) // FRAME_SAMPLES * FRAME_SAMPLES]

    async def chunks():  # noqa: ANN202 - an async generator of bytes
        for start in range(0, len(pcm), FRAME_SAMPLES):
            if start // FRAME_SAMPLES == len(pcm) // FRAME_SAMPLES // 2:
                midway()
            yield pcm[start : start + FRAME_SAMPLES].tobytes()

    out = [
        np.frombuffer(chunk.audio_data, dtype="<i2").astype(np.float32) / 32768
        async for chunk in manager.process_voice_stream(talk, chunks(), finish_answer=False)
    ]
    return np.concatenate(out), len(pcm) // FRAME_SAMPLES


def around(pcm: np.ndarray, count: int, begun: int, frame: int | None) -> Live:
    """Measure the jump between samples where the swap was, and what speech has of such jumps."""
    jumps = np.abs(np.diff(pcm))
    seam = ((frame or begun) - begun) * FRAME_SAMPLES
    return Live(
        count,
        len(pcm) // FRAME_SAMPLES,
        (frame or begun) - begun,
        float(jumps[max(0, seam - 2) : seam + 2].max()) if len(jumps) > seam else 0.0,
        float(np.quantile(jumps, 0.999)),
    )


def judged(folder: Path, items: list[str], names: list[str]) -> Judge:
    """A recogniser whose language model covers the answers, wrong ones as well."""
    texts = ["hello how can i help you", "i do not know what you like", "i do not know your name"]
    texts += ["i am fine thank you", "sorry i did not understand", *corpus.LEADS]
    texts += [text for item in items for text in (f"you like {item}",) * 2]
    texts += [f"i will remember that you like {item}" for item in items]
    texts += [f"{lead} {name}" for name in names for lead in ("your name is", "nice to meet you")]
    write_language_model(folder / "answers.arpa", texts)
    return Judge(folder / "answers.arpa")


def chosen(count: int) -> tuple[list[tuple[str, str]], list[str]]:
    """Things that can be liked and names, both known to the recogniser, and voices."""
    known, dice = pronounced(), random.Random(12)
    words, _ = corpus.vocabularies()
    likes = [word for word in words.likes[:150] if word in known]
    names = [word for word in words.names[:300] if word in known]
    items = dice.sample(likes, count)
    return [(item, VOICES[i % len(VOICES)]) for i, item in enumerate(items)], dice.sample(
        names, count
    )


def show(outcomes: list[Outcome], swaps: list[Live]) -> dict[str, object]:
    """Print what happened and give the figures."""
    table = Table("part", "voice", "item", "prompt", "monologue", "heard", "")
    for one in outcomes:
        table.add_row(
            one.part, one.voice, one.item, one.prompt, one.monologue, one.heard,
            "right" if one.right else "",
        )  # fmt: skip
    console.print(table)
    figures: dict[str, object] = {}
    bars = {"restart": "≥ 0.90", "control": "≤ 0.05", "live: new fact": "≥ 0.90"}
    summary = Table("", "right by ear", "right in the monologue", "bar", "of")
    for part in dict.fromkeys(one.part for one in outcomes):
        mine = [one for one in outcomes if one.part == part]
        by_ear = sum(one.right for one in mine) / len(mine)
        thought = sum(one.item in one.monologue for one in mine) / len(mine)
        figures[part] = {"by_ear": by_ear, "monologue": thought, "of": len(mine)}
        summary.add_row(part, f"{by_ear:.2f}", f"{thought:.2f}", bars.get(part, ""), str(len(mine)))
    console.print(summary)
    if swaps:
        missing = sum(swap.frames_in - swap.frames_out for swap in swaps)
        clicks = sum(swap.jump_at_swap > max(0.02, swap.jump_of_speech) for swap in swaps)
        figures["swaps"] = {"count": len(swaps), "frames_missing": missing, "clicks": clicks}
        console.print(
            f"{len(swaps)} exchanges in mid-conversation: {missing} frames missing, {clicks} "
            "clicks above the speech"
        )
    return figures


def in_another_process(step: str, folder: Path, given: argparse.Namespace) -> None:
    """Run one step of this script by itself: nothing but the store's folder goes across."""
    command = [sys.executable, "-m", "scripts.benchmark_memory_voice", "--step", step]
    command += ["--folder", str(folder), "--pairs", str(given.pairs)]
    subprocess.run(command + ["--typed"] * given.typed, check=True, cwd=ROOT)


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--pairs", type=int, default=20)
    parser.add_argument("--typed", action="store_true", help="the statement is typed, not spoken")
    parser.add_argument("--json", type=Path, default=ROOT / "benchmarks" / "memory_voice.json")
    parser.add_argument("--step", choices=["say", "ask", "control", "live"], help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.step is None:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            steps = ("say", "ask", "control", "live")
            for step in steps:
                in_another_process(step, folder, given)
            found = [json.loads((folder / f"{s}.json").read_text()) for s in steps[1:]]
            outcomes = [Outcome(**one) for part in found for one in part["outcomes"]]
            swaps = [Live(**one) for part in found for one in part["swaps"]]
        figures = {"cores": os.cpu_count(), "typed": given.typed, **show(outcomes, swaps)}
        given.json.parent.mkdir(parents=True, exist_ok=True)
        given.json.write_text(json.dumps(figures, indent=2) + "\n")
        return
    items, names = chosen(given.pairs)
    store = str(given.folder / "memory")
    if given.step == "say":
        asyncio.run(say(store, items, given.typed))
        return
    judge = judged(given.folder, [item for item, _ in items], names)
    outcomes: list[Outcome] = []
    swaps: list[Live] = []
    if given.step == "live":
        outcomes, swaps = asyncio.run(live(items, names, judge))
    else:
        outcomes = asyncio.run(ask(store if given.step == "ask" else None, items, judge))
    found = {"outcomes": [asdict(o) for o in outcomes], "swaps": [asdict(s) for s in swaps]}
    (given.folder / f"{given.step}.json").write_text(json.dumps(found))


if __name__ == "__main__":
    main()
