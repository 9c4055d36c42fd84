"""From the configuration to a voice that remembers: the manager's own wiring."""

from __future__ import annotations

import asyncio
import threading

import pytest
from typer.testing import CliRunner

from coda_voice.cli.main import command_line
from coda_voice.errors import ConfigurationError
from coda_voice.events import ConversationFailed, MemoryStored, PersonalityAdapted
from coda_voice.manager import VoiceManager
from coda_voice.remembering import Remembering
from coda_voice.server import personalities

CODA = {"moshi": {"seed": 1}}


def config(folder, **integration):
    return {
        "moshi": {"seed": 1},
        "integration": {"memory_store": str(folder), "character": "coda", **integration},
    }


async def prompt(manager: VoiceManager, conversation_id: str) -> str:
    """The prompt once it is in: a busy machine may take longer than a conversation waits."""
    conversation = manager.conversation(conversation_id)
    for attendant in conversation.attendants:
        if isinstance(attendant, Remembering):
            await attendant.ready()
    return conversation.slot.prompt.text


async def stored(manager: VoiceManager, conversation_id: str, text: str) -> MemoryStored:
    events = manager.events.subscribe(conversation_id)
    manager.conversation(conversation_id).type_text(text)
    async with asyncio.timeout(240):
        async for event in events:
            if isinstance(event, MemoryStored):
                return event
    raise AssertionError("never stored")


async def test_the_second_manager_knows_what_was_said_to_the_first(engine, tmp_path):
    async with VoiceManager(config(tmp_path), engine=engine) as manager:
        ada = await manager.start_conversation(user_id="ada")
        assert (await prompt(manager, ada)).startswith("your name is coda")
        event = await stored(manager, ada, "I like chess.")
        assert event.facts == ("The user likes chess.",)
    async with VoiceManager(config(tmp_path), engine=engine) as manager:
        ada = await manager.start_conversation(user_id="ada")
        assert (await prompt(manager, ada)).endswith("the user likes chess")
        bob = await manager.start_conversation(user_id="bob")
        nobody = await manager.start_conversation()
        for other in (bob, nobody):
            text = await prompt(manager, other)
            assert text.startswith("your name is coda") and "chess" not in text


async def test_nothing_is_kept_unless_it_is_wanted(engine, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    async with VoiceManager(CODA, engine=engine) as manager:
        ada = await manager.start_conversation(user_id="ada")
        manager.conversation(ada).type_text("I like chess.")
        assert await prompt(manager, ada) == ""
    async with VoiceManager(config(tmp_path / "m", memory_enabled=False), engine=engine) as manager:
        ada = await manager.start_conversation(user_id="ada")
        manager.conversation(ada).type_text("I like chess.")
    assert not list(tmp_path.rglob("*.lance"))


async def test_an_unknown_character_fails_at_the_start(engine, tmp_path):
    manager = VoiceManager(config(tmp_path, character="sagee"), engine=engine)
    with pytest.raises(ConfigurationError, match="did you mean 'sage'"):
        await manager.initialize()


async def test_a_damaged_personality_is_reported_and_the_talk_begins(engine, tmp_path):
    async with VoiceManager(config(tmp_path), engine=engine) as manager:
        ada = await manager.start_conversation(user_id="ada")
        await stored(manager, ada, "shorter, please")
    (file,) = (tmp_path / "personality").glob("*.json")
    file.write_text("{")
    async with VoiceManager(config(tmp_path), engine=engine) as manager:
        events = manager.events.subscribe()
        ada = await manager.start_conversation(user_id="ada")
        async with asyncio.timeout(240):
            async for event in events:
                if isinstance(event, ConversationFailed):
                    assert "Delete the file" in event.message
                    break
        assert manager.get_conversation_state(ada) is not None


async def adapted(manager: VoiceManager, conversation_id: str, text: str) -> list[str]:
    """The traits that moved by the time ``text`` has been heard, and kept in memory."""
    moved: list[str] = []

    def note(event):
        if isinstance(event, PersonalityAdapted):
            moved.append(event.trait)

    stop = manager.events.listen(note)
    await stored(manager, conversation_id, text)
    async with asyncio.timeout(60):
        remembering = next(
            a for a in manager.conversation(conversation_id).attendants if a.name == "memory"
        )
        await remembering.aclose()
    stop()
    return moved


async def test_a_personality_that_a_client_chooses_is_as_its_user_made_it(engine, tmp_path):
    async with VoiceManager(config(tmp_path, character=None), engine=engine) as manager:
        ada = await manager.start_conversation(user_id="ada")
        conversation = manager.conversation(ada)
        own = await personalities.take_on(conversation, "max", {}, manager.memories)
        assert await adapted(manager, ada, "shorter, please") == ["verbosity"]
    fixed = config(tmp_path, personality_adaptation=False)
    async with VoiceManager(fixed, engine=engine) as manager:
        ada = await manager.start_conversation(user_id="ada")
        conversation = manager.conversation(ada)
        now = await personalities.take_on(conversation, "max", {}, manager.memories)
        assert now["traits"]["verbosity"] < own["traits"]["verbosity"]
        loud = await personalities.take_on(conversation, None, {"verbosity": 0.9}, manager.memories)
        assert loud["traits"] == {**now["traits"], "verbosity": 0.9}
        assert await adapted(manager, ada, "stop joking") == []
    told = CliRunner().invoke(
        command_line("personality"),
        ["personality", "explain", "max", "--user", "ada", "--store", str(tmp_path)],
    )
    assert "'shorter, please'" in told.output and "joking" not in told.output


class CodaManager:
    def __init__(self):
        self.turns = []

    def add_turn(self, role, content):
        self.turns.append((role, content))

    async def search_memories(self, query, limit=5, min_relevance=0.0):
        return []

    def get_context(self, max_tokens=800):
        return []


class CodaCharacter:
    def get_personality_state(self):
        return {"parameters": {"humor": {"value": 0.9}}}

    async def enhance_prompt(self, prompt, context=""):
        return f"You are Coda. {prompt}"


async def test_managers_handed_over_come_before_the_configured_ones(engine, tmp_path):
    async with VoiceManager(config(tmp_path), engine=engine) as manager:
        memory = CodaManager()
        await manager.set_memory_manager(memory)
        await manager.set_personality_manager(CodaCharacter())
        ada = await manager.start_conversation(user_id="ada")
        conversation = manager.conversation(ada)
        assert await prompt(manager, ada) == "your name is coda. your humor is high"
        assert conversation.notes["personality"].startswith("You are Coda.")
        await stored(manager, ada, "I like chess.")
        assert memory.turns == [("user", "I like chess.")]
    assert not list(tmp_path.rglob("u*.lance"))


async def test_a_start_given_up_while_its_memories_open_leaves_no_store_open(
    engine, tmp_path, monkeypatch
):
    warming, go_on, closed = threading.Event(), threading.Event(), threading.Event()

    class Slow:
        def __init__(self, where: str, model: str) -> None: ...

        def warm(self) -> None:
            warming.set()
            go_on.wait(30)

        def close(self) -> None:
            closed.set()

    monkeypatch.setattr("coda_memory.store.MemoryStore", Slow)
    manager = VoiceManager(config(tmp_path, character=None), engine=engine)
    start = asyncio.create_task(manager.initialize())
    await asyncio.to_thread(warming.wait, 30)
    start.cancel()
    with pytest.raises(asyncio.CancelledError):
        await start
    assert not manager.is_healthy()
    go_on.set()
    assert await asyncio.to_thread(closed.wait, 30)
