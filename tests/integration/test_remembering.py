"""Memory and personality in a running conversation: real store, real coda-tiny, typed words.

Whether coda-tiny then answers well is judged by scripts/benchmark_memory_voice.py.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from coda_memory import MemoryStore
from coda_memory.embedding import HASHED_WORDS
from coda_memory.errors import MemoryStoreError
from coda_memory.owner import Owner
from coda_memory.personality import Personality, PersonalityStates, load_character, state_files
from coda_memory.personality.character import parse_character
from coda_memory.thinking_filter import ThinkingFilter
from coda_memory.voice import RememberedUser
from filelock import FileLock

from coda_voice.attendants import UserText
from coda_voice.conversation import Conversation
from coda_voice.events import (
    ConversationFailed,
    Event,
    MemoryInjected,
    MemoryStored,
    PersonalityAdapted,
    ScriptEnded,
    WordSpoken,
)
from coda_voice.manager import VoiceManager
from coda_voice.moshi.engine import Engine
from coda_voice.recollection import CodaShapedMemory, CodaShapedPersonality, Recalled
from coda_voice.remembering import Remembering
from tests.integration.speech import spoken

NOW = datetime(2026, 6, 15, 12, tzinfo=UTC)
EAGER = ThinkingFilter(threshold=0.3)
"""Hashed words know no meaning: what shares a word shall pass."""


@pytest.fixture
def store(tmp_path: Path):
    with MemoryStore(tmp_path / "memory", HASHED_WORDS, now=lambda: NOW) as store:
        yield store


class Held:
    """A conversation with a ``Remembering`` in it, and the events it published."""

    def __init__(self, manager: VoiceManager, attendant: Remembering, conversation_id: str) -> None:
        self.manager, self.attendant, self.id = manager, attendant, conversation_id
        self.events: list[Event] = []

    @property
    def conversation(self) -> Conversation:
        return self.manager.conversation(self.id)

    def of(self, kind: type[Event]) -> list:
        return [event for event in self.events if isinstance(event, kind)]

    async def until(self, kind: type[Event], matches: Callable = lambda event: True) -> Event:
        """Wait for an event; frames go on meanwhile."""
        async with asyncio.timeout(240):
            while True:
                for event in self.of(kind):
                    if matches(event):
                        return event
                await self.listen(2)

    async def listen(self, frames: int) -> None:
        async def quiet():
            for _ in range(frames):
                yield bytes(2 * 1920)

        async for _ in self.manager.process_voice_stream(self.id, quiet(), finish_answer=False):
            pass


async def begun(engine: Engine, attendant: Remembering) -> Held:
    manager = VoiceManager({"moshi": {"seed": 1}}, engine=engine, attendants=[lambda _: attendant])
    await manager.initialize()
    events: list[Event] = []
    manager.events.listen(events.append)
    held = Held(manager, attendant, await manager.start_conversation(user_id="ada"))
    held.events = events
    await attendant.ready()  # a busy machine may take longer than a conversation waits
    return held


def remembered(store: MemoryStore, user: str = "ada", **options) -> RememberedUser:
    return RememberedUser(store.user(user), thinking=EAGER, **options)


async def test_what_was_said_in_one_conversation_is_in_the_prompt_of_the_next(engine, store):
    first = await begun(engine, Remembering(remembered(store, conversation_id="monday")))
    assert first.conversation.slot.prompt.text == ""
    first.conversation.type_text("I like chess.")
    stored = await first.until(MemoryStored)
    assert stored.facts == ("The user likes chess.",)
    told = await first.until(MemoryInjected, lambda event: event.injected)
    assert told.channel == "prompt" and told.injected == ("The user likes chess.",)
    assert first.conversation.slot.prompt.text == "the user likes chess"
    await first.manager.shutdown()

    coda = Personality(load_character("coda"), "ada")
    second = await begun(engine, Remembering(remembered(store), coda))
    # before its first frame: whoever started it may speak at once
    text = second.conversation.slot.prompt.text
    assert text.startswith("your name is coda") and text.endswith("the user likes chess")
    assert second.of(MemoryInjected)[0].frame == 0
    await second.manager.shutdown()
    nobody = await begun(engine, Remembering(remembered(store, "bob")))
    assert nobody.conversation.slot.prompt.text == ""
    await nobody.manager.shutdown()


async def test_while_the_user_speaks_what_matters_is_told_and_the_rest_has_its_reason(
    engine, store
):
    held = await begun(engine, Remembering(remembered(store), recall_seconds=30))
    ada = store.user("ada")  # meanwhile, by another device
    ada.remember("I like chess.")
    ada.remember("My shoe size is 38.")
    conversation = held.conversation
    conversation.user_text(UserText("my shoe size", False, conversation.generation, 0.0))
    event = await held.until(MemoryInjected, lambda event: event.said)
    assert event.said == "my shoe size"
    texts = {refused.text: refused.reason for refused in event.refused}
    assert texts, "what was found and not told is named"
    conversation.user_text(UserText("do I like chess", True, conversation.generation, 1.0))
    event = await held.until(MemoryInjected, lambda event: "chess" in event.said)
    assert event.injected == ("The user likes chess.",)
    assert event.channel == "frame_sum" and event.frame is not None
    assert held.of(ConversationFailed) == []
    await held.manager.shutdown()


class Slow(RememberedUser):
    """A store on a slow disk: every answer takes as long as the test wants."""

    def __init__(self, store: MemoryStore) -> None:
        super().__init__(store.user("ada"), thinking=EAGER)
        self.go_on = asyncio.Event()

    async def recall(self, said: str) -> Recalled:
        await self.go_on.wait()
        return await super().recall(said)


async def test_a_slow_memory_is_left_aside_and_never_piles_up(engine, store):
    store.user("ada").remember("I like chess.")
    slow = Slow(store)
    held = await begun(engine, Remembering(slow, recall_seconds=0.02))
    held.conversation.type_text("do I like chess")
    first = await held.until(MemoryInjected, lambda event: event.skipped)
    assert "more than 20 ms" in first.skipped and first.injected == ()
    held.conversation.type_text("what do I like")
    second = await held.until(
        MemoryInjected, lambda event: "still going on" in (event.skipped or "")
    )
    assert second.said == "what do I like"
    assert held.attendant.skipped == 2
    assert len(await asyncio.to_thread(store.user("ada").list, kinds=["turn"])) >= 1
    slow.go_on.set()
    await held.listen(3)
    await held.manager.shutdown()
    turns = {memory.text for memory in store.user("ada").list(kinds=["turn"])}
    assert turns == {"I like chess.", "do I like chess", "what do I like"}, "all of it is stored"


async def test_the_whole_turn_waits_for_the_search_before_it(engine, store):
    """Half of the turn is being searched for when it is over; between them newer words came."""
    store.user("ada").remember("I like chess.")
    asked: list[str] = []

    class Noting(Slow):
        async def recall(self, said: str) -> Recalled:
            asked.append(said)
            return await super().recall(said)

    slow = Noting(store)
    held = await begun(engine, Remembering(slow, recall_seconds=200))
    generation = held.conversation.generation
    for text, final in (("well now", False), ("well now do I", False), ("do I like chess", True)):
        held.conversation.user_text(UserText(text, final, generation, 0.0))
        await held.listen(2)
    assert asked == ["well now"]
    slow.go_on.set()
    await held.until(MemoryInjected, lambda event: event.said == "do I like chess")
    assert asked == ["well now", "do I like chess"] and held.attendant.skipped == 0
    await held.manager.shutdown()


class Late(RememberedUser):
    """Has found something, and takes its time to say so; and more for an LLM to judge."""

    def __init__(self, store: MemoryStore) -> None:
        super().__init__(store.user("ada"), thinking=EAGER)
        self.found, self.go_on = asyncio.Event(), asyncio.Event()

    async def recall(self, said: str) -> Recalled:
        recalled = await super().recall(said)
        self.found.set()
        await self.go_on.wait()
        return Recalled(recalled.told, more=lambda: self.judged(recalled))

    async def judged(self, recalled: Recalled) -> Recalled:
        return recalled


@pytest.mark.parametrize("deleted", ["while searching", "before the LLM judges"])
async def test_what_is_deleted_as_it_comes_to_mind_is_not_told(engine, store, deleted):
    ada = store.user("ada")
    late = Late(store)
    held = await begun(engine, Remembering(late, recall_seconds=60))
    ada.remember("I like chess.")  # meanwhile, by another device
    conversation, generation = held.conversation, held.conversation.generation
    conversation.user_text(UserText("do I like chess", False, generation, 0.0))
    await late.found.wait()
    if deleted == "before the LLM judges":
        late.go_on.set()
        await held.until(MemoryInjected, lambda event: event.injected)
    ada.forget_matching("chess")
    held.attendant.forgotten()
    told = len(held.of(MemoryInjected))
    late.go_on.set()
    conversation.user_text(UserText("do I like chess", True, generation, 1.0))
    await held.until(MemoryStored)
    await held.listen(3)
    injected = [fact for event in held.of(MemoryInjected)[told:] for fact in event.injected]
    assert injected == []
    assert "The user likes chess" not in conversation.notes["memory"]
    await held.manager.shutdown()


@pytest.mark.parametrize(
    ("later", "told"),
    [
        ("I moved to Berlin.", {"The user likes tea."}),
        (
            "I live in Lyon.",
            {
                'The user once said: "I live in Lyon and I like tea. The copper kettle whistled '
                'all night."'
            },
        ),
    ],
)
async def test_of_a_turn_that_comes_to_mind_only_what_holds_is_told(store, later, told):
    """Whether the search finds its facts or not: many other turns are nearer to the words.

    Where all of it holds, it is quoted, for no fact says anything of the kettle.
    """

    def talk() -> None:
        ada = store.user("ada")
        turn = "I live in Lyon and I like tea.  The copper kettle whistled all night."
        ada.remember(turn, conversation_id="one", at=datetime(2026, 1, 1, tzinfo=UTC))
        ada.remember(later, conversation_id="two", at=datetime(2026, 1, 2, tzinfo=UTC))
        for shop in range(30):
            ada.remember(
                f"Kettle {shop} stood all night in shop {shop}.", conversation_id=f"{shop}"
            )

    await asyncio.to_thread(talk)
    recalled = await remembered(store).recall("which copper kettle whistled all night")
    assert set(recalled.told) == told


async def test_background_transcription_stores_and_tells_nothing(engine, store):
    held = await begun(engine, Remembering(remembered(store), inject=False))
    held.conversation.type_text("I live in Paris.")
    await held.until(MemoryStored)
    await held.listen(5)
    assert held.of(MemoryInjected) == []
    assert held.conversation.slot.prompt.text == ""
    await held.manager.shutdown()
    assert store.user("ada").search("Paris")


async def test_a_newer_fact_takes_the_older_out_of_the_prompt(engine, store):
    store.user("ada").remember("I live in Paris.", at=datetime(2026, 1, 1, tzinfo=UTC))
    held = await begun(engine, Remembering(remembered(store)))
    assert held.conversation.slot.prompt.text == "the user lives in paris"
    await held.listen(60)  # the cooldown of the start
    held.conversation.type_text("I moved to Berlin.")
    await held.until(MemoryInjected, lambda event: "Berlin" in " ".join(event.injected))
    assert held.conversation.slot.prompt.text == "the user lives in berlin"
    await held.manager.shutdown()


async def test_the_manner_the_user_asks_for_is_in_the_prompt_and_outlives_the_talk(
    engine, store, tmp_path
):
    bo = parse_character("name: Bo\ntraits: {verbosity: 0.5}\ngreeting: Hi.", Path("bo.yaml"))
    states = PersonalityStates(tmp_path / "personality", now=lambda: NOW)
    said: list[str] = []
    held = await begun(
        engine,
        Remembering(
            None, Personality(bo, "ada", states), say=lambda text, generation: said.append(text)
        ),
    )
    assert said == ["Hi."]
    assert "You are Bo" in held.conversation.notes["personality"]
    assert held.conversation.slot.prompt.text == "your name is bo"
    held.conversation.type_text("shorter, please")
    event = await held.until(PersonalityAdapted)
    assert (event.trait, event.before, event.because) == ("verbosity", 0.5, "shorter, please")
    await held.listen(60)
    assert held.conversation.slot.prompt.text == "your name is bo. be brief"
    assert "be brief" in held.conversation.notes["personality"]
    await held.manager.shutdown()
    assert Personality(bo, "ada", states).traits["verbosity"] == 0.3


async def test_a_memory_that_breaks_is_reported_once_and_the_talk_goes_on(engine, store):
    store.user("ada").remember("I like chess.")
    memory = remembered(store)
    store.close()
    held = await begun(engine, Remembering(memory))
    for _ in range(3):
        held.conversation.type_text("do I like chess")
        await held.listen(3)
    (failed,) = held.of(ConversationFailed)
    assert failed.code == "memory_closed"
    pcm = spoken("hello", 10)
    frames = len(pcm)

    async def speech():
        for frame in pcm:
            yield (frame * 32767).astype("<i2").tobytes()

    out = [
        c async for c in held.manager.process_voice_stream(held.id, speech(), finish_answer=False)
    ]
    assert len(out) == frames + 1
    await held.manager.shutdown()


class CodaManager:
    """Coda's memory manager as its interface is described; its methods are coroutines."""

    def __init__(self) -> None:
        self.turns: list[tuple[str, str]] = []
        self.asked: list[tuple[str, int]] = []

    def add_turn(self, role, content):
        self.turns.append((role, content))

    async def search_memories(self, query, limit=5, min_relevance=0.0):
        self.asked.append((query, limit))
        return [
            {"memory": {"content": "The user likes chess."}, "relevance_score": 0.9},
            {"memory": {"content": "The user once flew to Rome."}, "relevance_score": 0.1},
        ]

    def get_context(self, max_tokens=800):
        return []


class PlainCodaManager(CodaManager):
    def search_memories(self, query, limit=5, min_relevance=0.0):
        self.asked.append((query, limit))
        return [{"memory": {"content": "The user likes chess."}, "relevance_score": 0.9}]


class SlowCodaManager(CodaManager):
    """The user's turns take it so long that the agent's come meanwhile."""

    def __init__(self) -> None:
        super().__init__()
        self.answered = asyncio.Event()

    async def add_turn(self, role, content):
        if role == "user":
            await self.answered.wait()
        self.turns.append((role, content))


class CodaCharacter:
    """Coda's personality manager, as far as a conversation goes."""

    def __init__(self) -> None:
        self.heard: list[tuple[str, str]] = []

    def get_personality_state(self):
        return {"parameters": {}}

    async def enhance_prompt(self, prompt, context=""):
        return prompt

    async def process_user_input(self, text):
        self.heard.append(("user", text))

    def process_assistant_response(self, text):
        self.heard.append(("assistant", text))


class BrokenCodaManager(CodaManager):
    async def search_memories(self, query, limit=5, min_relevance=0.0):
        raise KeyError("no such index")


@pytest.mark.parametrize("manager", [CodaManager(), PlainCodaManager()], ids=["async", "plain"])
async def test_codas_memory_manager_is_asked_told_and_injected(engine, manager):
    held = await begun(engine, Remembering(CodaShapedMemory(manager), recall_seconds=30))
    held.conversation.type_text("do I like chess")
    event = await held.until(MemoryInjected, lambda event: event.said)
    assert event.injected == ("The user likes chess.",) and event.channel == "frame_sum"
    assert manager.asked == [("do I like chess", 15)]
    await held.until(MemoryStored)
    assert manager.turns == [("user", "do I like chess")]
    note = held.conversation.notes["memory"]
    assert "never instructions" in " ".join(note.split()) and "'The user likes chess.'" in note
    await held.manager.shutdown()


async def test_codas_managers_are_told_both_sides_in_their_order(engine):
    memory, character = SlowCodaManager(), CodaCharacter()
    held = await begun(
        engine, Remembering(CodaShapedMemory(memory), CodaShapedPersonality(character))
    )
    held.conversation.type_text("hello there")

    async def said():
        for frame in spoken("what_is_your_name", 60):
            yield (np.clip(frame, -1, 1) * 32767).astype("<i2").tobytes()

    async for _ in held.manager.process_voice_stream(held.id, said()):
        pass
    words = [word.text for word in held.of(WordSpoken) if word.speaker == "agent"]
    assert words, "coda-tiny answered"
    memory.answered.set()
    await held.manager.shutdown()
    turns = memory.turns
    assert turns[0] == ("user", "hello there") and turns[1][0] == "assistant"
    by_agent = [text for role, text in turns if role == "assistant"]
    assert " ".join(by_agent).split() == " ".join(words).split()
    assert character.heard == turns


async def test_a_manager_that_raises_anything_is_switched_off_for_this_talk(engine):
    held = await begun(
        engine, Remembering(CodaShapedMemory(BrokenCodaManager()), recall_seconds=30)
    )
    held.conversation.type_text("do I like chess")
    failed = await held.until(ConversationFailed)
    assert failed.code == "memory_failed" and "no such index" in failed.message
    assert held.attendant.memory is None
    held.conversation.type_text("and tea")
    await held.listen(3)
    assert len(held.of(ConversationFailed)) == 1
    await held.manager.shutdown()


class Grumpy(Personality):
    """Fails when it is told something."""

    def __init__(self, error: Exception) -> None:
        super().__init__(load_character("coda"), "ada")
        self.error = error

    async def hear(self, text):
        raise self.error


@pytest.mark.parametrize(
    ("error", "code", "stays"),
    [
        (KeyError("no such mood"), "personality_failed", False),
        (MemoryStoreError("The disk is full.", "memory_disk_full"), "memory_disk_full", True),
    ],
    ids=["unknown", "known"],
)
async def test_a_personality_that_breaks_costs_no_memory(engine, store, error, code, stays):
    held = await begun(engine, Remembering(remembered(store), Grumpy(error)))
    for text in ("I like chess.", "I live in Paris."):
        held.conversation.type_text(text)
        await held.until(MemoryStored, lambda event, text=text: event.text == text)
    assert [failed.code for failed in held.of(ConversationFailed)] == [code]
    assert (held.attendant.personality is not None) == stays
    await held.manager.shutdown()
    turns = {memory.text for memory in store.user("ada").list(kinds=["turn"])}
    assert turns == {"I like chess.", "I live in Paris."}


async def test_a_memory_that_breaks_costs_no_personality(engine):
    coda = Personality(load_character("coda"), "ada")
    broken = CodaShapedMemory(BrokenCodaManager())
    held = await begun(engine, Remembering(broken, coda, recall_seconds=30))
    held.conversation.type_text("do I like chess")
    failed = await held.until(ConversationFailed)
    assert failed.code == "memory_failed" and held.attendant.memory is None
    held.conversation.type_text("shorter, please")
    assert (await held.until(PersonalityAdapted)).trait == "verbosity"
    await held.manager.shutdown()


async def test_a_personality_that_another_process_holds_keeps_nobody_waiting(
    engine, store, tmp_path, monkeypatch
):
    monkeypatch.setattr(state_files, "LOCK_TIMEOUT", 120.0)
    folder = tmp_path / "personality"
    coda = Personality(load_character("coda"), "ada", PersonalityStates(folder))
    held = await begun(engine, Remembering(remembered(store), coda))
    folder.mkdir(exist_ok=True)
    with FileLock(folder / f"{Owner.of('ada').key}.lock"):
        held.conversation.type_text("shorter, please")
        await held.until(MemoryStored)
        await held.listen(5)
        assert held.of(PersonalityAdapted) == []
    await held.until(PersonalityAdapted)
    assert held.of(ConversationFailed) == []
    await held.manager.shutdown()


class Thoughtful(Personality):
    """Takes its time to understand what it is told."""

    def __init__(self) -> None:
        super().__init__(load_character("coda"), "ada")
        self.go_on = asyncio.Event()

    async def hear(self, text):
        await self.go_on.wait()
        return await super().hear(text)


async def test_who_has_been_replaced_does_not_come_back_for_a_word_said_to_it(engine):
    coda = Thoughtful()
    held = await begun(engine, Remembering(None, coda))
    held.conversation.type_text("shorter, please")
    bo = Personality(parse_character("name: Bo", Path("bo.yaml")), "ada")
    await held.attendant.become(bo)
    coda.go_on.set()
    await held.until(PersonalityAdapted)
    await held.listen(2)
    assert held.attendant.personality is bo
    assert "Bo" in held.conversation.notes["personality"]
    await held.manager.shutdown()


async def test_a_character_greets_aloud(engine):
    bo = parse_character("name: Bo\ngreeting: hello there", Path("bo.yaml"))
    held = await begun(engine, Remembering(None, Personality(bo, "ada")))
    ended = await held.until(ScriptEnded)
    assert (ended.origin, ended.heard) == ("greeting", "hello there")
    await held.manager.shutdown()


class Deliberate(Personality):
    """Takes its time to say who it is."""

    def __init__(self) -> None:
        al = parse_character("name: Al\ngreeting: I am Al.", Path("al.yaml"))
        super().__init__(al, "ada")
        self.asked, self.go_on = asyncio.Event(), asyncio.Event()

    async def enhance_prompt(self, prompt, context=""):
        self.asked.set()
        await self.go_on.wait()
        return await super().enhance_prompt(prompt, context)


@pytest.mark.parametrize("at_the_start", [True, False])
async def test_of_two_who_are_taken_on_at_once_the_later_one_is_there(engine, at_the_start: bool):
    al = Deliberate()
    bo = Personality(parse_character("name: Bo", Path("bo.yaml")), "ada")
    said: list[str] = []
    attendant = Remembering(
        None, al if at_the_start else None, say=lambda text, generation: said.append(text)
    )
    async with VoiceManager(engine=engine, attendants=[lambda _: attendant]) as manager:
        starting = asyncio.create_task(manager.start_conversation("ada", "monday"))
        if not at_the_start:
            await starting
            former = asyncio.create_task(attendant.become(al))
        await al.asked.wait()
        await attendant.become(bo)
        al.go_on.set()
        await (starting if at_the_start else former)
        held = Held(manager, attendant, "monday")
        await held.listen(60)  # the prompt is exchanged once in four seconds at most
        assert attendant.personality is bo and said == []
        assert "You are Bo" in held.conversation.notes["personality"]
        assert held.conversation.slot.prompt.text == "your name is bo"


class Forgetful(Deliberate):
    """Takes its time to say who it is, or to listen, and then fails at it."""

    def __init__(self, fails_to: str) -> None:
        super().__init__()
        self.fails_to = fails_to

    async def enhance_prompt(self, prompt, context=""):
        if self.fails_to == "say who it is":
            await self.fail()
        return prompt

    async def hear(self, text):
        await self.fail()

    async def fail(self):
        self.asked.set()
        await self.go_on.wait()
        raise KeyError("what was it")


@pytest.mark.parametrize("fails_to", ["say who it is", "listen"])
async def test_the_failure_of_one_who_was_replaced_is_not_that_of_its_successor(engine, fails_to):
    al = Forgetful(fails_to)
    bo = Personality(parse_character("name: Bo", Path("bo.yaml")), "ada")
    attendant, happened = Remembering(None, al, greets=False), list[Event]()
    async with VoiceManager(engine=engine, attendants=[lambda _: attendant]) as manager:
        manager.events.listen(happened.append)
        starting = asyncio.create_task(manager.start_conversation("ada", "monday"))
        if fails_to == "listen":
            await starting
            manager.conversation("monday").type_text("shorter, please")
        await al.asked.wait()
        await attendant.become(bo)
        al.go_on.set()
        await starting
        await Held(manager, attendant, "monday").listen(3)
        assert attendant.personality is bo
        assert not any(isinstance(event, ConversationFailed) for event in happened)


async def test_who_comes_after_one_that_failed_is_reported_as_well(engine):
    held = await begun(engine, Remembering(None, Grumpy(KeyError("no such mood"))))
    held.conversation.type_text("hello")
    await held.until(ConversationFailed)
    await held.attendant.become(Grumpy(KeyError("no mood at all")))
    held.conversation.type_text("hello")
    second = await held.until(ConversationFailed, lambda event: "at all" in event.message)
    assert second.code == "personality_failed"
    await held.manager.shutdown()
