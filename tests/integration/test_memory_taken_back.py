"""Who says "just kidding" in the next turn: what the turn before told is not so, what was so is."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path

import pytest
from coda_memory import MemoryStore
from coda_memory.coda import CodaMemory
from coda_memory.embedding import HASHED_WORDS
from coda_memory.thinking_filter import ThinkingFilter
from coda_memory.transfer import export_lines, import_lines
from coda_memory.voice import RememberedUser

from coda_voice.events import MemoryInjected, MemoryStored
from coda_voice.remembering import Remembering
from tests.integration.llm_server import LlmServer
from tests.integration.test_memory_llm import answer, asking, fact
from tests.integration.test_remembering import begun

NOW = datetime(2026, 6, 15, 12, tzinfo=UTC)


@pytest.fixture
def store(tmp_path: Path):
    clock = count()
    with MemoryStore(
        tmp_path / "memory", HASHED_WORDS, now=lambda: NOW + timedelta(seconds=next(clock))
    ) as store:
        yield store


def known(store: MemoryStore) -> set[str]:
    return {fact.text for fact in store.user("ada").facts()}


async def say(store: MemoryStore, *turns: str) -> RememberedUser:
    user = RememberedUser(store.user("ada"), thinking=ThinkingFilter(threshold=0.0))
    for said in turns:
        await user.keep(said)
    return user


@pytest.mark.parametrize(
    ("turns", "facts"),
    [
        (["I live in Bern", "I live in Rome", "just kidding"], {"lives in Bern"}),
        (["I live in Bern", "I live in Rome", "haha", "just kidding"], {"lives in Bern"}),
        (["I live in Bern", "sorry Rome", "I was only joking"], {"lives in Bern"}),
        (["I live in Paris", "I live in Rome", "just kidding I live in Bern"],
         {"lives in Bern"}),
        (["I live in Paris", "I live in Bern", "I live in Rome", "that was a joke"],
         {"lives in Bern"}),
        (["I live in Bern", "I live in Bern", "just kidding"], {"lives in Bern"}),
        (["I like tea", "I have ten cats and I hate tea", "I made that up"], {"likes tea"}),
        (["I drive a Renault", "I sold my car", "just kidding"], {"drives a Renault"}),
        (["I have two dogs", "what time is it", "just kidding"], {"has two dogs"}),
        (["I have two dogs", "I was joking about my boss"], {"has two dogs"}),
        (["I have two dogs", "I was joking about the dogs"], set()),
        (["I have two dogs", "no kidding"], {"has two dogs"}),
        (["I have two dogs", "just kidding", "just kidding"], set()),
    ],
)  # fmt: skip
async def test_what_was_not_meant_is_not_known_and_what_was_so_before_is(store, turns, facts):
    user = await say(store, *turns)
    assert known(store) == set(await user.known()) == {f"The user {fact}." for fact in facts}


async def test_it_says_what_holds_no_longer_and_tells_nothing_of_it(store):
    user = await say(store, "I live in Bern", "I live in Rome")
    kept = await user.keep("just kidding")
    assert (kept.text, kept.taken_back) == ("just kidding", ("The user lives in Rome.",))
    recalled = await user.recall("where do I live, in Rome?")
    assert not any("Rome" in told for told in recalled.told)
    assert ("I live in Rome", "it was taken back") in recalled.refused
    turns = {m.text: m.valid for m in store.user("ada").list(kinds=["turn"])}
    assert turns == {"I live in Bern": True, "I live in Rome": False, "just kidding": True}


async def test_what_came_after_stays(store):
    """Somebody else's device was quicker than the joke."""
    user = await say(store, "I live in Bern", "I live in Rome")
    store.user("ada").remember("I moved to Basel")
    await user.keep("just kidding")
    assert known(store) == {"The user lives in Basel."}
    told = {m.text: m for m in store.user("ada").list(kinds=["fact"])}
    assert told["The user lives in Bern."].superseded_by == told["The user lives in Basel."].id


async def test_it_is_only_taken_back_in_the_same_conversation(store):
    await say(store, "I have two dogs")
    await say(store, "just kidding")
    assert known(store) == {"The user has two dogs."}


async def test_an_export_keeps_what_was_taken_back_taken_back(store, tmp_path):
    await say(store, "I live in Bern", "I live in Rome", "just kidding")
    lines = list(export_lines(store))
    with MemoryStore(tmp_path / "other", HASHED_WORDS) as other:
        assert import_lines(other, lines) == len(lines)
        assert known(other) == {"The user lives in Bern."}
        assert list(export_lines(other)) == lines


async def test_what_an_llm_read_is_taken_back_as_well(store):
    claim = fact("The user's home is Rome.", "my home is Rome", subject="home")
    async with LlmServer(answer(facts=[claim])) as server, asking(server) as llm:
        user = RememberedUser(store.user("ada"), llm=lambda: llm)
        await say(store, "I live in Bern")
        assert (await user.keep("you know my home is Rome")).by == "llm"
        assert known(store) == {"The user's home is Rome."}
        kept = await user.keep("just kidding")
    assert kept.taken_back == ("The user's home is Rome.",)
    assert known(store) == {"The user lives in Bern."}


async def test_what_an_llm_still_reads_is_not_kept(store):
    claim = fact("The user lives in Rome.", "I live in Rome")
    async with LlmServer([0.5, *answer(facts=[claim])]) as server, asking(server) as llm:
        user = RememberedUser(store.user("ada"), llm=lambda: llm)
        keeping = asyncio.create_task(user.keep("I live in Rome"))
        await server.asked.wait()
        await user.keep("just kidding")
        assert (await keeping).facts == ()
    assert known(store) == set()


async def test_coda_is_told_nothing_that_was_taken_back(store):
    manager = CodaMemory(store.user("ada"))
    await asyncio.to_thread(store.user("ada").remember, "I live in Bern")
    manager.add_turn("user", "I live in Rome")
    manager.add_turn("assistant", "In Rome?")
    manager.add_turn("user", "just kidding")
    assert await manager.consolidate_short_term() == 2
    assert known(store) == {"The user lives in Bern."}
    found = await manager.search_memories("do I live in Rome", 15)
    assert found and not any("Rome" in result.memory.content for result in found)
    (memories, *_) = await manager.get_enhanced_context("where do I live")
    assert "Bern" in memories["content"] and "Rome" not in memories["content"]
    await manager.store_interaction("s1", "I have ten cats", "Ten?")
    await manager.store_interaction("s2", "just kidding", "What about?")
    assert "The user has ten cats." in known(store)
    await manager.store_interaction("s1", "I have twenty cats", "Twenty?")
    await manager.store_interaction("s1", "just kidding", "Oh.")
    assert known(store) == {"The user lives in Bern.", "The user has ten cats."}
    await manager.forget_said("that I have ten cats")
    assert known(store) == {"The user lives in Bern."}
    assert await manager.store_interaction("s1", "Forget that I live in Bern.", "Done.") == ""


async def test_the_prompt_says_again_what_was_so(engine, store):
    user = await say(store, "I live in Bern", "I live in Rome")
    held = await begun(engine, Remembering(user))
    assert held.conversation.slot.prompt.text == "the user lives in rome"
    held.conversation.type_text("just kidding")
    await held.until(MemoryInjected, lambda event: "Bern" in " ".join(event.injected))
    (stored,) = held.of(MemoryStored)
    assert stored.taken_back == ("The user lives in Rome.",)
    assert held.conversation.slot.prompt.text == "the user lives in bern"
    await held.manager.shutdown()
