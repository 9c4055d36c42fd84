"""``coda-voice run IN -o OUT.wav``: what the agent says to a recording, aligned in time.

The output is as long as the input, sample for sample, at the input's rate: what is heard at
second 3 of one happens at second 3 of the other (the form the Full-Duplex-Bench expects).
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Self

import numpy as np
import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from coda_voice.audio import files
from coda_voice.audio.pcm import decode_samples
from coda_voice.audio.resample import resample
from coda_voice.cli import options
from coda_voice.cli.garbage import none_while_starting
from coda_voice.cli.record import Record
from coda_voice.errors import ValidationError
from coda_voice.moshi.frames import FRAME_SAMPLES, SAMPLE_RATE, Pcm

if TYPE_CHECKING:
    from coda_voice.config import VoiceConfig

BARE_PCM = (".raw", ".pcm")
PROGRESS_AFTER_SECONDS = 2.0
_SLICE_FRAMES = 4


@dataclass(frozen=True, slots=True)
class Answered:
    """What came of a recording: the agent's sound (24 kHz), and the record without sound."""

    agent: Pcm
    record: Record
    seconds_taken: float


def run(
    source: Annotated[
        Path, typer.Argument(metavar="IN", help="WAV, FLAC, OGG or MP3; .raw or .pcm: bare PCM.")
    ],
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="OUT.wav", help="Where the agent goes.")
    ],
    prompt: options.PromptText = None,
    silence: Annotated[
        float,
        typer.Option("--silence", min=0, max=600, help="Seconds added to IN, for the answer."),
    ] = 0.0,
    seed: options.Seed = None,
    checkpoint: options.Checkpoint = None,
    device: options.Device = None,
    config: options.Config = None,
) -> None:
    """Answer a recording: OUT.wav is as long as IN and aligned with it in time.

    An answer that is not over when IN ends is cut off, unless --silence leaves it room. Beside
    OUT.wav, OUT.json holds the agent's words with their times. The same seed (1, unless another
    is given) gives the same output.
    """
    console = Console(highlight=False)
    with options.ending_in_peace(console, "Stopped; nothing was written."):
        if output.suffix.lower() != ".wav":
            raise ValidationError(
                f"{output} is no name for a WAV file; let it end in .wav.", "bad_output"
            )
        given = {
            "moshi__checkpoint": checkpoint,
            "moshi__device": device,
            "moshi__seed": seed,
            "moshi__prompt": prompt,
        }
        heard = read(source, config)
        added = round(silence * heard.sample_rate)
        heard = replace(heard, pcm=np.pad(heard.pcm, (0, added)))
        for note in heard.mended:
            Console(stderr=True, highlight=False).print(escape(f"{source.name}: {note}"))
        settings = options.load_config(
            config, {**options.AS_THE_MODEL_HEARS, **given}, {"moshi__seed": options.SEED}
        )
        options.writable_folder(output.parent)
        answered = asyncio.run(answer(settings, heard.at(SAMPLE_RATE)))
        write(answered, heard, source, output, settings)
        _summarise(console, answered, output)


def read(source: Path, config: Path | None) -> files.Audio:
    """Read the recording; bare PCM at the rate the settings say. Raises AudioProcessingError."""
    if source.suffix.lower() not in BARE_PCM:
        return files.read(source)
    return files.read(source, options.load_config(config, {}).audio.sample_rate)


async def answer(settings: VoiceConfig, pcm: Pcm) -> Answered:
    """Let the agent hear ``pcm`` (24 kHz) and give all it says meanwhile."""
    agent: list[Pcm] = []
    frames = -(-len(pcm) // FRAME_SAMPLES)
    with none_while_starting():
        from coda_voice.manager import VoiceManager

        manager = VoiceManager(settings)
        await manager.initialize()
    async with manager:
        conversation_id = await manager.start_conversation(conversation_id="run")
        record = Record(
            conversation_id, manager.conversation(conversation_id).tracker, keep_audio=False
        )
        stop_listening = manager.events.listen(record.event)
        chunks = manager.process_voice_stream(conversation_id, _slices(pcm))
        began = time.perf_counter()
        with _Bar(frames) as bar:
            async with aclosing(chunks):
                async for chunk in chunks:
                    if not chunk.is_complete:
                        agent.append(decode_samples(chunk.audio_data, "int16"))
                        record.frame(agent[-1], agent[-1])
                        bar.show(len(agent))
        taken = time.perf_counter() - began
        await manager.end_conversation(conversation_id)
        stop_listening()
    said = np.concatenate(agent) if agent else np.zeros(0, dtype=np.float32)
    return Answered(said, record, taken)


async def _slices(pcm: Pcm) -> AsyncIterator[Pcm]:
    length = _SLICE_FRAMES * FRAME_SAMPLES
    for begin in range(0, len(pcm), length):
        yield pcm[begin : begin + length]


class _Bar:
    """A progress bar on a terminal, but only for what takes longer than two seconds."""

    def __init__(self, frames: int) -> None:
        self._frames = frames
        self._began = time.monotonic()
        self._bar: Progress | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def show(self, done: int) -> None:
        """Show that so many frames are done."""
        if self._bar is None and time.monotonic() - self._began > PROGRESS_AFTER_SECONDS:
            columns = TextColumn("answering"), BarColumn(), TimeRemainingColumn()
            self._bar = Progress(*columns, console=Console(stderr=True), transient=True)
            self._bar.add_task("", total=self._frames)
            self._bar.start()
        if self._bar is not None:
            self._bar.update(self._bar.task_ids[0], completed=done)


def write(
    answered: Answered, heard: files.Audio, source: Path, output: Path, settings: VoiceConfig
) -> None:
    """Write the agent's sound, as long as the recording, and its words beside it."""
    sound = resample(answered.agent, SAMPLE_RATE, heard.sample_rate)[: len(heard.pcm)]
    sound = np.pad(sound, (0, len(heard.pcm) - len(sound)))
    files.write_wav(output, sound, heard.sample_rate)
    record = answered.record
    found = {
        "input": source.name,
        "sample_rate": heard.sample_rate,
        "samples": len(sound),
        "checkpoint": settings.moshi.checkpoint,
        "prompt": settings.moshi.prompt or "",
        "seed": settings.moshi.seed,
        "text": " ".join(word.text for word in record.words),
        **record.as_json(),
    }
    report = output.with_suffix(".json")
    options.write_text(report, json.dumps(found, indent=1, ensure_ascii=False) + "\n")


def _summarise(console: Console, answered: Answered, output: Path) -> None:
    record = answered.record
    text = " ".join(word.text for word in record.words)
    speed = record.seconds / max(answered.seconds_taken, 1e-9)
    console.print(f"agent: {escape(text) or '(says nothing)'}", soft_wrap=True)
    console.print(
        f"{record.seconds:.1f} s in {answered.seconds_taken:.1f} s ({speed:.1f} times real time): "
        f"{escape(str(output))}, {escape(str(output.with_suffix('.json')))}",
        soft_wrap=True,
    )
    if _cut_off(record):
        console.print(
            "The recording ended before the answer did; --silence 3 adds three seconds for it.",
            soft_wrap=True,
        )


def _cut_off(record: Record) -> bool:
    """Say whether the agent was still speaking, or had not begun to, when the recording ended."""
    spoken = [line for line in record.lines() if line.speaker == "agent"]
    return not spoken or spoken[-1].end is None
