"""``/v1/config``: the settings of the running server; and what may be chosen from."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field, JsonValue, field_validator

from coda_voice.config.model import Voicing
from coda_voice.hybrid.attendant import Mode
from coda_voice.server import personalities
from coda_voice.server.front import Front
from coda_voice.server.logins import caller_with
from coda_voice.server.routes.refusals import BODY, REFUSALS

_Seconds = Annotated[float, Field(ge=0.001, le=86_400)]


class Settings(BaseModel):
    """The configuration, and what of it has no effect here."""

    settings: dict[str, JsonValue]
    without_effect: dict[str, str]


class Limits(BaseModel):
    """The limits of ``server`` that may change while it runs; what is left out stays."""

    model_config = ConfigDict(extra="forbid")

    waiting: Annotated[int, Field(ge=0, le=1_000)] | None = None
    wait_seconds: _Seconds | None = None
    idle_seconds: _Seconds | None = None
    silent_call_seconds: _Seconds | None = None
    longest_seconds: _Seconds | None = None
    resume_seconds: _Seconds | None = None
    drain_seconds: _Seconds | None = None
    messages_per_second: Annotated[int, Field(ge=10, le=100_000)] | None = None
    connections_per_address: Annotated[int, Field(ge=1, le=100_000)] | None = None
    connects_per_second: Annotated[int, Field(ge=1, le=100_000)] | None = None

    def given(self) -> dict[str, object]:
        """Give what is to change. Only a longest time can be null: then there is none."""
        fields = self.model_dump(exclude_unset=True).items()
        return {name: v for name, v in fields if v is not None or name == "longest_seconds"}

    @field_validator("*", mode="before")
    @classmethod
    def _numbers(cls, value: object) -> object:
        """Refuse what the types would make a number of: ``true`` is no second, "5" is a text."""
        if isinstance(value, (bool, str)):
            raise ValueError("must be a number")
        return value


class Hybrid(BaseModel):
    """Of the section ``hybrid`` what may change while it runs."""

    model_config = ConfigDict(extra="forbid")

    voice: Voicing | None = None


class Change(BaseModel):
    """What to change: who answers (in all conversations, and those to come), and limits."""

    model_config = ConfigDict(extra="forbid")

    mode: Mode | None = None
    hybrid: Hybrid = Field(default_factory=Hybrid)
    server: Limits = Field(default_factory=Limits)


def routes(front: Front) -> APIRouter:
    """Give the router."""
    router = APIRouter(prefix="/v1", responses=REFUSALS, tags=["settings"])
    talker, admin = caller_with(front, "talk"), caller_with(front, "admin")

    def shown() -> Settings:
        manager = front.manager
        hybrid = manager.config.hybrid.model_copy(update={"voice": manager.voicing})
        settings = manager.config.model_copy(
            update={"mode": manager.mode, "hybrid": hybrid, "server": front.settings}
        )
        return Settings(
            settings=settings.model_dump(mode="json"),
            without_effect=dict(settings.settings_without_effect()),
        )

    @router.get("/voices", dependencies=[talker])
    async def voices() -> list[str]:
        """List the voices one may choose from."""
        return front.sessions.voices.names()

    @router.get("/personalities", dependencies=[talker])
    async def list_personalities() -> list[str]:
        """List the personalities one may choose from."""
        return personalities.names()

    @router.get("/config", dependencies=[admin])
    async def config() -> Settings:
        """Show the settings of the running server."""
        return shown()

    @router.patch("/config", dependencies=[admin], responses=BODY)
    async def change(body: Change) -> Settings:
        """Change who answers, or limits, until the server ends; its files stay as they are."""
        if body.mode is not None or body.hybrid.voice is not None:
            await front.manager.set_mode(body.mode, voice=body.hybrid.voice)
        given = body.server.given()
        if given:
            front.change_limits(given)
        return shown()

    return router
