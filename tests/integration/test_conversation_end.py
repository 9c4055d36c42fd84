"""The end of a conversation is the last that is told of it, whatever was still going on."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from coda_tools import tool

from coda_voice import VoiceManager
from coda_voice.composition import HouseTools
from coda_voice.errors import ConversationError
from coda_voice.events import (
    ConversationEnded,
    ConversationStarted,
    Event,
    MemoryStored,
    ReasoningEnded,
    ToolEnded,
)
from coda_voice.recollection import Kept, Recalled
from coda_voice.remembering import Remembering
from tests.integration.llm_server import LlmServer, calls, done
from tests.integration.test_hybrid import READ, ollama, talking


class SlowMemory:
    """A memory that has stored something when the test says so."""

    def __init__(self) -> None:
        self.storing, self.stored = asyncio.Event(), asyncio.Event()

    async def prepare(self) -> None: ...

    async def known(self) -> tuple[str, ...]:
        return ()

    async def recall(self, said: str) -> Recalled:
        return Recalled()

    async def keep(self, said: str) -> Kept:
        self.storing.set()
        await self.stored.wait()
        return Kept(said)

    def leave(self) -> None: ...


def calling_search(request: dict[str, Any]) -> list[Any]:
    return [done({"tool_calls": calls(("search", {}))}, prompt_eval_count=READ)]


@pytest.mark.parametrize("cancellable", [True, False])
@pytest.mark.parametrize("overtaken", [True, False], ids=["overtaken", "under_way"])
async def test_a_tool_at_work_is_told_of_before_the_end(engine, cancellable: bool, overtaken: bool):
    running = asyncio.Event()

    @tool(timeout=60, cancellable=cancellable)
    async def search() -> str:
        """Search."""
        running.set()
        await asyncio.Event().wait()
        return "found"

    async with (
        LlmServer(calling_search) as server,
        talking(engine, tools=HouseTools(search), **ollama(server)) as talk,
    ):
        talk.manager.send_text(talk.conversation.id, "how warm is it today")
        await talk.until(running.is_set)
        if overtaken:
            talk.conversation.interrupt()
        await talk.manager.end_conversation(talk.conversation.id)
        assert len(talk.of(ToolEnded)) == len(talk.of(ReasoningEnded)) == 1
        assert isinstance(talk.events[-1], ConversationEnded)
    assert len(talk.of(ConversationEnded)) == 1


async def test_what_is_being_stored_is_told_of_before_the_end_and_the_id_is_free_after_it(engine):
    memory = SlowMemory()
    manager = VoiceManager(engine=engine, attendants=[lambda _: Remembering(memory)])
    events: list[Event] = []
    manager.events.listen(events.append)
    async with manager:
        await manager.start_conversation("ada", "monday")
        manager.conversation("monday").type_text("I like chess.")
        async with asyncio.timeout(60):
            await memory.storing.wait()
        ending = asyncio.create_task(manager.end_conversation("monday"))
        await asyncio.sleep(0)
        with pytest.raises(ConversationError, match="has ended"):
            manager.conversation("monday")
        again = asyncio.create_task(manager.start_conversation("ada", "monday"))
        for _ in range(10):
            await asyncio.sleep(0)
        memory.stored.set()
        await asyncio.gather(ending, again)
    told = [
        event.type
        for event in events
        if isinstance(event, ConversationStarted | MemoryStored | ConversationEnded)
    ]
    assert told == [
        "conversation_started", "memory_stored", "conversation_ended",
        "conversation_started", "conversation_ended",
    ]  # fmt: skip


async def test_nothing_is_told_after_the_end(engine):
    events: list[Event] = []
    async with VoiceManager(engine=engine) as manager:
        manager.events.listen(events.append)
        conversation = manager.conversation(await manager.start_conversation("ada"))
        await manager.end_conversation(conversation.id)
        conversation.failed("late", "something that hung on came late")
    assert isinstance(events[-1], ConversationEnded)


async def test_what_never_lets_go_does_not_put_the_end_off_for_ever(engine, monkeypatch):
    monkeypatch.setattr("coda_voice.conversation.LETTING_GO_SECONDS", 0.1)
    memory = SlowMemory()
    events: list[Event] = []
    async with VoiceManager(engine=engine, attendants=[lambda _: Remembering(memory)]) as manager:
        manager.events.listen(events.append)
        conversation = manager.conversation(await manager.start_conversation("ada"))
        conversation.type_text("I like chess.")
        async with asyncio.timeout(60):
            await memory.storing.wait()
            ending = asyncio.create_task(manager.end_conversation(conversation.id))
            await conversation.over()
        assert isinstance(events[-1], ConversationEnded)
        memory.stored.set()
        await ending
    assert not [event for event in events if isinstance(event, MemoryStored)]
