"""Who calls by HTTP, as a parameter of a route: shown in OpenAPI, and checked before the others.

Only a body that is no JSON is refused before that (422): FastAPI reads it first.

talker = caller_with(front, "talk")

@router.get("/v1/things")
async def things(caller: Caller = talker) -> list[str]: ...
"""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI, Request, Security
from fastapi.security import APIKeyHeader, HTTPBearer

from coda_voice.server.access import Caller, Scope
from coda_voice.server.front import Front

TOKEN = Security(
    HTTPBearer(
        scheme_name="token",
        bearerFormat="JWT",
        description="A JWT or an API key. The scope that is needed stands beside it.",
        auto_error=False,  # what is wrong with it is the front's to say
    )
)
KEY = Security(
    APIKeyHeader(
        name="X-Api-Key",
        scheme_name="key",
        description="An API key or a JWT, where `Authorization` is somebody else's.",
        auto_error=False,
    )
)


def caller_with(
    front: Front,
    scope: Scope,
    instead: Scope | None = None,
) -> Any:  # noqa: ANN401 (FastAPI's own, as a Caller)
    """Give the default of a route's parameter ``caller``: who calls, if they have ``scope``.

    ``instead``: another one that would do.
    """

    async def caller(request: Request, token: object = TOKEN, key: object = KEY) -> Caller:
        return await front.caller_of(request, scope, instead)

    return Security(caller, scopes=[scope])


class DescribedApp(FastAPI):
    """FastAPI whose document says that a server open to everybody wants no login."""

    def openapi(self) -> dict[str, Any]:
        """Give the OpenAPI document."""
        fresh = self.openapi_schema is None
        document = super().openapi()
        front: Front = self.state.front
        if fresh and front.access.open:
            for path in document["paths"].values():
                for operation in path.values():
                    if "security" in operation:
                        operation["security"].insert(0, {})
        return document
