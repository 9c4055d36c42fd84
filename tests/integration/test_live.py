"""OpenAI's own client holds a Live session with coda-tiny over a real socket."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import numpy as np
from coda_integrations.host import LocalHost, Thinkers
from coda_integrations.live.edge import MOST_THOUGHTS, live_routes
from coda_tools import ToolRegistry
from coda_tools.builtin.arithmetic import calculate
from openai import AsyncOpenAI
from openai.resources.live.live import AsyncLiveConnection

from coda_voice.audio import telephony
from coda_voice.audio.features import level_dbfs
from coda_voice.hybrid.offline_brain import OfflineBrain
from coda_voice.hybrid.openai_client import OpenAiClient
from coda_voice.manager import VoiceManager
from coda_voice.moshi.engine import Engine
from tests.conftest import Spoken
from tests.integration.edge_server import serving
from tests.integration.llm_server import LlmServer, Step, sse
from tests.integration.openai_client import Client

PCM_16K = {"type": "audio/pcm", "rate": 16_000}
ENDS = ("response.completed", "response.failed", "response.incomplete")


@asynccontextmanager
async def started(
    engine: Engine, thinkers: Thinkers | None = None, **session: Any
) -> AsyncIterator[Client[AsyncLiveConnection]]:
    async with VoiceManager(engine=engine) as manager:
        host = LocalHost(manager, thinkers)
        async with serving(live_routes(host)) as address:
            openai = AsyncOpenAI(api_key="none", base_url=f"http://{address}/v1")
            async with openai.live.connect() as connection:
                client = Client(connection, manager)
                await connection.session.start(session={"model": "coda-tiny", **session})
                yield client
            await openai.close()
        host.close()


async def test_all_of_the_voice_is_heard_in_the_format_asked_for(engine: Engine, spoken: Spoken):
    async with started(engine, audio={"format": PCM_16K}) as client:
        session = (await client.until("session.started"))["session"]
        assert session["audio"]["format"] == PCM_16K
        pcm = spoken.pcm("what_is_your_name", 16_000)
        for begin in range(0, len(pcm), 1_600):
            data = telephony.to_int16(pcm[begin : begin + 1_600]).astype("<i2").tobytes()
            await client.connection.session.input_audio.append(
                audio=base64.b64encode(data).decode()
            )
            await asyncio.sleep(0.1)
        word = await client.until("session.output_transcript.delta")
        assert word["delta"].strip() and word["end_ms"] >= word["start_ms"] > 500
        await client.connection.session.close()
        closed = await client.until("session.closed")
        assert closed["reason"] == "close_requested"
        sound = b"".join(
            base64.b64decode(e["delta"]) for e in client.of("session.output_audio.delta")
        )
        heard = np.frombuffer(sound, dtype="<i2").astype(np.float32) / 32_768
        assert abs(len(heard) / 16_000 - closed["usage"]["seconds"]) < 0.2  # silence, too
        assert level_dbfs(heard) > -60


async def test_what_needs_thought_is_delegated_to_the_client_who_has_it_said(engine: Engine):
    async with started(engine) as client:
        await client.until("session.started")
        client.understood("thank you very much")  # the voice answers that alone
        client.understood("what is seventeen plus five")
        created = await client.until("session.delegation.created")
        assert created["delegation"]["target"] == "client"
        heard = "".join(e["delta"] for e in client.of("session.input_transcript.delta"))
        assert heard.split()[-4:] == ["is", "seventeen", "plus", "five"]
        assert len(client.of("session.delegation.created")) == 1
        await client.connection.session.commentary.append(
            content="The answer is twenty two.", delegation_id=created["delegation"]["id"]
        )
        await client.until("session.commentary.appended")
        await client.until("session.output_transcript.delta", lambda e: "twenty" in e["delta"])


async def test_the_server_thinks_itself_with_responses_delegation(engine: Engine):
    thinkers = Thinkers([OfflineBrain()], ToolRegistry([calculate]))
    delegation = {"type": "responses", "responses": {"model": "any"}}
    async with started(engine, thinkers, delegation=delegation) as client:
        await client.until("session.started")
        client.understood("what is seventeen plus five")
        created = await client.until("session.delegation.created")
        assert created["delegation"]["target"] == "responses"
        completed = await client.until(
            "response.event", lambda e: e["event"]["type"] == "response.completed"
        )
        assert completed["delegation_id"] == created["delegation"]["id"]
        await client.until("session.output_transcript.delta", lambda e: "twenty" in e["delta"])


async def test_a_user_who_says_stop_is_not_told_what_was_being_thought_about(engine: Engine):
    go_on = asyncio.Event()
    thinking: list[Step] = [go_on, sse({"content": "Bananas, of course."}), sse({}, "stop")]
    delegation = {"type": "responses", "responses": {"model": "any"}}
    async with LlmServer(thinking) as llm:
        brain = OpenAiClient("m", f"{llm.url}/v1")
        async with started(engine, Thinkers([brain]), delegation=delegation) as client:
            await client.until("session.started")
            client.understood("what is seventeen plus five")
            created = await client.until("session.delegation.created")
            await asyncio.wait_for(llm.asked.wait(), 60)
            client.understood("stop")
            go_on.set()
            ended = await client.until("response.event", lambda e: e["event"]["type"] in ENDS)
            assert ended["delegation_id"] == created["delegation"]["id"]
            for _ in range(40):
                await client.until("session.output_audio.delta")
            said = "".join(e["delta"] for e in client.of("session.output_transcript.delta"))
            assert "bananas" not in said.lower()
            assert ended["event"]["type"] == "response.incomplete"
        await brain.close()


async def test_one_client_cannot_have_the_llm_asked_any_number_of_times(engine: Engine):
    go_on = asyncio.Event()
    thinking: list[Step] = [go_on, sse({"content": "Yes."}), sse({}, "stop")]
    delegation = {"type": "responses", "responses": {"model": "any"}}
    async with LlmServer(thinking) as llm:
        brain = OpenAiClient("m", f"{llm.url}/v1")
        async with started(engine, Thinkers([brain]), delegation=delegation) as client:
            await client.until("session.started")
            item = {"type": "message", "role": "user", "content": "Well?"}
            await client.connection.send({"type": "response.item.create", "item": item})
            for _ in range(MOST_THOUGHTS + 4):
                await client.connection.send({"type": "response.create"})
            for _ in range(4):
                failed = await client.until(
                    "response.event", lambda e: e["event"]["type"] == "response.failed"
                )
                fault = failed["event"]["response"]["error"]
                assert fault["code"] == "too_many_responses"
            go_on.set()
            await client.until(
                "response.event", lambda e: e["event"]["type"] == "response.completed"
            )
            assert len(llm.requests) <= MOST_THOUGHTS
        await brain.close()


async def test_what_cannot_be_is_said_and_the_session_goes_on(engine: Engine):
    async with VoiceManager(engine=engine) as manager:
        host = LocalHost(manager)
        async with serving(live_routes(host)) as address:
            openai = AsyncOpenAI(api_key="none", base_url=f"http://{address}/v1")
            async with openai.live.connect() as connection:
                client = Client(connection, manager)
                await connection.session.input_audio.mute()
                error = await client.until("error")
                assert error["error"]["code"] == "session_not_started"
                await connection.session.start(
                    session={"model": "m", "colour": "blue"}, event_id="mine"
                )
                error = await client.until("error")
                assert error["error"]["code"] == "unknown_parameter"
                assert error["client_event_id"] == "mine"
                await connection.session.start(session={"model": "m"})
                await client.until("session.started")
                await connection.session.commentary.append(content="x", delegation_id="nobody's")
                assert "nobody's" in (await client.until("error"))["error"]["message"]
                await connection.session.input_audio.mute()
                await client.until("session.input_audio.muted")
            await openai.close()
        host.close()
