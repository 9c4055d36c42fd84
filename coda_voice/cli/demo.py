"""``coda-voice demo``: a spoken conversation with the model, on the screen and as files.

The user's utterances are recordings; everything of the agent comes from the model, frame by
frame, through ``VoiceManager`` as an embedding program would use it.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np
import typer
from rich.console import Console
from rich.markup import escape

from coda_voice.audio import files
from coda_voice.audio.pcm import decode_samples
from coda_voice.cli import options
from coda_voice.cli.garbage import none_while_starting
from coda_voice.cli.record import Record
from coda_voice.cli.screen import open_screen
from coda_voice.cli.script import Script, ScriptedUser, load_script
from coda_voice.cli.thoughts import failures
from coda_voice.moshi.frames import FRAME_SAMPLES, FRAME_SECONDS, Pcm

if TYPE_CHECKING:
    from coda_voice.config import VoiceConfig
    from coda_voice.manager import VoiceManager

DEFAULTS: dict[str, object] = {"mode": "adaptive", "external_llm__provider": "offline"}
"""Without other wishes the offline brain thinks, so that the demo is the same everywhere."""
TYPED = "what is three plus four"
"""Typed at the end, if no tool has been used by then."""
SOUNDING_FRAMES = 12
"""While which the last word is still heard."""
TYPED_FRAMES = 100
"""So long its answer is waited for."""
TURNS_OF_LOOP = 25
"""Given to the thought clock between two frames: enough for the offline brain to answer."""
SPEECH_SECONDS = 1.0
"""An agent that can be heard for less than this has not taken part in the conversation."""


@dataclass(frozen=True, slots=True)
class Held:
    """A conversation that was held: its record, and what the machine needed for it."""

    record: Record
    checkpoint: str
    device: str
    prompt: str
    seed: int | None
    seconds_taken: float
    model_ms: float
    """Mean time of a frame in the model: encode, step, decode."""

    @property
    def real_time_factor(self) -> float:
        """Share of the 80 ms of a frame that the model needs."""
        return self.model_ms / 80.0


def demo(
    out: Annotated[Path, typer.Option("--out", help="The folder for the files.")] = Path(),
    realtime: Annotated[
        bool | None,
        typer.Option(
            "--realtime/--fast", help="In time, or as fast as it goes (default: no terminal)."
        ),
    ] = None,
    llm: Annotated[
        str | None,
        typer.Option("--llm", help="Who thinks: ollama/MODEL, openai/MODEL, or offline."),
    ] = None,
    endpoint: Annotated[
        str | None, typer.Option("--endpoint", help="Address of the LLM's server.")
    ] = None,
    seed: options.Seed = None,
    prompt: options.PromptText = None,
    checkpoint: options.Checkpoint = None,
    device: options.Device = None,
    config: options.Config = None,
) -> None:
    """Hold a scripted spoken conversation; leaves conversation.wav, .png and .json.

    The user is a recording that says "stop talking" once while the agent speaks; what the
    agent says is really the model's, but for what an LLM, or the offline brain, has it say. If
    no tool was used, because the question was not understood, the user types it. Exits with 1
    if the agent says nothing that is speech.
    """
    console = Console(highlight=False)
    with options.ending_in_peace(console, "Stopped; nothing was written."):
        given: dict[str, object] = {
            "moshi__checkpoint": checkpoint,
            "moshi__device": device,
            "moshi__seed": seed,
            "moshi__prompt": prompt,
            **options.thinking(llm, endpoint),
        }
        _demo(console, out, realtime, given, config)


def _demo(
    console: Console,
    out: Path,
    realtime: bool | None,
    given: dict[str, object],
    config: Path | None,
) -> None:
    folder = options.writable_folder(out)
    script = load_script()
    settings = _settings(config, given, script.prompt)
    in_time = console.is_interactive if realtime is None else realtime
    held = asyncio.run(converse(settings, script, console, in_time=in_time))
    paths = write_files(held, folder)
    spoken = held.record.agent_speech_seconds()
    summarise(console, held, spoken, paths)
    if spoken < SPEECH_SECONDS:
        Console(stderr=True, highlight=False).print(
            f"The agent's channel holds no speech to speak of ({spoken:.2f} s): it does "
            "not speak. Try another --seed or --checkpoint.",
            soft_wrap=True,
        )
        raise typer.Exit(1)


def _settings(config: Path | None, given: dict[str, object], prompt: str) -> VoiceConfig:
    """Read the settings; ``prompt`` is used where nothing else was said and one is taken."""
    from coda_voice.moshi.capabilities import capabilities_for

    given = {**options.AS_THE_MODEL_HEARS, **given}
    defaults: dict[str, object] = {"moshi__seed": options.SEED, **DEFAULTS}
    settings = options.load_config(config, given, defaults)
    if capabilities_for(settings.moshi.checkpoint).prompt == "none":
        return settings
    return options.load_config(config, given, {**defaults, "moshi__prompt": prompt})


async def converse(
    settings: VoiceConfig, script: Script, console: Console, *, in_time: bool
) -> Held:
    """Hold the conversation and show it; ``in_time`` at the speed of speech."""
    with console.status(f"Opening {settings.moshi.checkpoint} …"), none_while_starting():
        # Only here, because it loads torch, which takes seconds.
        from coda_voice.manager import VoiceManager

        manager = VoiceManager(settings)
        await manager.initialize()
    async with manager:
        status = await manager.get_system_status()
        name, where = settings.moshi.checkpoint, status.device or "?"
        told = settings.moshi.prompt or ""
        told_what = f', told: "{told}"' if told else ""
        console.print(escape(f"{name} on {where}{told_what}"), soft_wrap=True)
        console.print()
        began = time.perf_counter()
        record = await _talk(manager, ScriptedUser(script), console, in_time=in_time)
        taken = time.perf_counter() - began
        model_ms = (await manager.get_analytics()).moshi_latency_ms or 0.0
    return Held(record, name, where, told, settings.moshi.seed, taken, model_ms)


async def _talk(
    manager: VoiceManager, user: ScriptedUser, console: Console, *, in_time: bool
) -> Record:
    conversation_id = await manager.start_conversation(conversation_id="demo")
    tracker = manager.conversation(conversation_id).tracker
    record = Record(conversation_id, tracker, user.said)
    stop_listening = manager.events.listen(record.event)
    steps = _Steps(user, in_time=in_time)
    steps.afterwards = lambda: _typed(manager, conversation_id, record, steps)
    try:
        with open_screen(console, record) as screen:
            chunks = manager.process_voice_stream(conversation_id, steps.frames())
            async with aclosing(chunks):
                async for chunk in chunks:
                    if chunk.is_complete:
                        break
                    agent = decode_samples(chunk.audio_data, "int16")
                    record.frame(steps.sent, agent)
                    screen.frame(steps.sent, agent)
                    steps.heard(chunk.agent_speaking)
            await manager.end_conversation(conversation_id)
    finally:
        stop_listening()
    return record


class _Steps:
    """The user's frames one at a time, each after what the agent said to the one before.

    So a user who reacts to the agent hears it without delay, and the conversation is the
    same however fast the machine is.
    """

    def __init__(self, user: ScriptedUser, *, in_time: bool) -> None:
        self.sent: Pcm = np.zeros(FRAME_SAMPLES, dtype=np.float32)
        self._user = user
        self._in_time = in_time
        self._agent_speaking = False
        self._heard = asyncio.Event()
        self.afterwards: Callable[[], AsyncIterator[Pcm]] | None = None
        """Frames to go on with when the user has said everything."""

    async def frames(self) -> AsyncIterator[Pcm]:
        """Give the user's audio."""
        due = time.perf_counter()
        while (frame := self._user.next_frame(self._agent_speaking)) is not None:
            self.sent = frame
            yield frame
            due = await self.settled(due)
        if self.afterwards is not None:
            async for frame in self.afterwards():
                yield frame
                due = await self.settled(due)

    async def settled(self, due: float) -> float:
        """Wait until a frame is over: heard, thought about, its time passed."""
        await self._heard.wait()
        self._heard.clear()
        if not self._in_time:
            for _ in range(TURNS_OF_LOOP):
                await asyncio.sleep(0)
            return due
        await asyncio.sleep(max(0.0, due + FRAME_SECONDS - time.perf_counter()))
        return due + FRAME_SECONDS

    def heard(self, agent_speaking: bool) -> None:
        """Say that the agent's frame has come."""
        self._agent_speaking = agent_speaking
        self._heard.set()


async def _typed(
    manager: VoiceManager, conversation_id: str, record: Record, steps: _Steps
) -> AsyncIterator[Pcm]:
    """Type a question for a tool, if none was used so far, and listen to the answer."""
    from coda_voice.events import ScriptEnded

    if record.tools or manager.config.mode == "moshi_only":
        return
    manager.send_text(conversation_id, TYPED)
    before = len(record.events)
    for _ in range(TYPED_FRAMES):
        steps.sent = np.zeros(FRAME_SAMPLES, dtype=np.float32)
        yield steps.sent
        since = itertools.islice(record.events, before, None)
        if any(isinstance(event, ScriptEnded) and event.heard for event in since):
            for _ in range(SOUNDING_FRAMES):
                yield steps.sent
            return


def write_files(held: Held, folder: Path) -> list[Path]:
    """Write the sound, the picture and the JSON; gives their paths."""
    from coda_voice.cli.timeline import draw_timeline

    record = held.record
    wav, png, report = (folder / f"conversation.{kind}" for kind in ("wav", "png", "json"))
    files.write_wav(wav, files.user_left_agent_right(record.user, record.agent))
    facts = [f"{held.checkpoint} on {held.device}"]
    if held.prompt:
        facts.append(f'told: "{held.prompt}"')
    if record.median_latency is not None:
        facts.append(f"answers after {record.median_latency:.2f} s (median)")
    draw_timeline(record, png, "A conversation with coda-voice", "  ·  ".join(facts))
    found = {
        "checkpoint": held.checkpoint,
        "device": held.device,
        "prompt": held.prompt,
        "seed": held.seed,
        "real_time_factor": round(held.real_time_factor, 4),
        "agent_speech_seconds": round(record.agent_speech_seconds(), 2),
        **record.as_json(),
    }
    options.write_text(report, json.dumps(found, indent=1, ensure_ascii=False) + "\n")
    return [wav, png, report]


def summarise(console: Console, held: Held, spoken: float, paths: list[Path]) -> None:
    """Print what came of it."""
    record = held.record
    rows = [
        (
            "said",
            f"{len(record.words)} words of the agent in {record.agent_turns} turns, "
            f"{spoken:.1f} s of speech in {record.seconds:.1f} s",
        ),
        ("answers", record.answers()),
        ("thought", record.thinking()),
        *(("failed", why) for why in failures(record.events)),
        (
            "speed",
            f"{held.model_ms:.1f} ms for each 80 ms (real-time factor "
            f"{held.real_time_factor:.2f}); the whole took {held.seconds_taken:.1f} s",
        ),
        *((path.suffix.removeprefix("."), str(path)) for path in paths),
    ]
    rows[2:2] = [
        (
            "interrupted",
            f"at {b.time:.1f} s; "
            + (
                "did not stop" if b.silent_after is None else f"silent {b.silent_after:.2f} s later"
            ),
        )
        for b in record.barge_ins
    ]
    console.print()
    for name, value in rows:
        console.print(f"[dim]{name:>11}[/]  {escape(value)}", soft_wrap=True)
