"""What one asks before trusting a voice: the telephone, interruptions, memory.

Everything here is counted on the frame clock or in bytes, so a busy machine changes nothing.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import statistics
import threading
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path

import numpy as np
import psutil

from coda_voice import VoiceManager
from coda_voice.audio import files, telephony
from coda_voice.audio.ingest import Ingest
from coda_voice.config import VoiceConfig
from coda_voice.events import BargeIn, Event, SpeechStarted, TurnLatency
from coda_voice.moshi.checkpoint import load_models
from coda_voice.moshi.engine import Engine, EngineOptions
from coda_voice.moshi.frames import FRAME_SAMPLES, SAMPLE_RATE, Pcm
from scripts.benchmarks.listening import listen

SOON_SECONDS = 0.5
"""An agent that is silent by then has let itself be interrupted."""
ANSWER_FRAMES = 75
"""So long an answer is waited for."""
SPEAKING_FRAMES = 2
"""So long it speaks before it is interrupted."""
REST_FRAMES = 25
MIB = 2**20


def telephone(pcm: Pcm) -> Pcm:
    """Give 24 kHz sound as it comes over a telephone line: 8 kHz, µ-law, and back."""
    there, back = telephony.ToTelephone("mulaw"), telephony.FromTelephone("mulaw")
    line = there.process(pcm) + there.flush()
    return np.concatenate([back.process(line), back.flush()]).astype(np.float32)


def telephone_band(
    engine: Engine, recordings: list[tuple[Pcm, str, float, float]]
) -> dict[str, object]:
    """How rightly the user is understood, at 24 kHz and over a telephone line, word by word.

    Each recording with what is said in it, and when the voice begins and ends in it, seconds.
    """
    errors: dict[str, list[float]] = {"wide": [], "telephone": []}
    lengths = [len(text.split()) for _, text, _, _ in recordings]
    for pcm, text, onset, offset in recordings:
        for band, sound in (("wide", pcm), ("telephone", telephone(pcm))):
            heard = listen(engine, sound, text, onset, offset)
            rate = heard["word_error_rate"]
            assert isinstance(rate, float)
            errors[band].append(rate)
    return {
        "recordings": len(recordings),
        "words": sum(lengths),
        **{
            f"word_error_rate_{band}": float(np.average(rates, weights=lengths))
            for band, rates in errors.items()
        },
    }


async def interruptions(engine: Engine, question: Pcm, stop: Pcm, rounds: int) -> dict[str, object]:
    """Ask, let it speak for a moment, say "stop": how soon it is silent, how soon it answers."""
    answers: list[float] = []
    silences: list[float | None] = []
    spoke = 0
    config = VoiceConfig.load(
        env={}, audio__sample_rate=SAMPLE_RATE, audio__bit_depth=16, logging__level="error"
    )
    async with VoiceManager(config, engine=engine) as manager:
        for _ in range(rounds):
            events = await _interrupt_once(manager, question, stop)
            answers += [e.seconds for e in events if isinstance(e, TurnLatency)][:1]
            if any(isinstance(e, SpeechStarted) and e.speaker == "agent" for e in events):
                spoke += 1
                silences.append(
                    next((e.silent_after for e in events if isinstance(e, BargeIn)), None)
                )
    known = [s for s in silences if s is not None]
    return {
        "rounds": rounds,
        "answered": spoke,
        "first_sound_p50_s": statistics.median(answers) if answers else None,
        "first_sound_worst_s": max(answers, default=None),
        "interrupted_while_speaking": len(known),
        f"silent_within_{SOON_SECONDS}_s": sum(s <= SOON_SECONDS for s in known),
        "silent_after_p50_s": statistics.median(known) if known else None,
        "silent_after_worst_s": max(known, default=None),
    }


async def _interrupt_once(manager: VoiceManager, question: Pcm, stop: Pcm) -> list[Event]:
    happened: list[Event] = []
    leave = manager.events.listen(happened.append)
    conversation_id = await manager.start_conversation()
    speaking = asyncio.Event()

    async def user() -> AsyncIterator[bytes]:
        for frame in _frames(question):
            yield _pcm16(frame)
        for _ in range(ANSWER_FRAMES):
            if speaking.is_set():
                break
            yield _pcm16(np.zeros(FRAME_SAMPLES, dtype=np.float32))
        for _ in range(SPEAKING_FRAMES):
            yield _pcm16(np.zeros(FRAME_SAMPLES, dtype=np.float32))
        for frame in _frames(np.pad(stop, (0, REST_FRAMES * FRAME_SAMPLES))):
            yield _pcm16(frame)

    try:
        async with aclosing(manager.process_voice_stream(conversation_id, user())) as stream:
            async for _ in stream:
                if any(isinstance(e, SpeechStarted) and e.speaker == "agent" for e in happened):
                    speaking.set()
    finally:
        await manager.end_conversation(conversation_id)
        leave()
    return happened


def memory_per_conversation(slots: int = 8) -> dict[str, object]:
    """What a conversation needs with its whole context lived through, voice detector included."""
    with multiprocessing.get_context("spawn").Pool(1, maxtasksperchild=1) as pool:
        one = pool.apply(_resident, (1,))
        several = pool.apply(_resident, (1 + slots,))
    return {
        "one_conversation_mib": one,
        "conversations_more": slots,
        "each_more_mib": (several - one) / slots,
    }


def _resident(slots: int) -> float:
    """MiB of a process that has ``slots`` conversations of full length."""
    models = load_models("coda-tiny", "cpu")
    chance = np.random.default_rng(0)
    noise = (0.01 * chance.standard_normal(FRAME_SAMPLES)).astype(np.float32)
    hearing = [Ingest() for _ in range(slots)]
    changed = threading.Event()
    with Engine(models, EngineOptions(slots=slots, threads=1)) as engine:
        leased = [engine.lease(realtime=False, on_output=changed.set) for _ in range(slots)]
        for _ in range(models.capabilities.context_frames):
            for ingest, slot in zip(hearing, leased, strict=True):
                for frame in ingest.push(noise):
                    while not slot.push(frame.pcm, voiced=frame.speech):
                        changed.wait(60)
                        changed.clear()
                slot.take()
        resident = psutil.Process().memory_info().rss / MIB
        for slot in leased:
            slot.release()
    return float(resident)


def recordings(
    folder: Path, facts: dict[str, dict[str, object]]
) -> list[tuple[Pcm, str, float, float]]:
    """Read the spoken recordings of the tests, as ``telephone_band`` wants them."""
    return [
        (
            files.read(folder / str(fact["file"])).at(SAMPLE_RATE),
            str(fact["text"]),
            float(str(fact["onset"])),
            float(str(fact["offset"])),
        )
        for fact in facts.values()
    ]


def _frames(pcm: Pcm) -> list[Pcm]:
    padded = np.pad(pcm, (0, -len(pcm) % FRAME_SAMPLES))
    return list(padded.astype(np.float32).reshape(-1, FRAME_SAMPLES))


def _pcm16(pcm: Pcm) -> bytes:
    return telephony.to_int16(pcm).astype("<i2").tobytes()
