"""A conversation over a line that may fall silent, stall, or send faster than it is spoken.

The speech model lives on frames: without input nothing is said. A foreign client may send
nothing while it waits for an answer, so the line fills what is missing with silence, in time.
"""

from __future__ import annotations

import asyncio
import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator
from concurrent.futures import Executor
from contextlib import aclosing

import numpy as np

from coda_voice.audio.ingest import AudioSettings, Ingest
from coda_voice.conversation import Conversation
from coda_voice.exchange import stream
from coda_voice.heard import Heard
from coda_voice.moshi.frames import FRAME_SAMPLES, FRAME_SECONDS, SAMPLE_RATE, Pcm

FILL_AFTER_SECONDS = 0.4
"""Silence of the line after which the gap is filled: more than a network's usual jitter."""
BACKLOG_SECONDS = 120.0
"""Sound that may wait to be heard; more than that and the oldest is lost."""
CALL_BACKLOG_SECONDS = 0.5
"""The same of a telephone: it never sends less than it speaks, so what waits once, after a stall
of the network, would be waited for as long as the call lasts."""
_SLICE = SAMPLE_RATE
"""Longer chunks are heard in slices of a second."""


class Line(ABC):
    """One conversation's way in and out for an edge: ``put`` sound, iterate ``frames``.

    All sound is mono float32 at 24 kHz. ``dropped_seconds`` counts what did not fit,
    ``filled_seconds`` the silence put in; ``backlog_seconds`` of sound may wait to be heard.
    ``end_reason`` is what the conversation's end is told with.
    """

    conversation: Conversation

    def __init__(self, *, fill_after: float = FILL_AFTER_SECONDS) -> None:
        self.dropped_seconds = 0.0
        self.filled_seconds = 0.0
        self.backlog_seconds = BACKLOG_SECONDS
        self.end_reason = "ended"
        self._put_at = time.monotonic()
        self._settings = AudioSettings()
        self._fill_after = fill_after
        self._waiting: deque[Pcm] = deque(maxlen=8_192)
        self._waiting_samples = 0
        self._changed = asyncio.Event()
        self._listen_anew = False
        self._over = False

    @abstractmethod
    def frames(self) -> AsyncGenerator[Heard, None]:
        """Give the agent's frames, in real time at least, until ``hang_up``.

        Raises ConversationError when the conversation ends.
        """

    def put(self, pcm: Pcm) -> None:
        """Give sound of the user; never waits, drops the oldest where too much is waiting."""
        self._put_at = time.monotonic()
        for begin in range(0, len(pcm), _SLICE):
            self._put(pcm[begin : begin + _SLICE])
        self._changed.set()

    @property
    def nothing_came_for(self) -> float:
        """Seconds since sound was put, be it silence; what the line fills in does not count."""
        return time.monotonic() - self._put_at

    def _put(self, pcm: Pcm) -> None:
        limit = self.backlog_seconds * SAMPLE_RATE
        full = len(self._waiting) == self._waiting.maxlen
        while self._waiting and (full or self._waiting_samples + len(pcm) > limit):
            lost = len(self._waiting.popleft())
            self._waiting_samples -= lost
            self.dropped_seconds += lost / SAMPLE_RATE
            full = False
        self._waiting.append(pcm)
        self._waiting_samples += len(pcm)

    def forget(self) -> None:
        """Drop the sound that has not been heard yet, as was asked."""
        self._waiting.clear()
        self._waiting_samples = 0

    def listen(self, settings: AudioSettings) -> None:
        """Use other settings of the input chain from now on."""
        if settings != self._settings:
            self._settings = settings
            self._listen_anew = True
            self._changed.set()

    def hang_up(self) -> None:
        """End ``frames`` after what is still waiting."""
        self._over = True
        self._changed.set()

    async def _source(self) -> AsyncIterator[Pcm]:
        loop = asyncio.get_running_loop()
        silence = np.zeros(FRAME_SAMPLES, dtype=np.float32)
        due = loop.time() + self._fill_after
        while not self._listen_anew:
            if self._waiting:
                pcm = self._waiting.popleft()
                self._waiting_samples -= len(pcm)
                due = loop.time() + self._fill_after
                yield pcm
                continue
            if self._over:
                return
            self._changed.clear()
            try:
                async with asyncio.timeout_at(due):
                    await self._changed.wait()
            except TimeoutError:
                self.filled_seconds += FRAME_SECONDS
                due = max(due + FRAME_SECONDS, loop.time() - 1.0)
                yield silence


class ConversationLine(Line):
    """A line straight into a conversation of the manager's."""

    def __init__(
        self,
        conversation: Conversation,
        pool: Executor,
        *,
        fill_after: float = FILL_AFTER_SECONDS,
    ) -> None:
        super().__init__(fill_after=fill_after)
        self.conversation = conversation
        self._pool = pool

    async def frames(self) -> AsyncGenerator[Heard, None]:
        """See ``Line.frames``."""
        while not self._over:
            self._listen_anew = False
            ingest = Ingest(self._settings)
            frames = stream(self.conversation, self._source(), ingest, self._pool)
            async with aclosing(frames):
                async for heard in frames:
                    yield heard
            if self.conversation.at_limit:
                return
