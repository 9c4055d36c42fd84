"""One exchange of the prompt in mid-conversation: what the frames around it were like.

The user's audio is sent by the clock, a frame every 80 ms. A frame is late when it is not there
before the next one of the user has come in; the frames before and after the exchange stand beside
those during it, for where other work shares the machine all of them may be late.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from dataclasses import dataclass, field

import numpy as np

from coda_voice.manager import VoiceManager
from coda_voice.moshi.frames import FRAME_SAMPLES, FRAME_SECONDS, Pcm

LATE_MS = 1e3 * FRAME_SECONDS
SPEECH_JUMP = 0.02
"""Of full scale between two samples; a smaller one is no click, however quiet the speech is."""
AFTER = 5
"""Frames after the exchange that still count as during it."""


@dataclass
class Streamed:
    """What came out of a stream: one entry a frame."""

    asked_at: int
    """The frame at which the exchange was asked for."""
    sent: list[float] = field(default_factory=list)
    heard: list[float] = field(default_factory=list)
    pcm: list[Pcm] = field(default_factory=list)

    @property
    def latency_ms(self) -> list[float]:
        """From a frame going in to the agent's of the same number being here."""
        return [(heard - sent) * 1e3 for sent, heard in zip(self.sent, self.heard, strict=False)]


@dataclass
class Exchange:
    """The frames of one stream with an exchange in it; ``swapped_at`` None: there was none."""

    asked_at: int
    swapped_at: int | None
    frames_sent: int
    frames_out: int
    late_during: int
    late_otherwise: int
    worst_ms_during: float
    p99_ms_otherwise: float
    jump_at_swap: float
    jump_of_speech: float

    @property
    def clicks(self) -> bool:
        """Whether the seam can be heard."""
        return self.jump_at_swap > max(SPEECH_JUMP, self.jump_of_speech)


async def stream(
    manager: VoiceManager, talk: str, pcm: Pcm, midway: Callable[[], None], paced: bool = True
) -> Streamed:
    """Stream whole frames, by the clock if ``paced``; ``midway`` is called in the middle."""
    frames = pcm[: len(pcm) // FRAME_SAMPLES * FRAME_SAMPLES].reshape(-1, FRAME_SAMPLES)
    found = Streamed(asked_at=len(frames) // 2)

    async def microphone() -> AsyncIterator[Pcm]:
        due = time.perf_counter()
        for number, frame in enumerate(frames):
            if number == found.asked_at:
                midway()
            found.sent.append(time.perf_counter())
            yield frame
            due += FRAME_SECONDS
            if paced:
                await asyncio.sleep(max(0.0, due - time.perf_counter()))

    chunks = manager.process_voice_stream(talk, microphone(), finish_answer=False)
    async with aclosing(chunks):
        async for chunk in chunks:
            if chunk.is_complete:
                break
            found.pcm.append(np.frombuffer(chunk.audio_data, dtype="<i2") / np.float32(32_768))
            found.heard.append(time.perf_counter())
    return found


def around(found: Streamed, swapped_at: int | None) -> Exchange:
    """Hold the frames during the exchange against the others; all count from the stream's first."""
    until = (len(found.pcm) if swapped_at is None else swapped_at) + AFTER
    during = [ms for n, ms in enumerate(found.latency_ms) if found.asked_at <= n < until]
    others = [ms for n, ms in enumerate(found.latency_ms) if not found.asked_at <= n < until]
    whole = np.concatenate([*found.pcm, np.zeros(1, np.float32)])
    jumps = np.abs(np.diff(whole))
    seam = (swapped_at or 0) * FRAME_SAMPLES
    return Exchange(
        asked_at=found.asked_at,
        swapped_at=swapped_at,
        frames_sent=len(found.sent),
        frames_out=len(found.pcm),
        late_during=sum(ms > LATE_MS for ms in during),
        late_otherwise=sum(ms > LATE_MS for ms in others),
        worst_ms_during=max(during, default=0.0),
        p99_ms_otherwise=float(np.percentile(others, 99)) if others else 0.0,
        jump_at_swap=0.0 if not seam else float(jumps[seam - 2 : seam + 2].max(initial=0.0)),
        jump_of_speech=float(np.quantile(jumps, 0.999)),
    )
