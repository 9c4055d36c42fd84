"""Attendants are told what happens in a conversation, may act, and cannot end it."""

from __future__ import annotations

import asyncio

from coda_voice import VoiceManager
from coda_voice.attendants import Attendant, UserText
from coda_voice.events import AttendantFailed, Event
from coda_voice.heard import Heard
from coda_voice.moshi.engine import Engine
from tests.conftest import Spoken

SEEDED = {"moshi": {"device": "cpu", "seed": 5}}


class Notebook(Attendant):
    """Writes down everything it is told."""

    name = "notebook"

    def __init__(self) -> None:
        self.voiced: list[bool] = []
        self.frames: list[int] = []
        self.turns: list[int] = []
        self.user: list[UserText] = []
        self.agent: list[str] = []
        self.ends: list[str] = []

    def offered(self, voiced: bool) -> None:
        self.voiced.append(voiced)

    def heard(self, heard: Heard) -> None:
        self.frames.append(heard.frame.frame)

    def turn_began(self, generation: int) -> None:
        self.turns.append(generation)

    def user_text(self, said: UserText) -> None:
        self.user.append(said)

    def agent_said(self, text: str, generation: int) -> None:
        self.agent.append(text)

    def closed(self) -> None:
        self.ends.append("closed")

    async def aclose(self) -> None:
        self.ends.append("aclosed")


class Clumsy(Attendant):
    """Fails in its third frame."""

    name = "clumsy"
    frames = 0

    def heard(self, heard: Heard) -> None:
        self.frames += 1
        if self.frames == 3:
            raise KeyError("its notes")


class Hush(Attendant):
    """Mutes the agent from the beginning."""

    name = "hush"

    def begin(self, conversation) -> None:  # type: ignore[no-untyped-def]
        super().begin(conversation)
        conversation.slot.mute(True)


class Endless(Notebook):
    """Never gets ready."""

    def __init__(self) -> None:
        super().__init__()
        self.asked = asyncio.Event()

    async def ready(self) -> None:
        self.asked.set()
        await asyncio.Event().wait()


async def test_an_attendant_is_told_every_frame_turn_and_word(engine: Engine, spoken: Spoken):
    book = Notebook()
    async with VoiceManager(SEEDED, engine=engine, attendants=[lambda _: book]) as manager:
        talk = await manager.start_conversation()
        response = await manager.process_voice_input(talk, spoken.bytes("hello"))
        manager.conversation(talk).type_text("good night")
        await manager.end_conversation(talk)
    assert book.frames == list(range(len(book.frames)))
    assert len(book.voiced) == len(book.frames)
    # The recording is speech in the middle; what the user does not say is not voiced.
    assert 3 < sum(book.voiced) < len(book.voiced) / 2 and not any(book.voiced[-10:])
    assert book.turns == [1, 2]
    assert [(said.text, said.final, said.typed) for said in book.user] == [
        ("good night", True, True)
    ]
    assert response.text_content.split()[0] in " ".join(book.agent).split()
    assert book.ends == ["closed", "aclosed"]


async def test_one_that_fails_is_reported_once_and_switched_off(engine: Engine, spoken: Spoken):
    clumsy, book = Clumsy(), Notebook()
    factories = [lambda _: clumsy, lambda _: None, lambda _: book]
    async with VoiceManager(SEEDED, engine=engine, attendants=factories) as manager:
        events: list[Event] = []
        manager.events.listen(events.append)
        talk = await manager.start_conversation()
        response = await manager.process_voice_input(talk, spoken.bytes("hello"))
        await manager.end_conversation(talk)
    failures = [event for event in events if isinstance(event, AttendantFailed)]
    assert [(f.attendant, f.message) for f in failures] == [("clumsy", "KeyError: 'its notes'")]
    assert clumsy.frames == 3
    assert response.audio_data and len(book.frames) > 20


async def test_an_attendant_may_act_on_the_slot(engine: Engine, spoken: Spoken):
    async with VoiceManager(SEEDED, engine=engine, attendants=[lambda _: Hush()]) as manager:
        talk = await manager.start_conversation()
        response = await manager.process_voice_input(talk, spoken.bytes("hello"))
        state = manager.get_conversation_state(talk)
    assert state is not None and state.message_count == 0
    # What was not heard was not said, whatever the model thought.
    assert response.text_content == "" and response.duration_ms == 0


async def test_a_start_that_is_broken_off_gives_its_slot_back(engine: Engine):
    leased = engine.stats().leased
    endless = Endless()
    async with VoiceManager(SEEDED, engine=engine, attendants=[lambda _: endless]) as manager:
        starting = asyncio.create_task(manager.start_conversation())
        await endless.asked.wait()
        assert engine.stats().leased == leased + 1
        starting.cancel()
        await asyncio.wait([starting])
        assert starting.cancelled()
        assert engine.stats().leased == leased and not manager.get_active_conversations()
    assert endless.ends == ["closed", "aclosed"]
