"""Calls by AudioSocket that are not taken: hung up, and told in the log as at every edge."""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress

import httpx
import pytest
from coda_integrations.host import LocalHost
from coda_integrations.server_host import ServerHost
from coda_integrations.telephony import audiosocket
from coda_integrations.telephony.audiosocket import AudioSocketServer

from coda_voice.attendants import Attendant
from coda_voice.errors import SlotsFullError
from coda_voice.manager import VoiceManager
from coda_voice.moshi.engine import Engine
from coda_voice.server import refusal_log, sessions
from coda_voice.server.access import Caller
from coda_voice.server.app import create_app
from coda_voice.server.front import Front
from coda_voice.server.session import Wish
from tests.integration.voice_server import until

MINE = uuid.uuid4()
HUNG_UP = b"\x00\x00\x00"


def id_of(call_id: uuid.UUID) -> bytes:
    return b"\x01\x00\x10" + call_id.bytes


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> Iterator[pytest.LogCaptureFixture]:
    with caplog.at_level(logging.WARNING):
        yield caplog


def told(log: pytest.LogCaptureFixture) -> list[dict[str, object]]:
    """What the log has, and nothing else than refusals, without the ids that open a call."""
    assert all(record.getMessage() == "client_refused" for record in log.records)
    fields = [vars(record)["fields"] for record in log.records]
    assert str(MINE) not in str(fields)
    return fields


@asynccontextmanager
async def telephones(
    engine: Engine, **limits: int
) -> AsyncIterator[tuple[AudioSocketServer, VoiceManager]]:
    """Take calls of one id, in three slots."""
    async with VoiceManager({"server": limits}, engine=engine) as manager:
        host = LocalHost(manager)
        async with AudioSocketServer(host, port=0, known=lambda call: call == MINE) as server:
            yield server, manager
        assert not manager.get_active_conversations()
        host.close()


@asynccontextmanager
async def waiting(server: AudioSocketServer) -> AsyncIterator[None]:
    """Hold a connection, and say nothing."""
    _, writer = await asyncio.open_connection("127.0.0.1", server.port)
    try:
        yield
    finally:
        writer.close()


async def answer(server: AudioSocketServer, said: bytes, *, then_leave: bool = False) -> bytes:
    """Call and say that; gives all that is said back."""
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(said)
    if then_leave:
        writer.write_eof()
    heard = b""
    with suppress(ConnectionResetError):  # by one who has not read what was said
        heard = await asyncio.wait_for(reader.read(), 60)
    writer.close()
    return heard


async def test_who_is_not_known_is_hung_up_and_told(
    engine: Engine, log: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
):
    async with telephones(engine) as (server, _):
        for first in (id_of(uuid.uuid4()), HUNG_UP, b"GET / HTTP/1.1\r\n\r\n"):
            assert await answer(server, first) == HUNG_UP
        monkeypatch.setattr(audiosocket, "ID_SECONDS", 0.05)
        assert await answer(server, b"\x01") == HUNG_UP  # and no more of an id
    here = {"edge": "audiosocket", "address": "127.0.0.1"}
    assert told(log) == [
        {"code": "call_id_unknown", **here},
        *3 * [{"code": "call_id_missing", **here}],
    ]


async def test_who_comes_and_goes_without_a_word_is_not_told(
    engine: Engine, log: pytest.LogCaptureFixture
):
    async with telephones(engine) as (server, _):
        assert await answer(server, b"", then_leave=True) == HUNG_UP
    assert told(log) == []


async def test_a_flood_of_calls_gets_few_lines(
    engine: Engine, log: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(refusal_log, "LINES_PER_SECOND", 1e-9)  # however slow the machine
    async with telephones(engine) as (server, _):
        for _ in range(40):
            assert await answer(server, id_of(uuid.uuid4())) == HUNG_UP
    *lines, count = told(log)
    assert len(lines) == refusal_log.LINES_AT_ONCE
    assert count == {"code": "call_id_unknown", "left_out": 40 - len(lines)}


async def test_a_call_without_a_free_slot_is_hung_up_and_told(
    engine: Engine, log: pytest.LogCaptureFixture
):
    async with telephones(engine) as (server, manager):
        with pytest.raises(SlotsFullError):
            while True:
                await manager.start_conversation()
        assert await answer(server, id_of(MINE)) == HUNG_UP
        for talking in manager.get_active_conversations():
            await manager.end_conversation(talking)
    assert told(log) == [{"code": "slots_full", "edge": "audiosocket", "address": "127.0.0.1"}]


TOO_MANY = {"code": "too_many_connections", "edge": "audiosocket", "address": "127.0.0.1"}


async def test_who_holds_too_many_connections_is_let_go_at_once_and_told(
    engine: Engine, log: pytest.LogCaptureFixture
):
    async with telephones(engine, connections_per_address=2) as (server, _):
        async with waiting(server), waiting(server):
            assert await answer(server, id_of(MINE)) == b""
        assert told(log) == [TOO_MANY]

        async def another() -> bool:
            return await answer(server, id_of(uuid.uuid4())) == HUNG_UP

        while not await another():  # those who have gone make room
            pass
    assert {**TOO_MANY, "code": "call_id_unknown"} in told(log)


async def test_on_the_server_calls_and_other_clients_of_an_address_count_together(
    engine: Engine, log: pytest.LogCaptureFixture
):
    config = {"server": {"connections_per_address": 2}}
    async with VoiceManager(config, engine=engine) as manager:
        app = create_app(manager=manager)
        addresses = app.state.front.addresses
        host = ServerHost(app.state.front)
        here = httpx.ASGITransport(app, client=("127.0.0.1", 1))
        async with (
            AudioSocketServer(host, port=0) as server,
            httpx.AsyncClient(transport=here, base_url="http://127.0.0.1") as http,
            AsyncExitStack() as calls,
        ):
            assert (await http.get("/v1/nothing")).status_code == 404
            for _ in range(2):
                await calls.enter_async_context(waiting(server))
            await until(lambda: addresses.open == 2)
            assert (await http.get("/v1/nothing")).status_code == 429
            assert await answer(server, id_of(MINE)) == b""
            await calls.aclose()
            await until(lambda: addresses.open == 0)
            assert (await http.get("/v1/nothing")).status_code == 404
        await host.close()
    assert told(log) == [{**TOO_MANY, "edge": "/v1/nothing"}, TOO_MANY]


async def test_calls_that_come_while_a_server_ends_and_after_it_are_all_told(
    engine: Engine, log: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(refusal_log, "LINES_PER_SECOND", 1e-9)
    monkeypatch.setattr(sessions, "END_SECONDS", 60.0)

    def refused() -> int:
        return sum(int(str(fields.get("left_out", 1))) for fields in told(log))

    async with VoiceManager(engine=engine) as manager:
        app = create_app(manager=manager)
        front: Front = app.state.front
        host = ServerHost(front)
        async with AudioSocketServer(host, port=0, known=lambda call: False) as server:

            async def calls(number: int) -> None:
                for _ in range(number):
                    assert await answer(server, id_of(MINE)) == HUNG_UP

            class LongEnd(Attendant):
                """Has something to do when its conversation ends; meanwhile people call."""

                name = "long end"

                async def aclose(self) -> None:
                    await calls(15)

            async with app.router.lifespan_context(app):
                session = await front.sessions.open(Caller(None, frozenset()), Wish())
                session.conversation.attendants.add(LongEnd())
            assert refused() == 15
            await calls(5)
        await host.close()
        assert refused() == 20
