"""What the probe measures on a link: a spoken question, its answer, and an interruption.

Times are seconds of this machine's clock, from a frame's sending to the arrival of the answer
that belongs to it; the network is in them, as for any customer.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass

import numpy as np

from coda_voice.audio.features import level_dbfs
from coda_voice.cli.probe_links import Link
from coda_voice.errors import MoshiConnectionError, SlotsFullError
from coda_voice.moshi.frames import FRAME_SAMPLES, FRAME_SECONDS, Pcm
from coda_voice.turns import AGENT_LEVEL_DBFS

JITTER_BUFFER_SECONDS = 0.08
"""A frame is late that a player with so much in store would have missed."""
QUIET_FRAMES = 5
"""So many quiet frames in a row are the end of the agent's speech."""
WAIT_FRAMES = 75
"""So long an answer is waited for."""
MAX_FRAMES = 4_096
DRAIN_SECONDS = 10.0
"""So long the last answers are waited for."""
CODEC_FRAMES = 2
"""What Opus may hold back for good."""


@dataclass(frozen=True, slots=True)
class Question:
    """A recording: 24 kHz, and where in it the voice ends, in seconds."""

    pcm: Pcm
    voice_ends: float


@dataclass(frozen=True, slots=True)
class Report:
    """What was measured; milliseconds, None for what did not happen."""

    handshake_ms: float
    frames_sent: int
    frames_received: int
    latency_p50_ms: float | None
    latency_p95_ms: float | None
    latency_max_ms: float | None
    jitter_ms: float | None
    late_frames: int
    answer_ms: float | None
    """End of the question to the agent's first sound."""
    barge_in_ms: float | None
    """First sound of the interruption to the agent's silence; None: it spoke no more, or on."""
    agent_seconds: float
    """Sound of the agent that was heard."""
    more_conversations: int | None
    """So many more were taken beside this one; None: not tried."""
    capacity_reached: bool
    """Whether the server refused the next one."""

    def as_dict(self) -> dict[str, float | int | bool | None]:
        """Give everything, for JSON."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class _Arrival:
    time: float
    seconds: float
    """Of sound that had come before."""
    loud: bool


class Probe:
    """Holds one conversation on a link and keeps its times."""

    def __init__(self, link: Link, clock: Callable[[], float] = time.perf_counter) -> None:
        self._link = link
        self._clock = clock
        self._sent: deque[float] = deque(maxlen=MAX_FRAMES)
        self._arrived: deque[_Arrival] = deque(maxlen=MAX_FRAMES)
        self._heard_seconds = 0.0
        self._loud_seconds = 0.0
        self._frames = 0
        self._next = 0.0
        self._came = asyncio.Event()

    async def talk(
        self, question: Question, interruption: Question
    ) -> tuple[float | None, float | None]:
        """Ask, wait for the answer, interrupt it; seconds to answer and to silence."""
        listening = asyncio.create_task(self._listen(), name="probe listens")
        self._next = self._clock()
        try:
            ended = self._clock()
            for n, frame in enumerate(_frames(question.pcm)):
                await self._send(frame)
                if n * FRAME_SECONDS <= question.voice_ends:
                    ended = self._clock()
            began = await self._until_loud(ended)
            silent = await self._interrupt(interruption) if began is not None else None
            await self._silence(QUIET_FRAMES)
            await self._rest(listening)
        finally:
            listening.cancel()
            await asyncio.wait([listening])
        if not listening.cancelled() and (error := listening.exception()) is not None:
            raise error
        return (None if began is None else began - ended), silent

    async def _rest(self, listening: asyncio.Task[None]) -> None:
        """Wait for what a slow server still owes, but not for ever."""
        if not self._link.aligned:
            return
        until = asyncio.get_running_loop().time() + DRAIN_SECONDS
        owed = (self._frames - CODEC_FRAMES) * FRAME_SECONDS
        while self._heard_seconds < owed and not listening.done():
            self._came.clear()
            try:
                async with asyncio.timeout_at(until):
                    await self._came.wait()
            except TimeoutError:
                return

    async def _listen(self) -> None:
        async for pcm in self._link.sound():
            self._came.set()
            now = self._clock()
            loud = level_dbfs(pcm) > AGENT_LEVEL_DBFS
            self._arrived.append(_Arrival(now, self._heard_seconds, loud))
            seconds = len(pcm) / (FRAME_SAMPLES / FRAME_SECONDS)
            self._heard_seconds += seconds
            self._loud_seconds += seconds * loud

    async def _send(self, frame: Pcm) -> None:
        self._next += FRAME_SECONDS
        self._sent.append(self._clock())
        self._frames += 1
        await self._link.send(frame)
        await asyncio.sleep(max(0.0, self._next - self._clock()))

    async def _silence(self, frames: int) -> None:
        for _ in range(frames):
            await self._send(np.zeros(FRAME_SAMPLES, dtype=np.float32))

    async def _until_loud(self, since: float) -> float | None:
        for _ in range(WAIT_FRAMES):
            began = next((a.time for a in self._arrived if a.loud and a.time > since), None)
            if began is not None:
                return began
            await self._silence(1)
        return None

    async def _interrupt(self, interruption: Question) -> float | None:
        began: float | None = None
        for frame in _frames(interruption.pcm):
            if began is None and level_dbfs(frame) > AGENT_LEVEL_DBFS:
                began = self._clock()
            await self._send(frame)
        if began is None:
            return None
        for _ in range(WAIT_FRAMES):
            silent = self._silent_since(began)
            if silent is not None:
                return silent - began if silent > began else None
            await self._silence(1)
        return None

    def _silent_since(self, since: float) -> float | None:
        """When the agent fell silent for at least five frames; ``since``: it was so all the time.

        None while it speaks, and while nothing comes that says whether it does.
        """
        after = [a for a in self._arrived if a.time >= since]
        quiet: float | None = since
        count = 0
        for arrival in after:
            quiet, count = (None, 0) if arrival.loud else (quiet or arrival.time, count + 1)
            if count >= QUIET_FRAMES:
                return quiet
        last = after[-1].time if after else since
        stopped = self._clock() - last > QUIET_FRAMES * FRAME_SECONDS
        # Only where nothing is sent while the agent is silent: elsewhere it is the server that
        # does not keep up, and the agent may be in the middle of a word.
        return (quiet or last) if stopped and not self._link.aligned else None

    def report(
        self,
        handshake: float,
        talked: tuple[float | None, float | None],
        more: tuple[int | None, bool],
    ) -> Report:
        """Put the figures together."""
        latencies = self._latencies()
        transit = [a.time - a.seconds for a in self._arrived]
        deadline = transit[0] + JITTER_BUFFER_SECONDS if transit else 0.0
        aligned = self._link.aligned
        steps = np.abs(np.diff(transit)) if aligned and len(transit) > 1 else None
        return Report(
            handshake_ms=handshake * 1000,
            frames_sent=self._frames,
            frames_received=round(self._heard_seconds / FRAME_SECONDS),
            latency_p50_ms=_percentile(latencies, 50),
            latency_p95_ms=_percentile(latencies, 95),
            latency_max_ms=_percentile(latencies, 100),
            jitter_ms=None if steps is None else float(np.mean(steps)) * 1000,
            late_frames=sum(t > deadline for t in transit) if aligned else 0,
            answer_ms=None if talked[0] is None else talked[0] * 1000,
            barge_in_ms=None if talked[1] is None else talked[1] * 1000,
            agent_seconds=self._loud_seconds,
            more_conversations=more[0],
            capacity_reached=more[1],
        )

    def _latencies(self) -> list[float]:
        """From the sending of each frame to the sound that belongs to the same 80 ms."""
        if not self._link.aligned:
            return []
        sent = list(self._sent)
        found = []
        for arrival in self._arrived:
            frame = round(arrival.seconds / FRAME_SECONDS)
            if frame < len(sent):
                found.append(arrival.time - sent[frame])
        return found


async def more_conversations(make: Callable[[], Link], at_most: int) -> tuple[int, bool]:
    """Open further conversations until one is refused, then close them all."""
    held: list[Link] = []
    try:
        while len(held) < at_most:
            link = make()
            try:
                await link.open()
            except (SlotsFullError, MoshiConnectionError):
                await link.close()
                return len(held), True
            held.append(link)
        return len(held), False
    finally:
        for link in held:
            await link.close()


def _frames(pcm: Pcm) -> list[Pcm]:
    padded = np.pad(pcm, (0, -len(pcm) % FRAME_SAMPLES))
    return [padded[n : n + FRAME_SAMPLES] for n in range(0, len(padded), FRAME_SAMPLES)]


def _percentile(values: Sequence[float], share: float) -> float | None:
    return float(np.percentile(values, share)) * 1000 if values else None
