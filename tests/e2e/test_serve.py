"""``coda-voice serve`` as a process: signals, drain, and what is left after kill -9."""

from __future__ import annotations

import asyncio
import itertools
import signal
import socket
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import pytest
import websockets
from coda_memory import MemoryStore
from coda_memory.embedding import HASHED_WORDS

from coda_voice.cli.main import main
from tests.integration.voice_server import StreamClient, serving_process, voice_server


async def test_without_an_llm_it_serves_and_sigterm_lets_eight_conversations_end_in_peace():
    settings = {
        "CODA_VOICE__SERVER__DRAIN_SECONDS": "4",
        "CODA_VOICE__EXTERNAL_LLM__PROVIDER": "ollama",
        "CODA_VOICE__EXTERNAL_LLM__ENDPOINT": "http://127.0.0.1:1",
    }
    with serving_process("--slots", "8", "--mode", "adaptive", **settings) as (process, url):
        assert process.stderr is not None
        told = process.stderr.readline()
        assert "cannot be reached" in told and "ollama serve" in told
        assert "offline brain answers what it can" in told
        async with rest_client(url) as rest:
            assert (await rest.get("/health")).json()["status"] == "ready"
        clients = [StreamClient(f"{url}/v1/stream") for _ in range(8)]
        for client in clients:
            await client.__aenter__()
            await client.ready()
            await client.frame()
        patient = StreamClient(f"{url}/v1/stream?wait=true")
        await patient.__aenter__()
        await patient.until("status", status="waiting")
        process.send_signal(signal.SIGTERM)
        refusal = await patient.until("error")
        assert refusal["code"] == "draining" and refusal["retry_after"] >= 1
        assert await patient.closed() == 1013
        await patient.__aexit__(None, None, None)
        for client in clients:
            assert (await client.until("status", status="draining"))["seconds"] == 4.0
        async with rest_client(url) as rest:
            health = await rest.get("/health")
            assert health.status_code == 503 and health.json()["status"] == "draining"
        with pytest.raises(websockets.InvalidStatus) as refused:
            await websockets.connect(f"{url}/v1/stream")
        assert refused.value.response.status_code == 503
        assert int(refused.value.response.headers["Retry-After"]) >= 1
        answers = await asyncio.gather(*(client.frame() for client in clients))
        assert {len(answer) for answer in answers} == {3_840}, "running conversations go on"
        for client in clients[:2]:
            await client.tell("close")
            assert await client.closed() == 1000
        for client in clients[2:]:
            assert await client.closed() == 1012
            assert client.messages[-1]["reason"] == "server_restart"
        for client in clients:
            await client.__aexit__(None, None, None)
        assert await asyncio.to_thread(process.wait, 30) == 0
        assert "Traceback" not in process.stderr.read()


async def test_after_kill_9_who_resumes_gets_a_clear_answer_and_nothing_stored_is_lost(
    tmp_path: Path,
):
    MemoryStore(tmp_path, HASHED_WORDS).close()  # words are enough here, and quick to load
    memories = {"CODA_VOICE__INTEGRATION__MEMORY_STORE": str(tmp_path)}
    acknowledged: set[str] = set()
    with serving_process(**memories) as (process, url):
        async with (
            StreamClient(f"{url}/v1/stream?events=true") as client,
            rest_client(url) as rest,
        ):
            resume_token = (await client.ready())["resume_token"]
            saying = asyncio.create_task(_say_one_after_another(client, acknowledged))
            number = 0
            while number < 5 or len(acknowledged) < number + 4:  # so some turns, too
                number += 1
                fact = {"text": f"The user has met person{number}."}
                added = await rest.post("/v1/memories", json=fact)
                assert added.status_code == 201
                acknowledged.add(fact["text"])
            process.kill()  # in the middle of the next turn
            await saying
    port = int(url.rsplit(":", 1)[1])
    with voice_server(server__port=port, integration__memory_store=str(tmp_path)) as again:
        async with StreamClient(f"{again.ws}/v1/stream?resume={resume_token}") as client:
            error = await client.until("error")
            assert error["code"] == "resume_unknown" and "restarted" in error["message"]
            assert await client.closed() == 4404
        async with rest_client(again.ws) as rest:
            found = await rest.get("/v1/memories", params={"limit": 200})
            kept = {memory["text"] for memory in found.json()}
            assert acknowledged <= kept, acknowledged - kept
            added = await rest.post("/v1/memories", json={"text": "The user likes rowing."})
            assert added.status_code == 201, "it goes on remembering"


def rest_client(url: str) -> httpx.AsyncClient:
    return httpx.AsyncClient(base_url=url.replace("ws", "http", 1), timeout=120)


async def _say_one_after_another(client: StreamClient, acknowledged: set[str]) -> None:
    """Write turns until the server is gone; note what it said to have stored."""
    with suppress(websockets.ConnectionClosed):
        for number in itertools.count():
            await client.tell("text", text=f"I like game{number}.")
            event: dict[str, Any] = {"type": ""}
            while event["type"] != "memory_stored":
                event = (await client.until("event"))["event"]
            acknowledged.update((event["text"], *event["facts"]))


def test_a_server_that_cannot_be_is_one_clear_line(capsys: pytest.CaptureFixture[str]):
    """The command in this process, which has imported all of it already."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        for arguments, says in (
            (["--host", "0.0.0.0"], "allow_anonymous"),
            (["--port", port], "Cannot listen"),
        ):
            with pytest.raises(SystemExit) as end:
                main(["serve", "--device", "cpu", *arguments])
            said = capsys.readouterr()
            assert end.value.code == 2 and says in said.err
            assert said.out == "" and len(said.err.splitlines()) == 1
