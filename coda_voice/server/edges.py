"""The protocols of the house of integrations on this server: OpenAI's Realtime and Live."""

from __future__ import annotations

from coda_integrations.live.edge import live_routes
from coda_integrations.realtime.edge import realtime_routes
from coda_integrations.server_host import ServerHost
from fastapi import APIRouter

from coda_voice.server.front import Front


def routes(front: Front) -> APIRouter:
    """Give the router."""
    host = ServerHost(front)
    router = APIRouter()
    router.include_router(realtime_routes(host))
    router.include_router(live_routes(host))
    return router
