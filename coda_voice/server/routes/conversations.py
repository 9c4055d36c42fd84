"""``/v1/conversations``: look at one's conversations, steer and end them."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Response
from pydantic import BaseModel, ConfigDict, Field

from coda_voice.config.model import Mode, Voicing
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
from coda_voice.server.logins import caller_with
from coda_voice.server.routes.refusals import BODY, NOT_FOUND, REFUSALS

Id = Annotated[str, Path(max_length=256, description="The id that `ready` gave.")]


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class TextBody(_Body):
    """A turn of the user that was typed."""

    text: str = Field(min_length=1, max_length=LONGEST_TEXT)


class ModeBody(_Body):
    """A mode, and whether Moshi's own talk is muted in it (None: as it was)."""

    mode: Mode
    voice: Voicing | None = None


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

    talker = caller_with(front, "talk")

    async def ask(caller: Caller, conversation_id: str, command: Command) -> Response:
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
    async def list_conversations(caller: Caller = talker) -> list[ConversationState]:
        """List your conversations that go on."""
        return visible(caller)

    @router.get("/conversations/{conversation_id}", responses=NOT_FOUND)
    async def show_conversation(conversation_id: Id, caller: Caller = talker) -> ConversationState:
        """Show one of them."""
        session = front.sessions.of(caller, conversation_id)
        return session.conversation.state()

    @router.delete("/conversations/{conversation_id}", status_code=204, responses=NOT_FOUND)
    async def end_conversation(conversation_id: Id, caller: Caller = talker) -> Response:
        """End it."""
        session = front.sessions.of(caller, conversation_id)
        await front.sessions.end(session, "ended")
        return Response(status_code=204)

    @router.post("/conversations/{conversation_id}/interrupt", status_code=204, responses=NOT_FOUND)
    async def interrupt(conversation_id: Id, caller: Caller = talker) -> Response:
        """Make the agent stop speaking."""
        return await ask(caller, conversation_id, Interrupt())

    @router.post(
        "/conversations/{conversation_id}/text", status_code=204, responses={**NOT_FOUND, **BODY}
    )
    async def type_text(conversation_id: Id, body: TextBody, caller: Caller = talker) -> Response:
        """Say something by typing it."""
        return await ask(caller, conversation_id, Type(body.text))

    @router.put(
        "/conversations/{conversation_id}/mode", status_code=204, responses={**NOT_FOUND, **BODY}
    )
    async def choose_mode(conversation_id: Id, body: ModeBody, caller: Caller = talker) -> Response:
        """Go on in another mode."""
        return await ask(caller, conversation_id, ChooseMode(body.mode, body.voice))

    @router.put(
        "/conversations/{conversation_id}/mute", status_code=204, responses={**NOT_FOUND, **BODY}
    )
    async def mute(conversation_id: Id, body: MuteBody, caller: Caller = talker) -> Response:
        """Have the agent hear silence, or hear again."""
        return await ask(caller, conversation_id, Mute(body.muted))

    @router.put(
        "/conversations/{conversation_id}/personality",
        status_code=204,
        responses={**NOT_FOUND, **BODY},
    )
    async def choose_personality(
        conversation_id: Id, body: PersonalityBody, caller: Caller = talker
    ) -> Response:
        """Go on with another personality, or with other traits."""
        command = ChoosePersonality(body.name, body.traits)
        return await ask(caller, conversation_id, command)

    return router
