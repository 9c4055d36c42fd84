"""The server as one ASGI application.

    app = create_app(VoiceConfig.load("server.yaml"))

Every part is made here and handed on; nothing is global. ``coda-voice serve`` runs it with
uvicorn (``run.py``); any other ASGI server does as well.
"""

from __future__ import annotations

import asyncio
import importlib.metadata
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import TYPE_CHECKING

from fastapi import APIRouter, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from coda_voice.config import VoiceConfig
from coda_voice.errors import ConfigurationError, VoiceProcessingError
from coda_voice.manager import VoiceManager
from coda_voice.server import edges
from coda_voice.server.access import Access
from coda_voice.server.bodies import Bodies
from coda_voice.server.front import Front, refusal
from coda_voice.server.gate import Gate
from coda_voice.server.logins import DescribedApp
from coda_voice.server.page import page_routes
from coda_voice.server.proxies import BehindProxies, Proxies
from coda_voice.server.recordings import recording_routes
from coda_voice.server.routes import conversations, events, health, memories, settings, voice

if TYPE_CHECKING:
    from coda_voice.server.tracing import Traces

Routes = Callable[[Front], APIRouter]
OUR_ROUTES: tuple[Routes, ...] = (
    health.routes,
    voice.routes,
    events.routes,
    conversations.routes,
    settings.routes,
    memories.routes,
    edges.routes,
)


def create_app(
    config: VoiceConfig | None = None,
    *,
    manager: VoiceManager | None = None,
    routes: Sequence[Routes] = (),
) -> FastAPI:
    """Make the application; ``app.state.front`` holds its parts.

    ``manager``: one that runs already and stays its owner's; otherwise one is made of
    ``config``, and started and shut down with the application. ``routes``: further protocols.
    Raises ConfigurationError for a server that cannot be, or would be open to the network
    without having been told so.
    """
    config = config or (manager.config if manager is not None else VoiceConfig.load())
    voice_manager = manager or VoiceManager(config)
    server = config.server
    front = Front(voice_manager, server, Access(server))
    traces = _traces(server.traces)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        try:
            with closing(front.refusals):  # at the very end: until then people are refused
                async with _running(front, traces, own=manager is None):
                    yield
        except Exception as error:
            front.failure = error
            raise

    app = DescribedApp(
        title="coda-voice",
        version=importlib.metadata.version("coda-voice"),
        description="A full-duplex voice. The WebSockets are described in "
        "docs/reference/protocols.md.",
        lifespan=lifespan,
        docs_url=None,  # their pages would load scripts from elsewhere
        redoc_url=None,
    )
    app.state.front = front
    for make in (*OUR_ROUTES, *routes):
        app.include_router(make(front))
    if server.recordings is not None:
        app.include_router(recording_routes(front, Path(server.recordings).expanduser()))
    app.router.routes.extend(page_routes())
    app.add_exception_handler(VoiceProcessingError, _refused)
    app.add_exception_handler(RequestValidationError, _not_understood)
    app.add_exception_handler(HTTPException, _no_such_route)
    app.add_exception_handler(Exception, _broken)
    app.add_middleware(Bodies, settings=server)
    app.add_middleware(  # in front of it: what is added last is asked first
        Gate,
        settings=server,
        addresses=front.addresses,
        refusals=front.refusals,
        open_to_all=front.access.open,
    )
    proxies = Proxies(server.proxies)
    if proxies:
        app.add_middleware(BehindProxies, proxies=proxies)
    return app


@asynccontextmanager
async def _running(front: Front, traces: Traces | None, *, own: bool) -> AsyncIterator[None]:
    front.log.start()
    listeners = [front.own, front.log.append, front.metrics.event]
    if traces is not None:
        listeners.append(traces.event)
    leave = [front.manager.events.listen(listener) for listener in listeners]
    if own:
        await front.manager.initialize()
    watch = asyncio.create_task(front.sessions.watch())
    try:
        yield
    finally:
        front.stopping.set()
        watch.cancel()
        await asyncio.gather(watch, return_exceptions=True)
        await front.sessions.close()
        if own:
            await front.manager.shutdown()
        for undo in leave:
            undo()
        if traces is not None:
            await asyncio.to_thread(traces.close)


def _traces(collector: str | None) -> Traces | None:
    """Begin to send traces to a collector; None without one."""
    if collector is None:
        return None
    try:
        from coda_voice.server.tracing import traces_to
    except ImportError as error:
        raise ConfigurationError(
            "server.traces needs OpenTelemetry; install it: pip install 'coda-voice[otel]'.",
            "no_opentelemetry",
        ) from error
    return traces_to(collector)


async def _refused(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, VoiceProcessingError)
    return refusal(error)


async def _not_understood(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"])
    body = {"error": {"code": "bad_request", "message": f"{where}: {first['msg']}"}}
    return JSONResponse(body, 422)


async def _broken(request: Request, error: Exception) -> JSONResponse:
    """Answer for a fault of ours, which is logged where it is raised on."""
    message = "The server failed at this; its log says how. It may be worth another try."
    return JSONResponse({"error": {"code": "internal", "message": message}}, 500)


async def _no_such_route(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    code = {404: "not_found", 405: "method_not_allowed"}.get(error.status_code, "bad_request")
    body = {"error": {"code": code, "message": f"{error.detail}."}}
    return JSONResponse(body, error.status_code, error.headers)
