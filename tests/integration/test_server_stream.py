"""``/v1/stream`` over real sockets: audio both ways, what a client may ask, and coming back."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator

import numpy as np
import pytest

from coda_voice.attendants import Attendant
from coda_voice.events import MemoryInjected
from tests.conftest import Spoken
from tests.integration.good_company import settled
from tests.integration.voice_server import (
    FRAME_BYTES,
    RunningServer,
    StreamClient,
    voice_server,
)


@pytest.fixture(scope="module")
def server() -> Iterator[RunningServer]:
    with voice_server(server__resume_seconds=20.0) as running:
        yield running


def stream(server: RunningServer, query: str = "", **connect: object) -> StreamClient:
    return StreamClient(f"{server.ws}/v1/stream{query}", **connect)


def level(pcm: bytes) -> float:
    return float(np.sqrt(np.mean(np.square(np.frombuffer(pcm, "<i2") / 32768.0))))


async def test_each_frame_in_gives_one_out(server: RunningServer, spoken: Spoken):
    pcm = spoken.question()
    async with stream(server, "?seed=3&events=true") as client:
        ready = await client.ready()
        assert ready["sample_rate"] == 24_000 and ready["frame_samples"] == 1_920
        assert not ready["resumed"]
        heard = await client.say(pcm)
        assert len(heard) == -(-len(pcm) // 1_920) * FRAME_BYTES
        assert level(heard) > 0
        started = (
            await client.until("speech", speaker="user", speaking=True)
            if not any(m["speaker"] == "user" for m in client.told("speech"))
            else client.told("speech")[0]
        )
        assert 0 <= started["time"] < 1.0
        await client.tell("close")
        assert await client.closed() == 1000
    assert client.messages[-1] == {
        "type": "status", "status": "ended", "reason": "ended", "frames": 63,
    }  # fmt: skip
    kinds = [message["event"]["type"] for message in client.told("event")]
    assert kinds[-1] == "conversation_ended" and "speech_started" in kinds
    assert all(m["event"]["conversation_id"] == ready["conversation_id"]
               for m in client.told("event"))  # fmt: skip


class Recalls(Attendant):
    """Tells of a memory before the first frame."""

    name = "recalls"

    async def ready(self) -> None:
        self.conversation.publish(
            MemoryInjected(
                conversation_id=self.conversation.id, injected=("Ada swims.",), channel="prompt"
            )
        )


async def test_what_happened_before_the_client_was_there_is_told_once(server: RunningServer):
    recalls = [Recalls()]
    server.front.manager.attend(lambda _: recalls.pop() if recalls else None)
    async with stream(server, "?events=true") as client:
        await client.ready()
        await client.frame()
        await client.tell("close")
        await client.closed()
    told = {"type": "memory", "action": "told", "items": ["Ada swims."], "injected": ["Ada swims."]}
    (memory,) = client.told("memory")
    assert memory.pop("event_id") == client.told("event")[1]["event"]["id"]
    assert memory == told
    kinds = [told["event"]["type"] for told in client.told("event")]
    assert kinds[:2] == ["conversation_started", "memory"]
    assert kinds.count("conversation_started") == kinds.count("memory") == 1


async def test_the_same_seed_gives_the_same_sound(server: RunningServer, spoken: Spoken):
    pcm = spoken.question(4.0)
    heard = []
    for _ in range(2):
        async with stream(server, "?seed=11") as client:
            heard.append(await client.say(pcm))
            await client.tell("close")
            await client.closed()
    assert heard[0] == heard[1] and level(heard[0]) > 0


async def test_chunks_of_any_length_and_another_rate(server: RunningServer, spoken: Spoken):
    pcm = (spoken.pcm("long_question", 16_000)[:16_000] * 32767).astype("<i2").tobytes()
    async with stream(server) as client:
        await client.ready()
        await client.tell("config", sample_rate=16_000)
        ready = await client.ready()
        assert ready["sample_rate"] == 16_000 and ready["frame_samples"] == 1_280
        for at in range(0, len(pcm), 777):  # an odd number of bytes: samples are cut in two
            await client.socket.send(pcm[at : at + 777])
        await client.tell("ping", id="end")
        while len(client.audio) < len(pcm) * 0.9:
            await client.receive()
        await client.tell("config", sample_rate=8_000)
        error = await client.until("error")
        assert error["code"] == "too_late" and not error["fatal"]
        await client.tell("close")


async def test_a_muted_user_is_not_heard(server: RunningServer, spoken: Spoken):
    pcm = spoken.pcm("long_question")[: 24_000 * 2]
    async with stream(server) as client:
        await client.ready()
        await client.tell("mute", muted=True)
        assert (await client.until("status", status="mute"))["muted"] is True
        await client.say(pcm)
        assert not [m for m in client.told("speech") if m["speaker"] == "user"]
        await client.tell("mute", muted=False)
        await client.say(pcm)
        assert [m for m in client.told("speech") if m["speaker"] == "user"]
        await client.tell("close")


async def test_an_interrupted_agent_is_silent_at_once(server: RunningServer, spoken: Spoken):
    async with stream(server, "?seed=5") as client:
        await client.ready()
        await client.say(spoken.pcm("what_is_your_name"))
        while level(await client.frame()) < 0.01:  # until it answers
            pass
        await client.tell("interrupt")
        await client.tell("ping", id=1)
        await client.until("pong", id=1)
        heard = [level(await client.frame()) for _ in range(20)]
        assert any(heard[n : n + 4] == [0.0] * 4 for n in range(4)), heard
        assert level(await client.say(spoken.question())) > 0.01, "it stays muted"
        await client.tell("close")


async def test_what_cannot_be_understood_is_said_and_nothing_ends(server: RunningServer):
    async with stream(server) as client:
        await client.ready()
        for bad in ("{", "[]", '{"type": "sing"}', '{"type": "text"}', "x" * 70_000,
                    '{"type": "mode", "mode": "traditional"}',
                    '{"type": "text", "text": "' + "a" * 3_000 + '"}'):  # fmt: skip
            await client.socket.send(bad)
            error = await client.until("error")
            assert not error["fatal"] and error["message"]
        assert len(await client.frame()) == FRAME_BYTES
        await client.tell("close")


async def test_a_typed_turn_is_a_turn_of_the_user(server: RunningServer):
    async with stream(server, "?events=true") as client:
        await client.ready()
        await client.tell("text", text="What time is it?")
        told = await client.until("transcript", speaker="user")
        assert told["text"] == "What time is it?" and told["final"]
        await client.tell("close")


@pytest.mark.parametrize(
    "query", ["?sample_rate=7000", "?sample_rate=x", "?mode=loud", "?seed=-1", "?voice=../../etc"]
)
async def test_a_query_that_cannot_be(server: RunningServer, query: str):
    async with stream(server, query) as client:
        error = await client.until("error")
        assert error["fatal"]
        assert await client.closed() == 1008
    assert len(server.front.sessions) == 0 or not server.front.sessions.all()[0].ended


async def test_a_lost_socket_gets_its_conversation_back(server: RunningServer, spoken: Spoken):
    async with stream(server, "?seed=2") as client:
        ready = await client.ready()
        for _ in range(5):
            await client.frame()
        client.socket.transport.abort()
    async with stream(server, f"?resume={ready['resume_token']}") as client:
        again = await client.ready()
        assert again["resumed"] and again["conversation_id"] == ready["conversation_id"]
        assert again["frames"] == 5
        for _ in range(3):
            assert len(await client.frame()) == FRAME_BYTES
        await client.tell("close")
        await client.closed()
    assert client.messages[-1]["frames"] == 8
    async with stream(server, f"?resume={ready['resume_token']}") as client:
        error = await client.until("error")
        assert error["code"] == "resume_unknown"
        assert await client.closed() == 4404


async def test_who_comes_back_too_late_is_told_so_and_can_begin_anew(server: RunningServer):
    before = server.front.settings.resume_seconds
    server.front.change_limits({"resume_seconds": 0.2})
    try:
        async with stream(server) as client:
            ready = await client.ready()
            await client.frame()
            client.socket.transport.abort()
        await settled(server)
    finally:
        server.front.change_limits({"resume_seconds": before})
    async with stream(server, f"?resume={ready['resume_token']}") as client:
        error = await client.until("error")
        assert error["code"] == "resume_unknown" and error["fatal"]
        assert "Connect without resume" in error["message"]
        assert await client.closed() == 4404
    async with stream(server) as client:
        again = await client.ready()
        assert not again["resumed"] and again["conversation_id"] != ready["conversation_id"]
        assert len(await client.frame()) == FRAME_BYTES
        await client.tell("close")
        assert await client.closed() == 1000


@pytest.mark.parametrize("moment", range(5))
async def test_a_goodbye_counts_however_busy_the_server_is(server: RunningServer, moment: int):
    """It is not read yet when sending the next frame finds the socket shut."""
    async with stream(server) as client:
        ready = await client.ready()
        (session,) = [s for s in server.front.sessions.all() if s.token == ready["resume_token"]]
        for _ in range(5):
            await client.socket.send(bytes(FRAME_BYTES))
        for _ in range(moment):  # the server is between other frames each time
            await client.receive()
        assert session._task is not None
        session._task.get_loop().call_soon_threadsafe(time.sleep, 0.3)
        await client.tell("close")
    while session.ended is None:
        assert session.detached_since is None, "it waits for one who said goodbye"
        await asyncio.sleep(0.01)
    assert session.ended == "ended"


async def test_a_second_connection_takes_over(server: RunningServer):
    async with stream(server) as first:
        ready = await first.ready()
        await first.frame()
        async with stream(server, f"?resume={ready['resume_token']}") as second:
            assert (await second.ready())["resumed"]
            assert await first.closed() == 4409
            await second.frame()
            await second.tell("close")
            assert await second.closed() == 1000


async def test_when_all_slots_are_taken(server: RunningServer):
    async with stream(server) as one, stream(server) as two:
        await one.ready()
        await two.ready()
        async with stream(server) as third:
            error = await third.until("error")
            assert error["code"] == "slots_full" and error["retry_after"] >= 1
            assert await third.closed() == 1013
        async with stream(server, "?wait=true") as patient, stream(server, "?wait=1") as later:
            assert (await patient.until("status", status="waiting"))["position"] == 1
            assert (await later.until("status", status="waiting"))["position"] == 2
            await one.tell("close")
            assert (await patient.ready())["conversation_id"]
            assert (await later.until("status", status="waiting"))["position"] == 1
            await two.frame()  # the others notice nothing
            await patient.tell("close")
            await patient.closed()
            await later.ready()
            await later.tell("close")
        await two.tell("close")


async def test_too_much_audio_is_dropped_and_told_then_refused(server: RunningServer):
    async with stream(server, "?events=true") as client:
        await client.ready()
        for _ in range(60):
            await client.socket.send(bytes(24_000 * 2))  # a second of audio, sixty times at once
        code = await client.closed()
        assert code == 1008
        assert client.told("error")[-1]["code"] == "too_much_audio"
        dropped = sum(m["frames"] for m in client.told("status") if m["status"] == "dropped")
        assert dropped > 300
    ended = client.told("event")[-1]["event"]
    assert ended["type"] == "conversation_ended"
    assert ended["frames_dropped"] == dropped, "the log says what the client heard"


async def test_idle_and_overlong_connections_end(server: RunningServer):
    before = {
        name: getattr(server.front.settings, name) for name in ("idle_seconds", "longest_seconds")
    }
    async with stream(server) as idle, stream(server) as busy:
        await busy.ready()
        await idle.ready()

        async def talk() -> None:
            while True:
                await busy.socket.send(bytes(FRAME_BYTES))
                await asyncio.sleep(0.08)

        talking = asyncio.create_task(talk())
        reading = asyncio.create_task(busy.closed())
        try:
            server.front.change_limits({"idle_seconds": 1.0})
            assert await idle.closed() == 1008
            assert idle.told("error")[-1]["code"] == "idle"
            assert not reading.done(), "who sends is not idle"
            server.front.change_limits({"idle_seconds": 60.0, "longest_seconds": 0.5})
            assert await reading == 1008
            assert busy.told("error")[-1]["code"] == "time_limit"
        finally:
            server.front.change_limits(before)
            talking.cancel()
            await asyncio.gather(talking, reading, return_exceptions=True)
