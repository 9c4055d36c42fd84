"""Runs the application on real sockets until it is told to stop, and then drains it.

uvicorn does the HTTP and WebSocket framing, HTTP by h11: its other parser, httptools, keeps a
header of any length. Ours are the sockets' options, which bound what the kernel buffers for a
slow reader, the doorstep, on which connections wait that have asked for nothing yet, and what a
signal does: the first begins the drain, the second ends it at once.
"""

from __future__ import annotations

import asyncio
import logging
import signal
import socket
import ssl
import sys
from collections.abc import Callable
from types import FrameType

import uvicorn
from fastapi import FastAPI
from uvicorn.server import ServerState

from coda_voice.config.server import ServerConfig
from coda_voice.errors import ConfigurationError, VoiceProcessingError
from coda_voice.server.doorstep import (
    HEAD_BYTES,
    Callers,
    Doorstep,
    PromptHttp,
    PromptWebSocket,
)
from coda_voice.server.front import Front

SEND_BUFFER_BYTES = 32_768
"""Of a connection in the kernel, which doubles it: about a second of sound, not a minute."""
UNACKNOWLEDGED_MS = 20_000
"""A connection whose data nobody acknowledges, or has room for, is gone after so long."""
BACKLOG = 128
"""Connections that may wait to be accepted: the loop takes all of them in one go, and while it
does, no conversation goes on."""
PING_SECONDS = 10.0
LAST_WORDS_SECONDS = 2.0
"""When all conversations are over, who reads slowly has so long to take the end of theirs."""
ANSWERED = frozenset(
    {
        "ASGI callable returned without completing handshake.",
        "Invalid HTTP request received.",
        "Unsupported upgrade request.",
    }
)
"""What uvicorn complains of in its log though whoever asked has their answer (the first: refused
with 401, 403 or 429). A stranger could write a line for every connection."""

OURS = f"\n{VoiceProcessingError.__module__}."
"""Stands in a traceback that ends with an error of ours, which says all there is to know."""


class Server(uvicorn.Server):
    """uvicorn, except that SIGTERM and Ctrl-C drain first. Exit status 0 either way."""

    def __init__(self, config: uvicorn.Config, front: Front) -> None:
        super().__init__(config)
        self._front = front
        self._draining: asyncio.Task[None] | None = None

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Begin to drain at the first signal, stop at the second. Called as a signal handler."""
        if self._draining is None and self.started:
            self._draining = asyncio.get_running_loop().create_task(self._drain())
        else:
            self.should_exit = True
            self.force_exit = sig == signal.SIGINT

    async def _drain(self) -> None:
        await self._front.sessions.drain(self._front.settings.drain_seconds)
        self._front.stopping.set()
        await self._front.last_words(LAST_WORDS_SECONDS)  # what follows closes all sockets
        self.should_exit = True

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """See uvicorn; who reads nothing does not keep his socket open beyond it."""
        await super().shutdown(sockets)
        for connection in list(self.server_state.connections):
            # Of h11, of websockets, and on the doorstep, where nobody has got through by now.
            if isinstance(transport := getattr(connection, "transport", None), asyncio.Transport):
                transport.abort()
        await asyncio.sleep(0)  # in which they are closed

    async def on_tick(self, counter: int) -> bool:
        """Stop when told so; a drain that failed stops, too."""
        if self._draining is not None and self._draining.done():
            self.should_exit = True
        return await super().on_tick(counter)


def make_server(app: FastAPI) -> Server:
    """Make the server for an application of ``create_app``; its settings come from there."""
    front: Front = app.state.front
    settings = front.settings
    callers = Callers(settings, front.addresses, front.refusals)

    class OnTheDoorstep(Doorstep):
        """What uvicorn makes of a connection, with the arguments that it gives."""

        def __init__(self, server_state: ServerState, **rest: object) -> None:
            def make() -> asyncio.Protocol:
                return PromptHttp(server_state=server_state, **rest)  # type: ignore[arg-type]

            super().__init__(callers, make, server_state.connections)  # type: ignore[arg-type]

    config = uvicorn.Config(
        app,
        http=OnTheDoorstep,
        backlog=BACKLOG,
        h11_max_incomplete_event_size=HEAD_BYTES,
        log_level="warning",
        access_log=False,
        server_header=False,
        ws=PromptWebSocket,
        ws_max_size=settings.message_kb * 1024,
        ws_ping_interval=PING_SECONDS,
        ws_ping_timeout=PING_SECONDS,
        ws_per_message_deflate=False,
        timeout_graceful_shutdown=5,
        proxy_headers=False,
        ssl_certfile=settings.tls_certificate,
        ssl_keyfile=settings.tls_key,
    )
    logging.getLogger("uvicorn.error").addFilter(_worth_a_line)
    return Server(config, front)


def _worth_a_line(record: logging.LogRecord) -> bool:
    # The second: why the application does not start, which ``serve`` raises for others to tell.
    return record.msg not in ANSWERED and OURS not in str(record.msg)


def listen(settings: ServerConfig) -> socket.socket:
    """Open the listening socket. Raises ConfigurationError when that cannot be."""
    _check_tls(settings)
    try:
        family, kind, _, _, address = socket.getaddrinfo(
            settings.host.strip("[]"), settings.port, type=socket.SOCK_STREAM
        )[0]
        listening = socket.socket(family, kind)
    except OSError as error:
        raise _cannot_listen(settings, error) from error
    try:
        if sys.platform != "win32":
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        # What is set here, accepted connections inherit.
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)
        listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if hasattr(socket, "TCP_USER_TIMEOUT"):
            listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, UNACKNOWLEDGED_MS)
        listening.bind(address)
        listening.listen(BACKLOG)
    except OSError as error:
        listening.close()
        raise _cannot_listen(settings, error) from error
    listening.setblocking(False)
    return listening


def _check_tls(settings: ServerConfig) -> None:
    """Raise ConfigurationError for a certificate and key that nothing can be served with."""
    certificate, key = settings.tls_certificate, settings.tls_key
    if (certificate is None) != (key is None):
        raise ConfigurationError(
            "TLS needs both server.tls_certificate and server.tls_key.", "half_a_tls"
        )
    if certificate is None:
        return
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, key)
    except (OSError, ValueError) as error:  # SSLError is an OSError
        raise ConfigurationError(
            f"TLS cannot be served with server.tls_certificate {certificate} and server.tls_key "
            f"{key}: {error}. Both must be PEM files that belong together.",
            "bad_tls",
            certificate=certificate,
            key=key,
        ) from error


def _cannot_listen(settings: ServerConfig, error: OSError) -> ConfigurationError:
    return ConfigurationError(
        f"Cannot listen on {settings.host}:{settings.port}: {error.strerror or error}. Choose "
        "another server.port (0 for any), or end the program that has it.",
        "cannot_listen",
        host=settings.host,
        port=settings.port,
    )


async def serve(app: FastAPI, on_listening: Callable[[str], None] = lambda address: None) -> None:
    """Serve ``app`` until a signal. ``on_listening`` gets the address, once connections can come.

    Raises ConfigurationError when it cannot listen, and what starting the manager raises.
    """
    front: Front = app.state.front
    settings = front.settings
    listening = listen(settings)
    server = make_server(app)
    host, port = listening.getsockname()[:2]
    scheme = "http" if settings.tls_certificate is None else "https"
    shown = f"[{host}]" if ":" in host else host

    async def announce() -> None:
        while not server.started:
            if server.should_exit:
                return
            await asyncio.sleep(0.02)
        on_listening(f"{scheme}://{shown}:{port}")

    announcing = asyncio.create_task(announce())
    try:
        await server.serve(sockets=[listening])
    except SystemExit:  # so uvicorn ends where the application cannot start
        if front.failure is None:
            raise
    finally:
        announcing.cancel()
        await asyncio.gather(announcing, return_exceptions=True)
        listening.close()
    if front.failure is not None and not server.started:
        raise front.failure
