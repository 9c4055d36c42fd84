"""``/v1/conversations``: look at one's conversations, steer and end them."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from coda_voice.config.model import Mode
from coda_voice.models import ConversationState
from coda_voice.server.access import Caller, may_touch
from coda_voice.server.commands import (
    LONGEST_TEXT,
    ChooseMode,
    ChoosePersonality,
    Command,
    Interrupt,
    Mute,
    Type,
)
from coda_voice.server.front import Front

Id = Annotated[str, Path(max_length=256, description="The id that `ready` gave.")]


class Problem(BaseModel):
    """What is wrong, and a code for programs."""

    code: str
    message: str


class Refusal(BaseModel):
    """The body of every answer that is a refusal."""

    error: Problem


REFUSALS: dict[int | str, dict[str, object]] = {
    400: {"model": Refusal, "description": "It cannot be done; the message says why"},
    401: {"model": Refusal, "description": "No key or token, or a bad one"},
    403: {"model": Refusal, "description": "The scope is missing"},
    429: {"model": Refusal, "description": "Too many connections"},
}
NOT_FOUND: dict[int | str, dict[str, object]] = {
    404: {"model": Refusal, "description": "No such one of yours"}
}


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid")


class TextBody(_Body):
    """A turn of the user that was typed."""

    text: str = Field(min_length=1, max_length=LONGEST_TEXT)


class ModeBody(_Body):
    """A mode."""

    mode: Mode


class MuteBody(_Body):
    """Whether the agent hears silence."""

    muted: bool


class PersonalityBody(_Body):
    """A personality by name, or traits of the present one."""

    name: str | None = Field(default=None, min_length=1, max_length=64)
    traits: dict[str, Annotated[float, Field(ge=0, le=1)]] = Field(
        default_factory=dict, max_length=32
    )


def routes(front: Front) -> APIRouter:
    """Give the router."""
    router = APIRouter(prefix="/v1", responses=REFUSALS, tags=["conversations"])

    async def ask(request: Request, conversation_id: str, command: Command) -> Response:
        caller = await front.caller_of(request, "talk")
        session = front.sessions.of(caller, conversation_id)
        await front.control.do(session, command)
        return Response(status_code=204)

    def visible(caller: Caller) -> list[ConversationState]:
        states = (
            front.manager.get_conversation_state(s.conversation.id)
            for s in front.sessions.all()
            if may_touch(caller, s.caller.subject)
        )
        return [state for state in states if state is not None]

    @router.get("/conversations")
    async def list_conversations(request: Request) -> list[ConversationState]:
        """List your conversations that go on."""
        return visible(await front.caller_of(request, "talk"))

    @router.get("/conversations/{conversation_id}", responses=NOT_FOUND)
    async def show_conversation(request: Request, conversation_id: Id) -> ConversationState:
        """Show one of them."""
        session = front.sessions.of(await front.caller_of(request, "talk"), conversation_id)
        return session.conversation.state()

    @router.delete("/conversations/{conversation_id}", status_code=204, responses=NOT_FOUND)
    async def end_conversation(request: Request, conversation_id: Id) -> Response:
        """End it."""
        session = front.sessions.of(await front.caller_of(request, "talk"), conversation_id)
        await front.sessions.end(session, "ended")
        return Response(status_code=204)

    @router.post("/conversations/{conversation_id}/interrupt", status_code=204, responses=NOT_FOUND)
    async def interrupt(request: Request, conversation_id: Id) -> Response:
        """Make the agent stop speaking."""
        return await ask(request, conversation_id, Interrupt())

    @router.post("/conversations/{conversation_id}/text", status_code=204, responses=NOT_FOUND)
    async def type_text(request: Request, conversation_id: Id, body: TextBody) -> Response:
        """Say something by typing it."""
        return await ask(request, conversation_id, Type(body.text))

    @router.put("/conversations/{conversation_id}/mode", status_code=204, responses=NOT_FOUND)
    async def choose_mode(request: Request, conversation_id: Id, body: ModeBody) -> Response:
        """Go on in another mode."""
        return await ask(request, conversation_id, ChooseMode(body.mode))

    @router.put("/conversations/{conversation_id}/mute", status_code=204, responses=NOT_FOUND)
    async def mute(request: Request, conversation_id: Id, body: MuteBody) -> Response:
        """Have the agent hear silence, or hear again."""
        return await ask(request, conversation_id, Mute(body.muted))

    @router.put(
        "/conversations/{conversation_id}/personality", status_code=204, responses=NOT_FOUND
    )
    async def choose_personality(
        request: Request, conversation_id: Id, body: PersonalityBody
    ) -> Response:
        """Go on with another personality, or with other traits."""
        command = ChoosePersonality(body.name, body.traits)
        return await ask(request, conversation_id, command)

    return router
