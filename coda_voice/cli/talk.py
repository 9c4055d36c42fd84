"""``coda-voice talk``: microphone and speakers, both at once, until Ctrl-C."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated

import numpy as np
import typer
from rich.console import Console
from rich.markup import escape

from coda_voice.audio.pcm import decode_samples
from coda_voice.cli import options
from coda_voice.cli.garbage import none_while_starting
from coda_voice.cli.memory import EVERYBODY
from coda_voice.cli.record import Record
from coda_voice.cli.screen import open_screen
from coda_voice.cli.soundcard import Duplex, choose_rate, open_sound
from coda_voice.moshi.frames import FRAME_SAMPLES, Pcm

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from coda_voice.config import VoiceConfig
    from coda_voice.manager import VoiceManager

Sound = Annotated[str | None, typer.Option(help="Its name, part of it, or its number.")]


@dataclass(slots=True)
class Talk:
    """What is known of the conversation, also when it was broken off."""

    record: Record | None = None
    duplex: Duplex | None = None
    heard: Pcm = field(default_factory=lambda: np.zeros(FRAME_SAMPLES, dtype=np.float32))


def talk(
    prompt: options.PromptText = None,
    headphones: Annotated[
        bool,
        typer.Option(
            "--headphones",
            help="The microphone does not hear the agent: its echo need not be taken out.",
        ),
    ] = False,
    microphone: Sound = None,
    speakers: Sound = None,
    seed: options.Seed = None,
    checkpoint: options.Checkpoint = None,
    device: options.Device = None,
    config: options.Config = None,
) -> None:
    """Talk with it through microphone and speakers; Ctrl-C ends the conversation."""
    console = Console(highlight=False)
    ears, mouth = _device(microphone), _device(speakers)
    rate = choose_rate(ears, mouth)  # before the model is loaded: without sound no talk
    settings = options.load_config(
        config,
        {
            "moshi__checkpoint": checkpoint,
            "moshi__device": device,
            "moshi__seed": seed,
            "moshi__prompt": prompt,
            "audio__sample_rate": rate,
            "audio__channels": 1,
            "audio__bit_depth": 16,
        },
        {"audio__echo_cancellation": not headphones},
    )
    talk = Talk()
    try:
        asyncio.run(_talk(settings, talk, console, ears, mouth))
    except KeyboardInterrupt:
        console.print()
    _summarise(console, talk)


def _device(name: str | None) -> str | int | None:
    return int(name) if name is not None and name.isdecimal() else name


async def _talk(
    settings: VoiceConfig,
    talk: Talk,
    console: Console,
    microphone: str | int | None,
    speakers: str | int | None,
) -> None:
    with console.status(f"Opening {settings.moshi.checkpoint} …"), none_while_starting():
        # Only here, because it loads torch, which takes seconds.
        from coda_voice.manager import VoiceManager

        manager = VoiceManager(settings)
        await manager.initialize()
    async with manager:
        if trouble := await manager.llm_trouble():  # it may take seconds: before anybody listens
            console.print(f"No LLM answers: {escape(trouble)}", style="yellow")
        duplex = Duplex(settings.audio.sample_rate)
        with open_sound(duplex, microphone, speakers):
            console.print("Speak; Ctrl-C ends the conversation.\n")
            await converse(manager, duplex, talk, console)


async def converse(manager: VoiceManager, duplex: Duplex, talk: Talk, console: Console) -> None:
    """Let user and agent hear each other until the microphone ends."""
    conversation_id = await manager.start_conversation(EVERYBODY, "talk")
    tracker = manager.conversation(conversation_id).tracker
    record = Record(conversation_id, tracker, keep_audio=False)
    talk.record, talk.duplex = record, duplex
    stop_listening = manager.events.listen(record.event)
    try:
        with open_screen(console, record) as screen:
            chunks = manager.process_voice_stream(conversation_id, _hear(duplex, talk))
            async with aclosing(chunks):
                async for chunk in chunks:
                    duplex.play(chunk.audio_data)
                    if not chunk.is_complete:
                        agent = decode_samples(chunk.audio_data, "int16")
                        record.frame(talk.heard, agent)
                        screen.frame(talk.heard, agent)
            await manager.end_conversation(conversation_id)
    finally:
        stop_listening()


async def _hear(duplex: Duplex, talk: Talk) -> AsyncIterator[bytes]:
    async for block in duplex.microphone():
        talk.heard = decode_samples(block, "int16")
        yield block


def _summarise(console: Console, talk: Talk) -> None:
    record, duplex = talk.record, talk.duplex
    if record is None or duplex is None:
        console.print("Stopped before the conversation began.")
        return
    rows = [
        ("talked", f"{record.seconds:.0f} s; {len(record.words)} words of the agent"),
        ("answers", record.answers()),
        ("interrupted", f"{len(record.barge_ins)} times"),
    ]
    lost = record.frames_dropped
    if lost or duplex.dropped_blocks or duplex.ran_dry:
        rows.append(
            (
                "lost",
                f"{lost} frames at the model, {duplex.dropped_blocks} blocks at the sound card; "
                f"the speakers ran dry {duplex.ran_dry} times",
            )
        )
    for name, value in rows:
        console.print(f"[dim]{name:>11}[/]  {escape(value)}", soft_wrap=True)
