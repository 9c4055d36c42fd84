"""Eight conversations beside a hostile client, at the pace of a clock; who is let in, and how.

Their microphones send a frame every 80 ms whatever comes back, so a server that stands still
is noticed: their sound piles up, is dropped, and their answers stay away for longer than they
did without the attack. How long that is is measured in the same run, on the same machine.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jwt
import websockets

from tests.integration.voice_server import FRAME_BYTES, RunningServer, StreamClient, voice_server

GOOD = 8
SECRET = "a secret of the tests, long enough for HS256"
FRAME_SECONDS = 0.08
TRIED_FRAMES = 20
"""Each is to answer so many while that is measured."""
QUIET_SECONDS = 1.0
"""At least; and a few frames at the pace that was found."""
BEHIND_FRAMES = 6
"""Frames unanswered meanwhile, at most: nothing of them is dropped."""
MARGIN = 4.0
"""A pace leaves so much more time than the machine was measured to need: the attack takes some,
and other tests run beside it (with 2.0 a flood of connects cost a frame once in ten runs)."""
TRIED_SECONDS = FRAME_SECONDS / MARGIN
"""From frame to frame while it is measured how many the machine can answer."""
SLOWEST_PACE = 0.64
LONGEST_GAP_FRAMES = 25
"""Between two answers: two seconds, in frames of the pace; or three times what it was in quiet."""


def token(subject: str, seconds: float = 3_600, secret: str = SECRET) -> str:
    return jwt.encode({"sub": subject, "exp": time.time() + seconds}, secret, "HS256")


def bearer(text: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {text}"}


MALLORY = bearer(token("mallory"))
"""Somebody who was let in, and means no good."""


def guarded_server(
    folder: Path, **settings: Any
) -> contextlib.AbstractContextManager[RunningServer]:
    """Serve with a login, for the good and three more, or as ``settings`` say."""
    secret = folder / "secret"
    secret.write_text(SECRET)
    given = {
        "moshi__slots": GOOD + 3,
        "server__jwt_secret_file": str(secret),
        "server__connects_per_second": 60,
        "server__connections_per_address": GOOD + 6,
        "server__resume_seconds": 0.5,
        **settings,
    }
    return voice_server(**given)


@dataclass
class Talker:
    """One good conversation; times by ``time.monotonic``."""

    client: StreamClient
    sent: int = 0
    answered: int = 0
    last: float = 0.0
    longest: float = 0.0
    """The longest time between two answers, since the last call of ``gap``."""

    def gap(self) -> float:
        """Give the longest time without an answer since the last call."""
        now = time.monotonic()
        longest, self.longest, self.last = max(self.longest, now - self.last), 0.0, now
        return longest

    async def send(self, company: Company, first: float) -> None:
        due = first
        while not company.over:
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            due += company.pace
            while company.settling and self.sent - self.answered > BEHIND_FRAMES:
                due = time.monotonic()
                await asyncio.sleep(0.02)
            await self.client.socket.send(bytes(FRAME_BYTES))
            self.sent += 1

    async def read(self) -> None:
        with contextlib.suppress(websockets.ConnectionClosed):
            while True:
                message = await self.client.receive()
                if isinstance(message, bytes):
                    assert len(message) == FRAME_BYTES
                    now = time.monotonic()
                    self.longest, self.last = max(self.longest, now - self.last), now
                    self.answered += 1


@dataclass
class Company:
    """All of them. ``pace``: seconds from frame to frame; ``quiet``: the longest gap in quiet."""

    talkers: list[Talker] = field(default_factory=list)
    pace: float = TRIED_SECONDS
    quiet: float = 0.0
    settling: bool = True
    """The pace is being found: nobody gets so far behind that something is dropped."""
    over: bool = False
    sending: list[asyncio.Task[None]] = field(default_factory=list)
    reading: list[asyncio.Task[None]] = field(default_factory=list)

    @property
    def clients(self) -> list[StreamClient]:
        return [talker.client for talker in self.talkers]

    @property
    def behind(self) -> int:
        """Frames that wait for their answer, where most do."""
        return max(talker.sent - talker.answered for talker in self.talkers)

    def gap(self) -> float:
        return max(talker.gap() for talker in self.talkers)

    async def until(self, answers: int) -> None:
        """Wait until each has got so many answers more."""
        goals = [talker.answered + answers for talker in self.talkers]
        async with asyncio.timeout(120):
            while any(t.answered < goal for t, goal in zip(self.talkers, goals, strict=True)):
                await self._look()

    async def caught_up(self) -> None:
        """Wait until no frame waits for its answer."""
        async with asyncio.timeout(120):
            while self.behind:
                await self._look()

    async def _look(self) -> None:
        for task, talker in zip(self.reading, self.talkers, strict=True):
            if task.done():
                task.result()
                ended = talker.client.socket.close_code, talker.client.messages[-2:]
                raise AssertionError(f"a good conversation has ended: {ended}")
            lost = [m for m in talker.client.told("status") if m["status"] == "dropped"]
            assert not lost, f"of a good conversation something was dropped: {lost}"
        await asyncio.sleep(0.02)

    async def settle(self) -> None:
        """Find a pace that the machine can keep, and how long answers stay away at it."""
        await self.until(2)
        began = time.monotonic()
        await self.until(TRIED_FRAMES)
        each = (time.monotonic() - began) / TRIED_FRAMES
        self.pace = FRAME_SECONDS
        if each > 1.1 * TRIED_SECONDS:  # it could not keep up
            while self.pace < MARGIN * each and self.pace < SLOWEST_PACE:
                self.pace *= 2
        self.settling = False
        self.gap()
        await asyncio.sleep(max(QUIET_SECONDS, 4 * self.pace))
        self.quiet = self.gap()
        print(f"{each:.3f} s for a frame, one every {self.pace:.2f} s; quiet: {self.quiet:.2f} s")

    async def leave(self) -> None:
        """Say goodbye; all that was sent must have been answered."""
        self.over = True
        await asyncio.gather(*self.sending)
        await self.caught_up()
        for talker in self.talkers:
            await talker.client.tell("close")
        await asyncio.gather(*self.reading)
        for talker in self.talkers:
            client = talker.client
            assert client.socket.close_code == 1000
            ended = client.messages[-1]
            assert ended["frames"] == talker.answered == talker.sent, ended
            assert not [m for m in client.told("status") if m["status"] == "dropped"]
            assert not client.told("error")


@contextlib.asynccontextmanager
async def good_company(server: RunningServer) -> AsyncIterator[Company]:
    """Have the eight talk while the block lasts: no frame is missed, no answer stays away."""
    company = Company()
    async with contextlib.AsyncExitStack() as stack:
        for _ in range(GOOD):
            url = f"{server.ws}/v1/stream"
            client = StreamClient(url, additional_headers=bearer(token("good")))
            await stack.enter_async_context(client)
            await client.ready()
            company.talkers.append(Talker(client))
        now, each = time.monotonic(), FRAME_SECONDS / GOOD
        for place, talker in enumerate(company.talkers):
            company.reading.append(asyncio.create_task(talker.read()))
            first = now + place * each
            company.sending.append(asyncio.create_task(talker.send(company, first)))
        try:
            await company.settle()
            yield company
            await company.until(2)
            gap, bound = company.gap(), max(3 * company.quiet, LONGEST_GAP_FRAMES * company.pace)
            await company.leave()
            assert gap <= bound, f"{gap:.2f} s without an answer; {company.quiet:.2f} s in quiet"
        finally:
            tasks = [*company.sending, *company.reading]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


async def settled(server: RunningServer) -> None:
    """Wait until nobody is left on the server."""
    for _ in range(600):
        if not len(server.front.sessions) and not server.front.addresses.open:
            return
        await asyncio.sleep(0.05)
    raise AssertionError("somebody is still there")
