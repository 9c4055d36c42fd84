"""Edges on the server: its access rules, slots and limits hold for them as for all protocols.

create_app(config, routes=[lambda front: realtime_routes(ServerHost(front, thinkers))])
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import AbstractContextManager, asynccontextmanager

from coda_tools import ToolRegistry
from coda_tools.builtin.arithmetic import calculate
from coda_tools.builtin.clock import clock_tools
from fastapi import WebSocket

from coda_integrations.connection import ENDED, ServedLine
from coda_integrations.host import Guest, Thinkers
from coda_integrations.line import Line
from coda_voice.audio.ingest import AudioSettings
from coda_voice.config import VoiceConfig
from coda_voice.errors import ConversationError
from coda_voice.heard import Heard
from coda_voice.hybrid.clients import client_for
from coda_voice.hybrid.offline_brain import OfflineBrain
from coda_voice.moshi.frames import FRAME_SECONDS, SAMPLE_RATE, Pcm
from coda_voice.server.access import USUAL_SCOPES, Caller
from coda_voice.server.front import Front
from coda_voice.server.limits import RateLimit
from coda_voice.server.outputs import AgentAudio, Ended, Failed
from coda_voice.server.proxies import counted_as
from coda_voice.server.session import Session, Wish
from coda_voice.server.socket import CLOSE_CODES, POLICY

AHEAD_SECONDS = 1.0
"""So much of a burst is heard at once; the rest follows at the pace of speech, which is what
a session takes without loss."""


def thinkers_of(config: VoiceConfig) -> Thinkers:
    """Give who thinks by the settings: the LLM, then the offline brain; time and arithmetic.

    Raises ConfigurationError for an LLM that cannot be.
    """
    llm = config.external_llm
    toolbox = ToolRegistry([*clock_tools(), calculate])
    if llm.provider == "offline":
        return Thinkers([OfflineBrain()], toolbox, config.hybrid.tool_calls)
    client = client_for(
        f"{llm.provider}/{llm.model}",
        llm.endpoint,
        context_window=llm.context_window,
        temperature=llm.temperature,
    )
    llms = [client, OfflineBrain()] if llm.fallback_enabled else [client]
    return Thinkers(llms, toolbox, config.hybrid.tool_calls)


class ServerHost:
    """The server's side of an edge, by its ``Front``; without ``thinkers``, as configured.

    ``close`` at the end: it closes the LLM's connections, if they were made here, and writes
    what has only been counted of the refusals.
    """

    def __init__(self, front: Front, thinkers: Thinkers | None = None) -> None:
        self._thinkers = thinkers
        self._own = thinkers is None
        self._front = front

    @property
    def thinkers(self) -> Thinkers:
        """See ``EdgeHost.thinkers``; made when they are first needed."""
        if self._thinkers is None:
            self._thinkers = thinkers_of(self._front.manager.config)
        return self._thinkers

    async def close(self) -> None:
        """Close what was opened here. An edge of its own may have outlived the application."""
        self._front.refusals.close()
        if self._own and self._thinkers is not None:
            thinkers, self._thinkers = self._thinkers, None
            await thinkers.close()

    async def admit(self, socket: WebSocket, subprotocols: tuple[str, ...]) -> Guest | None:
        """See ``EdgeHost.admit``."""
        caller = await self._front.admit(socket, subprotocols=subprotocols)
        if caller is None:
            return None
        return Guest(caller.subject, caller.subprotocol, caller)

    def trusted(self, user_id: str) -> Guest:
        """See ``EdgeHost.trusted``."""
        return Guest(user_id, None, Caller(user_id, USUAL_SCOPES))

    def asked_by(self, edge: str, address: str) -> AbstractContextManager[None]:
        """See ``EdgeHost.asked_by``."""
        return self._front.refusals.asked_by(edge, address)

    def connection(self, address: str) -> AbstractContextManager[float | None]:
        """See ``EdgeHost.connection``: it is one of all that the address has on the server."""
        return self._front.addresses.connection(counted_as(address))

    @asynccontextmanager
    async def line(self, guest: Guest) -> AsyncIterator[Line]:
        """See ``EdgeHost.line``."""
        if not isinstance(guest.caller, Caller):
            raise TypeError("this guest was let in by another host")
        wish = Wish(sample_rate=SAMPLE_RATE)
        async with self._front.session(guest.caller, wish) as session:
            line = SessionLine(session, self._front)
            try:
                yield line
            finally:
                await self._front.sessions.end(session, line.end_reason)

    @property
    def silent_call_seconds(self) -> float:
        """See ``EdgeHost.silent_call_seconds``; as it is set now."""
        return self._front.settings.silent_call_seconds


class SessionLine(ServedLine):
    """A line into a session of the server, by its limits, counted in its figures."""

    def __init__(self, session: Session, front: Front) -> None:
        super().__init__()
        rate = front.settings.messages_per_second
        self.messages = RateLimit(rate, 2 * rate)
        self.conversation = session.conversation
        self._session = session
        self._metrics = front.metrics
        self._dropped_told = 0.0

    def received(self, size: int) -> None:
        """See ``ServedLine.received``."""
        self._metrics.received(size)

    def sent(self, frame: Heard) -> None:
        """See ``ServedLine.sent``."""
        self._metrics.sent_frame(frame.frame, time.perf_counter())

    def lost(self, frames: int) -> None:
        """See ``ServedLine.lost``."""
        self._metrics.lost("output", frames)

    def untold(self, messages: int) -> None:
        """See ``ServedLine.untold``."""
        self._metrics.untold(messages)

    def too_slow(self) -> None:
        """See ``ServedLine.too_slow``."""
        self._session.too_slow = True

    def put(self, pcm: Pcm) -> None:
        """See ``Line.put``; what is dropped is counted."""
        super().put(pcm)
        frames = int((self.dropped_seconds - self._dropped_told) / FRAME_SECONDS)
        if frames:
            self._dropped_told += frames * FRAME_SECONDS
            self._metrics.lost("input", frames)

    def listen(self, settings: AudioSettings) -> None:
        """See ``Line.listen``."""
        self._session.listen(settings)

    async def frames(self) -> AsyncGenerator[Heard, None]:
        """See ``Line.frames``; errors have the ``close_code`` that ``/v1/stream`` would have."""
        feeding = asyncio.create_task(self._feed(), name="edge's sound")
        try:
            async for output in self._session.outputs():
                match output:
                    case AgentAudio(heard=heard):
                        yield heard
                    case Failed(code, message, fatal=True):
                        ended = self._session.ended or code
                        raise ConversationError(message, code, close_code=_close_code(ended))
                    case Ended(reason):
                        if _close_code(reason) == ENDED:
                            return
                        raise ConversationError(
                            f"The server has ended the conversation ({reason}).",
                            reason,
                            close_code=_close_code(reason),
                        )
                    case _:
                        pass
        finally:
            feeding.cancel()
            await asyncio.wait([feeding])

    async def _feed(self) -> None:
        loop = asyncio.get_running_loop()
        heard_until = loop.time()
        async for pcm in self._source():
            now = loop.time()
            heard_until = max(heard_until, now) + len(pcm) / SAMPLE_RATE
            await self._session.hear(pcm)
            if heard_until - now > AHEAD_SECONDS:
                await asyncio.sleep(heard_until - now - AHEAD_SECONDS)


def _close_code(reason: str) -> int:
    return CLOSE_CODES.get(reason, POLICY)
