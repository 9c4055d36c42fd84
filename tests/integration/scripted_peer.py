"""A server of ``/moshi`` whose every frame is known, and with it what a probe must find."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import numpy as np
from websockets.asyncio.server import ServerConnection, serve

from coda_voice.audio.features import level_dbfs
from coda_voice.audio.pcm import decode_samples
from coda_voice.moshi.frames import FRAME_SAMPLES, FRAME_SECONDS, Pcm
from coda_voice.turns import AGENT_LEVEL_DBFS

LOUD = np.full(FRAME_SAMPLES, 8_000, dtype="<i2").tobytes()
QUIET = bytes(2 * FRAME_SAMPLES)


@dataclass
class Agent:
    """Says whether it is heard in a frame. ``user``: which frames so far had the user's voice.

    The user's first stretch of speech is the question, the second the interruption.
    """

    speaks: Callable[[Agent], bool]
    delay: Callable[[Agent], float] = lambda agent: 0.0
    """Seconds by which the present frame is held back."""
    user: list[bool] = field(default_factory=list)

    @property
    def frame(self) -> int:
        """The number of the present frame."""
        return len(self.user) - 1

    @property
    def question_over(self) -> int:
        """Frames since the question's last sound; 0 while it lasts or has not begun."""
        stretches = self._stretches()
        return self.frame - stretches[0][1] if stretches else 0

    @property
    def interrupted(self) -> int:
        """Frames since the interruption's first sound, this one included; 0 before."""
        stretches = self._stretches()
        return len(self.user) - stretches[1][0] if len(stretches) > 1 else 0

    def _stretches(self) -> list[tuple[int, int]]:
        """Begin and last frame of each; a gap of five frames divides them."""
        found: list[tuple[int, int]] = []
        for number, loud in enumerate(self.user):
            if loud and found and number - found[-1][1] <= 5:
                found[-1] = found[-1][0], number
            elif loud:
                found.append((number, number))
        return found

    def answer(self, pcm: Pcm) -> bytes:
        """Take a frame, give one."""
        self.user.append(level_dbfs(pcm) > AGENT_LEVEL_DBFS)
        return LOUD if self.speaks(self) else QUIET


@asynccontextmanager
async def peer(agent: Agent) -> AsyncIterator[str]:
    """Serve one conversation with ``agent``; gives the address."""

    async def converse(socket: ServerConnection) -> None:
        assert json.loads(await socket.recv())["type"] == "config"
        await socket.send('{"type": "ready"}')
        due: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()

        async def give() -> None:
            while True:
                when, frame = await due.get()
                await asyncio.sleep(max(0.0, when - time.monotonic()))
                await socket.send(frame)

        giving = asyncio.create_task(give())
        async for message in socket:
            assert isinstance(message, bytes) and len(message) == len(QUIET)
            frame = agent.answer(decode_samples(message, "int16"))
            due.put_nowait((time.monotonic() + agent.delay(agent), frame))
        giving.cancel()

    async with serve(converse, "127.0.0.1", 0) as server:
        yield f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}"


def frames_ms(frames: float) -> float:
    """Give the milliseconds that so many frames last."""
    return frames * FRAME_SECONDS * 1000
