"""The protocols of the house of integrations on this server: OpenAI's Realtime and Live, Twilio."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from coda_integrations.live.edge import live_routes
from coda_integrations.realtime.edge import realtime_routes
from coda_integrations.server_host import ServerHost
from coda_integrations.telephony.twilio import twilio_routes
from fastapi import APIRouter

from coda_voice.server.access import read_text
from coda_voice.server.front import Front


def routes(front: Front) -> APIRouter:
    """Give the router; the LLM that answers for it is let go with the application."""
    host = ServerHost(front)

    @asynccontextmanager
    async def closing(_: object) -> AsyncIterator[None]:
        yield
        await host.close()

    router = APIRouter(lifespan=closing)
    router.include_router(realtime_routes(host))
    router.include_router(live_routes(host))
    settings = front.settings
    if settings.twilio_token_file is not None:
        token = read_text(settings.twilio_token_file, "twilio_token_file").strip()
        router.include_router(twilio_routes(host, auth_token=token, public_url=settings.public_url))
    return router
