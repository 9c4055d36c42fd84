"""Connections that have asked for nothing yet: half-open ones cost a socket, and no more.

A connection gets its HTTP protocol once the head of its first request is whole. Who does not
send one in time, or sends one that has no end, is let go; so is who has too many connections
open whatever they ask for. What is asked for is bounded elsewhere (``gate.py``).
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.exceptions import InvalidState

from coda_voice.config.server import ServerConfig
from coda_voice.server.limits import AddressLimits
from coda_voice.server.proxies import Proxies, counted_as
from coda_voice.server.refusal_log import RefusalLog

HEAD_SECONDS = 10.0
"""For so long the head of a first request may take."""
HEAD_BYTES = 65_536
END_OF_HEAD = b"\r\n\r\n"
ROOM = 2
"""Connections of one address, as a multiple of those that may ask for something."""


class Callers:
    """The connections of each address. Proxies speak for many and are not counted."""

    def __init__(self, settings: ServerConfig, limits: AddressLimits, refusals: RefusalLog) -> None:
        self._proxies = Proxies(settings.proxies)
        self._open: defaultdict[str, list[asyncio.Transport]] = defaultdict(list)
        self._limits = limits
        """Says how many may come, and counts who is refused."""
        self._refusals = refusals

    def enter(self, transport: asyncio.Transport) -> bool:
        """Count a connection; whether it may stay."""
        peer = transport.get_extra_info("peername")
        address = str(peer[0]) if isinstance(peer, tuple) else ""
        if address in self._proxies:
            return True
        mine, most = self._open[counted_as(address)], ROOM * self._limits.connections
        if len(mine) >= most:
            mine[:] = [other for other in mine if not other.is_closing()]
        if len(mine) >= most:
            self._limits.refused += 1
            self._refusals.note("too_many_connections", "connection", address)
            return False
        mine.append(transport)
        if len(self._open) > 4_096:
            self._forget_the_gone()
        return True

    def _forget_the_gone(self) -> None:
        for address in list(self._open):
            self._open[address] = [t for t in self._open[address] if not t.is_closing()]
            if not self._open[address]:
                del self._open[address]


class Doorstep(asyncio.Protocol):
    """Waits for the head of the first request, then steps aside for ``make()``'s protocol.

    ``waiting`` is where the server looks for connections to close when it stops.
    """

    def __init__(
        self,
        callers: Callers,
        make: Callable[[], asyncio.Protocol],
        waiting: set[asyncio.Protocol],
    ) -> None:
        self._callers = callers
        self._make = make
        self._waiting = waiting
        self._head = bytearray()
        self._transport: asyncio.Transport | None = None
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin to wait. See ``asyncio.Protocol``."""
        assert isinstance(transport, asyncio.Transport)
        if not self._callers.enter(transport):
            transport.abort()
            return
        self._transport = transport
        self._timer = asyncio.get_running_loop().call_later(HEAD_SECONDS, transport.abort)
        self._waiting.add(self)

    def data_received(self, data: bytes) -> None:
        """Collect the head. See ``asyncio.Protocol``."""
        if self._transport is None:
            return
        searched = max(0, len(self._head) - len(END_OF_HEAD) + 1)
        self._head += data
        if self._head.find(END_OF_HEAD, searched) >= 0 or len(self._head) > HEAD_BYTES:
            self._step_aside(self._transport)  # one without an end is refused there

    def connection_lost(self, error: Exception | None) -> None:
        """Forget the connection. See ``asyncio.Protocol``."""
        self._leave()

    def shutdown(self) -> None:
        """Let the connection go: the server stops."""
        if self._transport is not None:
            self._transport.close()

    def _leave(self) -> None:
        self._waiting.discard(self)
        if self._timer is not None:
            self._timer.cancel()

    def _step_aside(self, transport: asyncio.Transport) -> None:
        self._leave()
        self._transport = None
        protocol = self._make()
        transport.set_protocol(protocol)
        protocol.connection_made(transport)
        protocol.data_received(bytes(self._head))
        self._head.clear()


class PromptHttp(H11Protocol):
    """uvicorn's HTTP; the heads of later requests, too, must be whole in HEAD_SECONDS.

    uvicorn waits for a while for a next request to begin, and for ever for its head to end.
    """

    _head_timer: asyncio.TimerHandle | None = None

    def data_received(self, data: bytes) -> None:
        """Take data, and see whether a head has begun. See ``asyncio.Protocol``."""
        super().data_received(data)
        if self.conn.their_state is not h11.IDLE:
            self._no_head()
        elif self._head_timer is None:
            self._head_timer = self.loop.call_later(HEAD_SECONDS, self.transport.abort)

    def connection_lost(self, error: Exception | None) -> None:
        """Forget the connection. See ``asyncio.Protocol``."""
        self._no_head()
        super().connection_lost(error)

    def _no_head(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None


class PromptWebSocket(WebSocketsSansIOProtocol):
    """uvicorn's WebSocket; one that its client is closing does not break off a shutdown.

    uvicorn stops reading the socket at each message until it is taken, which has the selector
    changed twice for each frame of a user. Here it does so only when one waits already.
    """

    def send_receive_event_to_app(self) -> None:
        """Queue a message, and read on if it is the only one. See uvicorn."""
        reads_on = not self.read_paused and self.queue.empty()
        self.read_paused = self.read_paused or reads_on  # what is paused already is left so
        super().send_receive_event_to_app()
        if reads_on:
            self.read_paused = False

    def shutdown(self) -> None:
        """Let the connection go: the server stops."""
        try:
            super().shutdown()
        except InvalidState:  # what was said before our close is still being sent
            self.transport.close()
