"""From the configuration to a voice that remembers: the manager's own wiring."""

from __future__ import annotations

import asyncio

import pytest

from coda_voice.errors import ConfigurationError
from coda_voice.events import ConversationFailed, MemoryStored
from coda_voice.manager import VoiceManager
from coda_voice.remembering import Remembering

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
