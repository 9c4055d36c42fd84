"""A client's sound on its way into its conversation: any chunks in, frames of the engine out.

What the engine has no room for waits here, where it can be dropped: old sound is worthless.
Called in the event loop's thread; the input chain runs in a pool where it takes its time.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Executor
from contextlib import suppress
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from coda_voice.audio.ingest import AudioSettings, Ingest, IngestFrame
from coda_voice.audio.vad import VadEvent
from coda_voice.config import VoiceConfig
from coda_voice.conversation import Conversation
from coda_voice.errors import ProtocolError
from coda_voice.moshi.frames import FRAME_SECONDS, Pcm
from coda_voice.server.limits import RateLimit
from coda_voice.startup import audio_settings_of
from coda_voice.turns import UserSpeech

Chunk = bytes | NDArray[np.float32]
"""16-bit PCM, or samples that are numbers already; mono."""
IN_FLIGHT_FRAMES = 8
"""Frames in the engine at once; the rest waits here, where it can be dropped."""
WAITING_FRAMES = 25
"""Frames of a burst that may wait: two seconds."""
AT_ONCE_SECONDS = 0.1
"""Of sound, which the input chain takes in less time (0.2 ms) than it takes to have a thread of
the pool wait for the interpreter, and the event loop for that thread."""
AUDIO_RATE = 1.5
"""Seconds of audio a second that a client may send in the long run: clocks differ, sound not."""
AUDIO_BURST_SECONDS = 10.0
EXCESS_SECONDS = 30.0
"""So much audio beyond that rate, all of it dropped, ends the connection."""


@dataclass(slots=True)
class HearingFigures:
    """Frames that came, frames that were dropped, and audio beyond the rate."""

    frames: int = 0
    dropped: int = 0
    excess_seconds: float = 0.0


@dataclass(slots=True)
class _Waiting:
    """A frame of the user that the engine has no room for yet, and when speech began or ended."""

    frame: IngestFrame
    events: tuple[VadEvent, ...]
    started: float
    arrived: float


class Hearing:
    """The way in of one conversation.

    ``offered`` is told each frame that the engine gets, ``dropped`` how many were lost.
    """

    def __init__(
        self,
        conversation: Conversation,
        config: VoiceConfig,
        pool: Executor,
        offered: Callable[[Pcm], None],
        dropped: Callable[[int], None],
    ) -> None:
        self.figures = HearingFigures()
        self._conversation = conversation
        self._config = config
        self._pool = pool
        self._offered = offered
        self._dropped = dropped
        self.wanted: AudioSettings | None = None
        """By what a client wants its voice to be detected; None: as the server is set."""
        self._listen_anew = False
        self._ingest: Ingest | None = None
        self._ingest_started = 0.0
        self._dropped_before = 0
        self._waiting: deque[_Waiting] = deque(maxlen=WAITING_FRAMES)
        self._excess_frames = 0.0
        """Dropped beyond the rate, and not told yet: less than one."""
        self._one_at_a_time = asyncio.Lock()
        self._rate = RateLimit(AUDIO_RATE, AUDIO_BURST_SECONDS)

    @property
    def begun(self) -> bool:
        """Whether there was audio already."""
        return self.figures.frames > 0 or self._ingest is not None

    @property
    def waiting(self) -> int:
        """Frames that the engine has no room for yet."""
        return len(self._waiting)

    def listen(self, settings: AudioSettings) -> None:
        """Detect voice, and reduce noise, by these settings from the next chunk on."""
        if settings != self.wanted:
            self.wanted = settings
            self._listen_anew = True

    async def hear(
        self,
        chunk: Chunk,
        sample_rate: int,
        arrived: float,
        reference: Callable[[], Pcm | None],
    ) -> None:
        """Take audio; ``reference`` gives what the agent has said since it was last called.

        Raises ProtocolError (fatal) for a flood.
        """
        samples = len(chunk) // 2 if isinstance(chunk, bytes) else len(chunk)
        if not self._rate.take(samples / sample_rate):
            self._too_much(samples / sample_rate)
            return
        async with self._one_at_a_time:
            if self._listen_anew:
                self._listen_anew = False
                await self._finish()
            ingest = self._ingest or self._open(sample_rate)
            said = reference()
            if ingest.quick and samples <= AT_ONCE_SECONDS * sample_rate:
                self._queue(ingest.push(chunk, said), arrived)
            else:
                self._queue(await _in(self._pool, lambda: ingest.push(chunk, said)), arrived)

    async def finish(self) -> None:
        """Bring what is left of the sound into the engine; more may come later."""
        async with self._one_at_a_time:
            await self._finish()

    def feed(self) -> None:
        """Give the engine what waits, as far as it has room."""
        talk = self._conversation
        while self._waiting and talk.ended is None and not talk.at_limit:
            if talk.in_flight >= IN_FLIGHT_FRAMES:
                return
            waiting = self._waiting.popleft()
            lost = talk.dropped_frames + self.figures.dropped - self._dropped_before
            shift = waiting.started - lost * FRAME_SECONDS
            frame = waiting.frame
            speech = [UserSpeech(e.kind, max(0.0, e.time + shift)) for e in waiting.events]
            self._offered(frame.pcm)
            talk.offer(frame.pcm, speech, waiting.arrived, frame.speech)

    def _open(self, sample_rate: int) -> Ingest:
        settings = audio_settings_of(self._config, sample_rate)
        wanted = self.wanted
        if wanted is not None:
            settings = replace(
                settings,
                vad_enabled=wanted.vad_enabled,
                vad_threshold=wanted.vad_threshold,
                silence_duration_ms=wanted.silence_duration_ms,
                noise_reduction=settings.noise_reduction or wanted.noise_reduction,
            )
        # A session's sound is mono float32, whatever the settings are meant for.
        self._ingest = Ingest(replace(settings, channels=1, bit_depth=16, encoding=None))
        self._ingest_started = (
            self._conversation.offered_seconds + len(self._waiting) * FRAME_SECONDS
        )
        self._dropped_before = self._conversation.dropped_frames + self.figures.dropped
        return self._ingest

    async def _finish(self) -> None:
        ingest, self._ingest = self._ingest, None
        if ingest is None or self._conversation.ended is not None:
            return
        self._queue(await _in(self._pool, ingest.finish), time.perf_counter())

    def _queue(self, frames: list[IngestFrame], arrived: float) -> None:
        dropped = 0
        for frame in frames:
            if len(self._waiting) == WAITING_FRAMES:
                gone = self._waiting.popleft()
                dropped += 1
                # The sound is lost, but not that the user began or ended to speak.
                self._waiting[0].events = gone.events + self._waiting[0].events
            self._waiting.append(_Waiting(frame, frame.events, self._ingest_started, arrived))
        self.figures.frames += len(frames)
        if dropped:
            self.figures.dropped += dropped
            self._dropped(dropped)
        self.feed()

    def _too_much(self, seconds: float) -> None:
        figures = self.figures
        figures.excess_seconds += seconds
        if figures.excess_seconds > EXCESS_SECONDS:
            raise ProtocolError(
                "Far more audio than a microphone makes was sent; send it as fast as it is spoken.",
                "too_much_audio",
                fatal=True,
            )
        self._excess_frames += seconds / FRAME_SECONDS
        frames = int(self._excess_frames)  # chunks are of any length: what is left counts later
        if not frames:
            return
        self._excess_frames -= frames
        figures.dropped += frames
        self._dropped_before += frames  # it never reached the input chain's clock
        self._dropped(frames)


async def _in(pool: Executor, work: Callable[[], list[IngestFrame]]) -> list[IngestFrame]:
    """Work in the pool, as ``loop.run_in_executor`` has it done.

    That chains two futures, which for two hundred frames a second is a tenth of the loop's work.
    """
    loop = asyncio.get_running_loop()
    waiter: asyncio.Future[list[IngestFrame]] = loop.create_future()

    def tell(frames: list[IngestFrame] | None, error: BaseException | None) -> None:
        if waiter.done():  # nobody waits any more
            return
        if error is not None:
            waiter.set_exception(error)
        else:
            waiter.set_result(frames or [])

    def run() -> None:
        frames, failed = None, None
        try:
            frames = work()
        except Exception as error:  # noqa: BLE001 - it is raised where it is waited for
            failed = error
        with suppress(RuntimeError):  # the loop has closed
            loop.call_soon_threadsafe(tell, frames, failed)

    pool.submit(run)
    return await waiter
