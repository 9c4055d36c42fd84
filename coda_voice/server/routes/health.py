"""How the server is: ``/health``, ``/stats``, ``/metrics``."""

from __future__ import annotations

from typing import Literal

from fastapi import APIRouter, Response
from prometheus_client import CONTENT_TYPE_LATEST
from pydantic import BaseModel

from coda_voice.models import SystemStatus
from coda_voice.moshi.frames import FRAME_SECONDS
from coda_voice.server.front import Front
from coda_voice.server.logins import caller_with
from coda_voice.server.routes.refusals import LOGIN, ORIGIN, REFUSALS
from coda_voice.server.session import Session


class ServerHealth(BaseModel):
    """Whether conversations can begin.

    ``full``: not now, every slot is taken; ``draining``: the server is shutting down;
    ``failed``: the engine has stopped.
    """

    status: Literal["ready", "full", "draining", "failed"]
    slots: int
    slots_free: int
    conversations: int
    waiting: int


class SessionStats(BaseModel):
    """One session in figures; who it is, only to those who may know.

    ``real_time_factor``: the models' time for a frame over the 80 ms it lasts; from 1 on the
    conversation falls behind. None before the first frame.
    """

    conversation_id: str
    seconds: float
    frames: int
    dropped_frames: int
    queued: int
    attached: bool
    real_time_factor: float | None


class ServerStats(BaseModel):
    """Everything in figures."""

    health: ServerHealth
    system: SystemStatus
    sessions: list[SessionStats]


def _stats_of(session: Session) -> SessionStats:
    compute = session.compute.value
    return SessionStats(
        conversation_id=session.conversation.id,
        seconds=session.conversation.seconds,
        frames=session.frames_out,
        dropped_frames=session.conversation.dropped_frames
        + session.hearing.figures.dropped
        + session.outbox.dropped_audio,
        queued=len(session.outbox),
        attached=session.detached_since is None,
        real_time_factor=None if compute is None else compute / FRAME_SECONDS,
    )


def routes(front: Front) -> APIRouter:
    """Give the router."""
    router = APIRouter(tags=["health"], responses=ORIGIN)
    watcher = caller_with(front, "events")

    def health_now() -> ServerHealth:
        stats = front.manager.engine_stats()
        slots, leased = (stats.slots, stats.leased) if stats else (0, 0)
        status: Literal["ready", "full", "draining", "failed"] = "ready"
        if not front.manager.is_healthy():
            status = "failed"
        elif front.sessions.draining:
            status = "draining"
        elif leased >= slots:
            status = "full"
        return ServerHealth(
            status=status,
            slots=slots,
            slots_free=slots - leased,
            conversations=len(front.sessions),
            waiting=front.sessions.waiting,
        )

    @router.get(
        "/health",
        responses={503: {"model": ServerHealth, "description": "Not here, or not any more"}},
    )
    async def health(response: Response) -> ServerHealth:
        """Whether conversations can begin here; 503 while shutting down, or when broken."""
        now = health_now()
        if now.status in ("draining", "failed"):
            response.status_code = 503
        return now

    @router.get("/health/live")
    async def live() -> dict[str, str]:
        """Answer as long as the process does."""
        return {"status": "live"}

    @router.get(
        "/metrics",
        response_class=Response,  # of no type: what refuses is JSON
        dependencies=[watcher],
        responses={
            200: {"content": {"text/plain": {"schema": {"type": "string"}}}, "description": "All"},
            **LOGIN,
        },
    )
    async def metrics() -> Response:
        """Figures for Prometheus."""
        return Response(front.metrics.text(), media_type=CONTENT_TYPE_LATEST)

    @router.get("/stats", dependencies=[watcher], responses=REFUSALS)
    async def stats() -> ServerStats:
        """Figures for people."""
        return ServerStats(
            health=health_now(),
            system=await front.manager.get_system_status(),
            sessions=[_stats_of(session) for session in front.sessions.all()],
        )

    return router
