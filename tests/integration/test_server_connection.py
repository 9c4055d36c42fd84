"""A session and its sockets, one after the other: whatever is to be told is told to one of them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any, cast

import pytest
from coda_memory.personality import list_characters
from starlette.websockets import WebSocket, WebSocketDisconnect, WebSocketState

from coda_voice.config.server import ServerConfig
from coda_voice.errors import ConversationError
from coda_voice.events import ConversationStarted, Transcript
from coda_voice.manager import VoiceManager
from coda_voice.moshi.engine import Engine
from coda_voice.moshi.frames import FRAME_SAMPLES
from coda_voice.remembering import Remembering
from coda_voice.server import front as front_module
from coda_voice.server.access import USUAL_SCOPES, Access, Caller
from coda_voice.server.codecs.stream import StreamCodec
from coda_voice.server.commands import ChoosePersonality
from coda_voice.server.front import Front
from coda_voice.server.session import Session, Wish
from coda_voice.server.socket import Connection
from tests.integration.voice_server import until

ADA = Caller("ada", USUAL_SCOPES)


class Wire:
    """Stands for a WebSocket that can be held up and can break."""

    application_state = WebSocketState.CONNECTED

    def __init__(self) -> None:
        self.incoming: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self.told: list[dict[str, Any]] = []
        self.code: int | None = None
        self.sounds = 0
        self.broken = False
        self.flows = asyncio.Event()
        self.flows.set()

    async def receive(self) -> dict[str, Any]:
        return await self.incoming.get()

    async def send_text(self, text: str) -> None:
        await self.flows.wait()
        if self.broken:
            self.incoming.put_nowait({"type": "websocket.disconnect", "code": 1006})
            raise WebSocketDisconnect(1006)
        self.told.append(json.loads(text))

    async def send_bytes(self, data: bytes) -> None:
        await self.flows.wait()
        self.sounds += 1

    async def close(self, code: int) -> None:
        self.code = code

    async def until(self, status: str) -> None:
        await until(lambda: status in [told.get("status") for told in self.told])


@asynccontextmanager
async def front_of(engine: Engine) -> AsyncIterator[Front]:
    settings = ServerConfig()
    async with VoiceManager(engine=engine) as manager:
        front = Front(manager, settings, Access(settings))
        front.log.start()
        undo = [manager.events.listen(front.own), manager.events.listen(front.log.append)]
        watch = asyncio.create_task(front.sessions.watch())
        yield front
        watch.cancel()
        await front.sessions.close()
        for leave in undo:
            leave()


def connect(
    front: Front, session: Session, wire: Wire, *, resumed: bool, after: int | None = None
) -> asyncio.Task[None]:
    websocket = cast(WebSocket, wire)
    connection = Connection(websocket, session, StreamCodec(), front, resumable=True)
    return asyncio.create_task(connection.run(resumed=resumed, after=after))


async def test_what_could_not_be_sent_is_told_to_who_comes_back(engine: Engine):
    async with front_of(engine) as front:
        session = await front.sessions.open(ADA, Wish())
        first, second = Wire(), Wire()
        running = connect(front, session, first, resumed=False)
        await first.until("ready")
        first.broken = True
        session.mute(True)
        await running
        assert session.ended is None and session.detached_since is not None
        running = connect(front, session, second, resumed=True)
        await second.until("mute")
        assert [told["status"] for told in second.told] == ["ready", "mute"]
        second.incoming.put_nowait({"type": "websocket.disconnect", "code": 1000})
        await running


async def test_who_goes_before_he_is_told_how_to_come_back_leaves_no_conversation(engine: Engine):
    async with front_of(engine) as front:
        session = await front.sessions.open(ADA, Wish())
        wire = Wire()
        wire.broken = True
        await connect(front, session, wire, resumed=False)
        assert session.ended == "connection_lost"
        assert not front.sessions.all() and not front.manager.get_active_conversations()


async def test_words_lost_in_a_dead_socket_are_told_again_to_who_says_where_they_were(
    engine: Engine,
):
    async with front_of(engine) as front:
        session = await front.sessions.open(ADA, Wish())
        wires = [Wire() for _ in range(4)]

        async def said(number: int, wire: Wire) -> list[str]:
            for word in range(number):
                text = f"{wires.index(wire)}.{word}"
                event = Transcript(conversation_id=session.conversation.id, text=text, final=True)
                front.manager.events.publish(event)
            await until(lambda: [t for t in wire.told if t["type"] == "transcript"][-1:] != [])
            await asyncio.sleep(0.05)
            return [told["text"] for told in wire.told if told["type"] == "transcript"]

        async def lose(wire: Wire, running: asyncio.Task[None]) -> None:
            wire.incoming.put_nowait({"type": "websocket.disconnect", "code": 1006})
            await running

        running = connect(front, session, wires[0], resumed=False)
        await wires[0].until("ready")
        assert await said(3, wires[0]) == ["0.0", "0.1", "0.2"]
        first = next(told for told in wires[0].told if told.get("text") == "0.0")
        await lose(wires[0], running)

        running = connect(front, session, wires[1], resumed=True, after=first["event_id"])
        assert await said(1, wires[1]) == ["0.1", "0.2", "1.0"]
        assert wires[1].told[0]["missed"] is False
        await lose(wires[1], running)

        running = connect(front, session, wires[2], resumed=True)  # one that does not say
        assert await said(1, wires[2]) == ["2.0"]
        await lose(wires[2], running)

        for word in range(400):
            event = Transcript(conversation_id=session.conversation.id, text=f"{word}", final=True)
            front.manager.events.publish(event)
        running = connect(front, session, wires[3], resumed=True, after=first["event_id"])
        await until(lambda: wires[3].told[-1:] != [] and wires[3].told[-1].get("text") == "399")
        assert wires[3].told[0]["missed"] is True
        assert len(wires[3].told) <= 300
        wires[3].incoming.put_nowait({"type": "websocket.disconnect", "code": 1000})
        await running


async def test_who_comes_back_knows_which_sound_is_the_answer_to_what_he_sends(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
):
    async with front_of(engine) as front:
        session = await front.sessions.open(ADA, Wish())
        frame = {"type": "websocket.receive", "bytes": bytes(2 * FRAME_SAMPLES)}
        first, second = Wire(), Wire()
        running = connect(front, session, first, resumed=False)
        await first.until("ready")
        assert first.told[0]["under_way"] == 0
        with monkeypatch.context() as busy:
            busy.setattr(session.hearing, "feed", lambda: None)  # no time for it yet
            for _ in range(4):
                first.incoming.put_nowait(frame)
            first.incoming.put_nowait({"type": "websocket.disconnect", "code": 1006})
            await running
            running = connect(front, session, second, resumed=True)
            await second.until("ready")
        assert second.told[0]["under_way"] == 4
        for _ in range(3):
            second.incoming.put_nowait(frame)
        await until(lambda: second.sounds == 4 + 3)
        second.incoming.put_nowait({"type": "websocket.disconnect", "code": 1000})
        await running


@pytest.mark.parametrize("held_up", [True, False])
async def test_what_happens_while_another_takes_over_is_told_to_the_other(
    engine: Engine, held_up: bool
):
    async with front_of(engine) as front:
        session = await front.sessions.open(ADA, Wish())
        first, second = Wire(), Wire()
        former = connect(front, session, first, resumed=False)
        await first.until("ready")
        if held_up:  # its network takes nothing any more
            first.flows.clear()
            session.mute(True)
            await asyncio.sleep(0)
        running = connect(front, session, second, resumed=True)
        await asyncio.sleep(0)
        if not held_up:
            session.mute(True)
        await former
        first.flows.set()
        assert first.code == 4409
        await second.until("mute")
        second.incoming.put_nowait({"type": "websocket.disconnect", "code": 1000})
        await running


async def test_a_fault_of_ours_ends_one_conversation_and_its_slot_is_free(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
):
    async with front_of(engine) as front:
        session = await front.sessions.open(ADA, Wish())
        other = await front.sessions.open(ADA, Wish())
        wire = Wire()
        running = connect(front, session, wire, resumed=False)
        await wire.until("ready")

        def fault(_: object) -> None:
            raise ZeroDivisionError

        monkeypatch.setattr(session, "_say", fault)
        await session.hear(bytes(2 * FRAME_SAMPLES))
        await running
        assert wire.told[-1]["reason"] == "failed" and wire.code == 1011
        await until(lambda: session not in front.sessions.all())
        assert front.manager.get_active_conversations() == [other.conversation.id]
        assert session._task is not None
        with suppress(ZeroDivisionError):
            session._task.result()


async def test_two_who_choose_at_once_make_one_personality(engine: Engine):
    async with front_of(engine) as front:
        session = await front.sessions.open(ADA, Wish())
        wanted = [ChoosePersonality(name) for name in sorted(list_characters())[:2]]
        await asyncio.gather(*(front.control.do(session, command) for command in wanted))
        played = [a for a in session.conversation.attendants if isinstance(a, Remembering)]
        assert len(played) == 1
        assert str(session.ready().personality).lower() == wanted[-1].name


async def test_whose_a_conversation_is_stays_known_however_many_others_begin(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(front_module, "OWNERS_REMEMBERED", 4)
    async with front_of(engine) as front:
        session = await front.sessions.open(ADA, Wish())
        for number in range(10):
            front.own(
                ConversationStarted(
                    conversation_id=str(number), user_id="eve", mode="moshi_only", checkpoint="x"
                )
            )
        assert front.owners[session.conversation.id] == "ada"
        assert len(front.owners) == 4 and "9" in front.owners


@pytest.mark.parametrize("sooner", [True, False])
async def test_who_comes_back_in_the_very_last_moment_has_the_conversation_or_is_told_it_is_gone(
    engine: Engine, monkeypatch: pytest.MonkeyPatch, sooner: bool
):
    async with front_of(engine) as front:
        sessions = front.sessions
        session = await sessions.open(ADA, Wish())
        first, second = Wire(), Wire()
        running = connect(front, session, first, resumed=False)
        await first.until("ready")
        first.incoming.put_nowait({"type": "websocket.disconnect", "code": 1006})
        await running
        back: list[asyncio.Task[None]] = []
        refused: list[str] = []

        async def resume() -> None:
            try:
                resumed = sessions.resume(ADA, session.token)
            except ConversationError as error:
                refused.append(error.error_code)
                return
            websocket = cast(WebSocket, second)
            connection = Connection(websocket, resumed, StreamCodec(), front, resumable=True)
            await connection.run(resumed=True)

        def come_back() -> None:
            back.append(asyncio.create_task(resume()))

        looks = sessions._over

        def looked(at: Session) -> object:
            """Have the client come back right before, or right after what is done about it."""
            over = looks(at)
            if over is not None and not back:
                if sooner:
                    come_back()
                else:
                    asyncio.get_running_loop().call_soon(come_back)
            return over

        monkeypatch.setattr(sessions, "_over", looked)
        front.change_limits({"resume_seconds": 1e-6})
        await until(lambda: bool(refused or second.told))
        if refused:
            assert not sooner and refused == ["resume_unknown"]
            return
        session.mute(True)
        await second.until("mute")
        assert "ended" not in [told.get("status") for told in second.told]
        assert session.ended is None and second.code is None
        second.incoming.put_nowait({"type": "websocket.disconnect", "code": 1000})
        await back[0]
