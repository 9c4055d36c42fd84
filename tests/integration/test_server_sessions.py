"""Sessions while they are being opened: whose share they count in, who leaves, what is told."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from coda_voice.attendants import Attendant
from coda_voice.config.server import ServerConfig
from coda_voice.errors import AccessError, SlotsFullError
from coda_voice.events import MemoryInjected, SettingWithoutEffect
from coda_voice.manager import VoiceManager
from coda_voice.moshi.engine import Engine
from coda_voice.server import sessions as sessions_module
from coda_voice.server.access import USUAL_SCOPES, Caller
from coda_voice.server.outputs import Happened
from coda_voice.server.recording import Recorder
from coda_voice.server.session import Wish
from coda_voice.server.sessions import Sessions

ADA = Caller("ada", USUAL_SCOPES, conversations=1)


class Recalls(Attendant):
    """Takes its time to recall what it knows of the user, and tells of it."""

    name = "recalls"

    def __init__(self) -> None:
        self.asked = asyncio.Event()
        self.recalled = asyncio.Event()

    async def ready(self) -> None:
        self.asked.set()
        await self.recalled.wait()
        self.conversation.publish(
            MemoryInjected(
                conversation_id=self.conversation.id, injected=("Ada swims.",), channel="prompt"
            )
        )


@asynccontextmanager
async def opening(engine: Engine, recalls: Recalls, folder: Path) -> AsyncIterator[Sessions]:
    """Sessions of a manager in which ``recalls`` attends to the first conversation."""
    first = [recalls]
    factory = lambda _: first.pop() if first else None  # noqa: E731
    async with VoiceManager(engine=engine, attendants=[factory]) as manager:
        sessions = Sessions(manager, ServerConfig(recordings=str(folder)))
        manager.events.listen(sessions.happened)
        yield sessions
        await sessions.close()


def recorded(folder: Path) -> list[str]:
    """Give the types of the events in the only recording there."""
    (events,) = folder.glob("*/events.jsonl")
    return [json.loads(line)["type"] for line in events.read_text().splitlines()]


async def test_conversations_being_opened_count_in_their_callers_share(
    engine: Engine, tmp_path: Path
):
    recalls = Recalls()
    async with opening(engine, recalls, tmp_path) as sessions:
        first = asyncio.create_task(sessions.open(ADA, Wish()))
        await recalls.asked.wait()
        with pytest.raises(AccessError) as refused:
            await sessions.open(ADA, Wish())
        assert refused.value.error_code == "too_many_conversations"
        await sessions.open(replace(ADA, subject="bert"), Wish())  # it is nobody else's share
        recalls.recalled.set()
        await sessions.end(await first, "ended")
        await sessions.open(ADA, Wish())


async def test_who_leaves_while_it_is_opened_holds_nothing(engine: Engine, tmp_path: Path):
    recalls = Recalls()
    async with opening(engine, recalls, tmp_path) as sessions:
        first = asyncio.create_task(sessions.open(ADA, Wish()))
        await recalls.asked.wait()
        first.cancel()
        await asyncio.wait([first])
        assert not len(sessions) and not sessions.manager.get_active_conversations()
        await sessions.open(ADA, Wish())


async def test_who_is_given_a_slot_gets_it_though_the_wait_ends_meanwhile(engine: Engine):
    recalls = Recalls()
    factory = lambda talk: recalls if talk.user_id == "ada" else None  # noqa: E731
    settings = ServerConfig(wait_seconds=1.0)
    async with VoiceManager(engine=engine, attendants=[factory]) as manager:
        sessions = Sessions(manager, settings)
        others = Caller("bert", USUAL_SCOPES)
        held = [await sessions.open(others, Wish()) for _ in range(engine.stats().slots)]
        waiting = asyncio.create_task(sessions.open(ADA, Wish(wait=True)))
        while not sessions.waiting:  # noqa: ASYNC110 - nothing tells of it
            await asyncio.sleep(0)
        await sessions.end(held[0], "ended")
        await recalls.asked.wait()
        await asyncio.sleep(settings.wait_seconds)
        recalls.recalled.set()
        assert (await waiting).ended is None and not sessions.refused
        with pytest.raises(SlotsFullError):  # nobody leaves for these
            await sessions.open(others, Wish(wait=True))
        await sessions.close()


async def test_what_happens_before_there_is_a_session_is_recorded_once_and_in_order(
    engine: Engine, tmp_path: Path
):
    recalls = Recalls()
    recalls.recalled.set()
    async with opening(engine, recalls, tmp_path) as sessions:
        session = await sessions.open(ADA, Wish(record="by a test"))
        await sessions.end(session, "ended")
    assert recorded(tmp_path) == ["conversation_started", "memory", "conversation_ended"]


async def test_a_client_that_goes_while_its_recording_is_begun_leaves_none(
    engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    begun, go_on, made = threading.Event(), threading.Event(), threading.Event()

    class OnASlowDisk(Recorder):
        def __init__(self, recordings: Path, conversation_id: str, **about: str) -> None:
            begun.set()
            assert go_on.wait(60)
            super().__init__(recordings, conversation_id, **about)
            made.set()

    monkeypatch.setattr("coda_voice.server.sessions.Recorder", OnASlowDisk)
    recalls = Recalls()
    recalls.recalled.set()
    async with opening(engine, recalls, tmp_path) as sessions:
        leaving = asyncio.create_task(sessions.open(ADA, Wish(record="by a test")))
        await asyncio.to_thread(begun.wait, 60)
        leaving.cancel()
        go_on.set()
        with pytest.raises(asyncio.CancelledError):
            await leaving
        assert not sessions.all()
        await asyncio.to_thread(made.wait, 60)
        await asyncio.to_thread(wait_until_nothing_is_left, tmp_path)


def wait_until_nothing_is_left(folder: Path) -> None:
    for _ in range(1_000):
        threads = [thread.name for thread in threading.enumerate()]
        if "coda-recording" not in threads and not list(folder.iterdir()):
            return
        time.sleep(0.01)
    raise AssertionError(f"left over: {list(folder.iterdir())}, {threads}")


async def test_conversations_end_side_by_side_when_the_server_stops(engine: Engine):
    closing = 0
    together = asyncio.Event()

    class Stores(Attendant):
        """Has something to store at the end, and takes its time: until the other has begun to."""

        name = "stores"

        async def aclose(self) -> None:
            nonlocal closing
            closing += 1
            if closing == 2:
                together.set()
            await together.wait()

    async with VoiceManager(engine=engine, attendants=[lambda _: Stores()]) as manager:
        sessions = Sessions(manager, ServerConfig())
        opened = [await sessions.open(replace(ADA, conversations=2), Wish()) for _ in range(2)]
        await sessions.drain(0.0)
        assert together.is_set() and not sessions.all()
        assert [session.ended for session in opened] == ["server_restart"] * 2
        await sessions.close()


async def test_what_does_not_let_go_of_a_conversation_holds_neither_others_nor_the_server(
    engine: Engine, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    monkeypatch.setattr(sessions_module, "END_SECONDS", 0.5)
    let_go = asyncio.Event()

    class Clings(Attendant):
        name = "clings"

        async def aclose(self) -> None:
            await let_go.wait()

    factory = lambda talk: Clings() if talk.user_id == "ada" else None  # noqa: E731
    async with VoiceManager(engine=engine, attendants=[factory]) as manager:
        sessions = Sessions(manager, ServerConfig())
        held = await sessions.open(ADA, Wish())
        other = await sessions.open(replace(ADA, subject="bert"), Wish())
        ending = asyncio.create_task(sessions.end(held, "ended"))
        await asyncio.sleep(0)
        await sessions.end(other, "ended")
        assert not ending.done() and sessions.all() == [held]
        await sessions.drain(0.0)
        await sessions.close()
        assert "1 conversations have not let go" in caplog.text
        let_go.set()
        await ending


async def test_one_that_its_client_has_not_reached_yet_is_not_taken_for_lost(
    engine: Engine, tmp_path: Path
):
    recalls = Recalls()
    recalls.recalled.set()
    async with opening(engine, recalls, tmp_path) as sessions:
        first = await sessions.open(ADA, Wish())
        with pytest.raises(AccessError) as refused:
            await sessions.open(ADA, Wish())
        assert refused.value.error_code == "too_many_conversations"
        assert first.ended is None
        first.attach(gone := lambda: None)
        await first.detach(gone)
        await sessions.open(ADA, Wish())
        assert first.ended == "replaced"


async def test_who_comes_back_while_others_of_theirs_are_let_go_keeps_the_conversation(
    engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    recalls = Recalls()
    recalls.recalled.set()
    async with opening(engine, recalls, tmp_path) as sessions:
        two = replace(ADA, conversations=2)
        lost = [await sessions.open(two, Wish()) for _ in range(2)]
        for session in lost:
            session.attach(gone := lambda: None)
            await session.detach(gone)
        end = sessions.end

        async def ending(*given: Any) -> None:
            sessions.resume(ADA, lost[1].token).attach(lambda: None)
            await end(*given)

        monkeypatch.setattr(sessions, "end", ending)
        with pytest.raises(AccessError):
            await sessions.open(ADA, Wish())  # by a token for one conversation only
        assert lost[0].ended == "replaced" and lost[1].ended is None
        monkeypatch.undo()


async def test_settings_that_do_nothing_are_told_to_whom_all_events_are_for(engine: Engine):
    async with VoiceManager({"moshi": {"target_latency_ms": 100}}, engine=engine) as manager:
        sessions = Sessions(manager, ServerConfig())
        operator = Caller("operator", USUAL_SCOPES | {"events"})
        heard = {}
        for caller in (operator, ADA):
            session = await sessions.open(caller, Wish())
            await sessions.end(session, "ended")
            heard[caller.subject] = [
                output.event.setting
                async for output in session.outputs()
                if isinstance(output, Happened) and isinstance(output.event, SettingWithoutEffect)
            ]
        assert heard == {"operator": ["moshi.target_latency_ms"], "ada": []}
        await sessions.close()
