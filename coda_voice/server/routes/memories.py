"""``/v1/memories``: what is remembered of the caller; look, search, add, forget."""

from __future__ import annotations

import asyncio
from datetime import datetime
from typing import TYPE_CHECKING, Annotated

from coda_memory.record import Memory
from fastapi import APIRouter, Path, Query
from pydantic import BaseModel, ConfigDict, Field

from coda_voice.errors import ValidationError
from coda_voice.server.access import Caller
from coda_voice.server.front import Front
from coda_voice.server.logins import caller_with
from coda_voice.server.routes.refusals import BODY, NOT_FOUND, REFUSALS

if TYPE_CHECKING:  # it brings LanceDB, which a server without a store never needs
    from coda_memory.user import UserMemories

MOST = 200


class Remembered(BaseModel):
    """One memory. ``valid``: nothing newer on its subject is known; ``score``: of a search."""

    id: str
    text: str
    kind: str
    created_at: datetime
    valid: bool
    score: float | None = None


class Fact(BaseModel):
    """Something to be remembered."""

    model_config = ConfigDict(extra="forbid")

    text: str = Field(min_length=1, max_length=1_000, pattern=r"[^\s\x00-\x1f\x85]")
    """More than blanks, of which Python knows some more than regular expressions do."""


class Forgotten(BaseModel):
    """How many memories are gone."""

    forgotten: int


def routes(front: Front) -> APIRouter:
    """Give the router."""
    router = APIRouter(prefix="/v1/memories", responses=REFUSALS, tags=["memories"])

    rememberer = caller_with(front, "memory")

    def of(caller: Caller) -> UserMemories:
        setup = front.manager.memories
        kept = None if setup is None else setup.user_memories(caller.subject)
        if kept is None:
            raise ValidationError(
                "This server keeps no memories (integration.memory_store is not set).",
                "no_memory",
            )
        return kept

    @router.get("")
    async def look(
        query: Annotated[str | None, Query(max_length=500)] = None,
        limit: Annotated[int, Query(ge=1, le=MOST)] = 50,
        caller: Caller = rememberer,
    ) -> list[Remembered]:
        """List the newest memories of yours, or those nearest to `query`."""
        memories = of(caller)
        if query is None or not query.strip():
            newest = await asyncio.to_thread(memories.list, limit)
            return [_shown(memory) for memory in newest]
        hits = await asyncio.to_thread(memories.search, query, limit)
        return [_shown(hit.memory, hit.score) for hit in hits]

    @router.post("", status_code=201, responses=BODY)
    async def add(fact: Fact, caller: Caller = rememberer) -> Remembered:
        """Have something remembered of you."""
        memories = of(caller)
        return _shown(await asyncio.to_thread(memories.remember_fact, fact.text))

    @router.delete("/{memory_id}", responses=NOT_FOUND)
    async def forget(
        memory_id: Annotated[str, Path(pattern=r"^[A-Za-z0-9_-]{1,64}$")],
        caller: Caller = rememberer,
    ) -> Forgotten:
        """Forget one, with the words it came from; its text is in no file afterwards."""
        memories = of(caller)
        forgotten = await asyncio.to_thread(memories.forget, memory_id)
        if not forgotten:
            raise ValidationError(f"There is no memory {memory_id!r} of yours.", "not_found")
        return Forgotten(forgotten=forgotten)

    @router.delete("")
    async def forget_everything(caller: Caller = rememberer) -> Forgotten:
        """Forget everything of yours."""
        memories = of(caller)
        return Forgotten(forgotten=await asyncio.to_thread(memories.forget_everything))

    return router


def _shown(memory: Memory, score: float | None = None) -> Remembered:
    return Remembered(
        id=memory.id,
        text=memory.text,
        kind=memory.kind,
        created_at=memory.created_at,
        valid=memory.valid,
        score=score,
    )
