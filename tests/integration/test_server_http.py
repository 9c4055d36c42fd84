"""Health, figures, REST, access and refusals, over real sockets."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import jwt
import pytest
import websockets
import yaml

from tests.integration.voice_server import ROOT, RunningServer, StreamClient, voice_server

SECRET = "a secret of the tests, long enough for HS256"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    folder = tmp_path_factory.mktemp("memories")
    with voice_server(
        integration__memory_store=str(folder), server__connects_per_second=10_000
    ) as running:
        yield running


def client_of(server: RunningServer) -> httpx.AsyncClient:
    return httpx.AsyncClient(base_url=server.http, timeout=120)


async def test_every_step_of_a_typed_turn_arrives_in_order(server: RunningServer):
    async with (
        websockets.connect(f"{server.ws}/v1/events") as feed,
        StreamClient(f"{server.ws}/v1/stream?mode=hybrid&seed=1") as client,
    ):
        ready = await client.ready()
        await client.tell("text", text="what is 17 times 23")
        events: list[dict[str, Any]] = []

        async def follow(until: str) -> None:
            while not events or events[-1]["type"] != until:
                events.append(json.loads(await feed.recv()))

        spoken_of = asyncio.create_task(follow("script_ended"))
        async with asyncio.timeout(120):
            while not spoken_of.done():
                await client.frame()
        await spoken_of
        await client.tell("close")
        async with asyncio.timeout(120):
            await follow("conversation_ended")
    assert {e["conversation_id"] for e in events} <= {ready["conversation_id"], ""}
    steps = ("conversation_started", "transcript", "route_decided", "reasoning_started",
             "tool_started", "tool_ended", "sentence_ready", "script_started", "script_ended",
             "conversation_ended")  # fmt: skip
    kinds = [event["type"] for event in events]
    assert [kind for kind in dict.fromkeys(kinds) if kind in steps] == list(steps)
    assert "reasoning_ended" in kinds and "memory_stored" in kinds
    spoken = events[kinds.index("script_started") : kinds.index("script_ended")]
    assert any(e["type"] == "word" and e["speaker"] == "agent" for e in spoken)
    ids = [event["id"] for event in events]
    assert ids == sorted(ids)


async def test_figures(server: RunningServer):
    async with (
        client_of(server) as http,
        StreamClient(f"{server.ws}/v1/stream") as client,
    ):
        await client.ready()
        for _ in range(3):
            await client.frame()
        health = (await http.get("/health")).json()
        assert health["status"] == "ready" and health["slots_free"] == 1
        stats = (await http.get("/stats")).json()
        assert stats["sessions"][0]["frames"] == 3 and stats["sessions"][0]["attached"]
        assert stats["sessions"][0]["real_time_factor"] > 0
        metrics = (await http.get("/metrics")).text
        assert "coda_slots_leased 1.0" in metrics
        assert 'coda_frame_seconds_count{stage="total"}' in metrics
        assert "coda_server_added_seconds_bucket" in metrics
        for name in ("coda_tasks ", 'coda_queue_depth{queue="input"} 0.0', "process_open_fds "):
            assert name in metrics
        dashboard = (ROOT / "deploy" / "grafana" / "dashboards" / "coda-voice.json").read_text()
        for name in set(re.findall(r"coda_[a-z_]+", dashboard)):
            figure = re.sub(r"_(bucket|total)$", "", name)
            assert re.search(rf"^# HELP {figure}(_total)? ", metrics, re.MULTILINE), name
        page = await http.get("/")
        assert page.status_code == 200 and "html" in page.headers["content-type"]
        await client.tell("close")


async def test_steering_a_conversation_by_rest(server: RunningServer):
    async with (
        client_of(server) as http,
        StreamClient(f"{server.ws}/v1/stream") as client,
    ):
        mine = f"/v1/conversations/{(await client.ready())['conversation_id']}"
        assert (await http.get(mine)).json()["is_active"]
        assert (await http.put(f"{mine}/mute", json={"muted": True})).status_code == 204
        assert (await http.put(f"{mine}/mute", json={"muted": "off"})).status_code == 422
        await client.until("status", status="mute", muted=True)
        assert (await http.post(f"{mine}/text", json={"text": "Hello"})).status_code == 204
        assert (await client.until("transcript", speaker="user"))["text"] == "Hello"
        assert (await http.post(f"{mine}/interrupt")).status_code == 204
        names = (await http.get("/v1/personalities")).json()
        put = await http.put(f"{mine}/personality", json={"name": names[0]})
        assert put.status_code == 204, put.text
        assert (await client.until("status", status="personality"))["personality"]["name"]
        bad = await http.put(f"{mine}/personality", json={"name": "../../etc/passwd"})
        assert bad.status_code == 400 and bad.json()["error"]["code"] == "unknown_personality"
        assert (await http.put(f"{mine}/mode", json={"mode": "loud"})).status_code == 422
        assert (await http.delete(mine)).status_code == 204
        assert await client.closed() == 1000
        assert (await http.get(mine)).status_code == 404


async def test_mode_and_limits_change_while_it_runs(server: RunningServer):
    async with (
        client_of(server) as http,
        StreamClient(f"{server.ws}/v1/stream") as client,
    ):
        await client.ready()
        before = (await http.get("/v1/config")).json()["settings"]
        limits = {"idle_seconds": 0.4, "connects_per_second": 9_999}
        changed = await http.patch("/v1/config", json={"mode": "adaptive", "server": limits})
        assert changed.status_code == 200, changed.text
        now = changed.json()["settings"]
        assert now["mode"] == "adaptive" and now["server"] == {**before["server"], **limits}
        assert (await client.until("status", status="mode"))["mode"] == "adaptive"
        assert (await client.until("error"))["code"] == "idle", "at once, for all"
        await client.closed()
        for wrong in (
            {"server": {"port": 1}},
            {"server": {"waiting": -1}},
            {"server": {"wait_seconds": True}},
            {"server": {"wait_seconds": "60"}},
            {"mode": "loud"},
        ):
            assert (await http.patch("/v1/config", json=wrong)).status_code == 422
        back = {
            "mode": before["mode"],
            "server": {"idle_seconds": 60, "connects_per_second": 10_000},
        }
        assert (await http.patch("/v1/config", json=back)).json()["settings"] == before


async def test_a_longest_time_can_be_taken_back_while_it_runs(server: RunningServer):
    async with client_of(server) as http:
        for wanted in (3_600.0, None):
            change = {"server": {"longest_seconds": wanted}}
            changed = await http.patch("/v1/config", json=change)
            assert changed.status_code == 200
            assert changed.json()["settings"]["server"]["longest_seconds"] == wanted
        unchanged = await http.patch("/v1/config", json={"server": {"wait_seconds": None}})
        assert unchanged.json()["settings"] == changed.json()["settings"]


async def test_memories_by_rest(server: RunningServer):
    async with client_of(server) as http:
        made = await http.post("/v1/memories", json={"text": "I have a dog called Rex."})
        assert made.status_code == 201, made.text
        found = (await http.get("/v1/memories", params={"query": "my dog"})).json()
        assert found[0]["text"] == "I have a dog called Rex." and found[0]["score"] > 0
        assert (await http.delete(f"/v1/memories/{found[0]['id']}")).json()["forgotten"] >= 1
        gone = await http.delete(f"/v1/memories/{found[0]['id']}")
        assert gone.status_code == 404 and gone.json()["error"]["code"] == "not_found"
        left = [memory["text"] for memory in (await http.get("/v1/memories")).json()]
        assert not [text for text in left if "Rex" in text]
        assert (await http.delete("/v1/memories")).json()["forgotten"] == len(left)
        assert (await http.get("/v1/memories")).json() == []


async def test_other_pages_and_other_names_are_refused(server: RunningServer):
    async with client_of(server) as http:
        evil = {"Origin": "https://evil.example"}
        assert (await http.delete("/v1/memories", headers=evil)).status_code == 403
        renamed = await http.get("/v1/conversations", headers={"Host": "evil.example:80"})
        assert renamed.json()["error"]["code"] == "host_not_allowed"
        split = await http.get("/v1/conversations", headers={"X-Api-Key": "a\tb"})
        assert split.status_code == 200
    with pytest.raises(websockets.InvalidStatus) as refused:
        await websockets.connect(f"{server.ws}/v1/stream", origin="https://evil.example")  # type: ignore[arg-type]
    assert refused.value.response.status_code == 403
    own = f"http://127.0.0.1:{server.port}"
    async with StreamClient(f"{server.ws}/v1/stream", origin=own) as client:
        await client.ready()
        await client.tell("close")


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    folder: Path = tmp_path_factory.mktemp("keys")
    (folder / "secret").write_text(SECRET)
    keys = [{"key": "key-of-the-house-0123", "subject": "house", "scopes": ["admin"]}]
    (folder / "keys.yaml").write_text(yaml.safe_dump(keys))
    with voice_server(
        server__jwt_secret_file=str(folder / "secret"),
        server__keys_file=str(folder / "keys.yaml"),
        server__idle_seconds=30.0,
    ) as running:
        yield running


def token(subject: str, seconds: float = 600, **more: object) -> str:
    return jwt.encode({"sub": subject, "exp": time.time() + seconds, **more}, SECRET, "HS256")


def bearer(text: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {text}"}


async def test_who_only_watches_follows_everybodys_events(guarded: RunningServer):
    watcher = bearer(token("watcher", scope="events"))
    async with websockets.connect(f"{guarded.ws}/v1/events", additional_headers=watcher) as events:
        async with StreamClient(
            f"{guarded.ws}/v1/stream", additional_headers=bearer(token("anna"))
        ) as anna:
            await anna.ready()
            async with asyncio.timeout(60):
                assert json.loads(await events.recv())["type"] == "conversation_started"
        async with client_of(guarded) as http:
            async with http.stream("GET", "/v1/events", headers=watcher) as answer:
                assert answer.status_code == 200
            stranger = bearer(token("stranger", scope="memory"))
            assert (await http.get("/v1/events", headers=stranger)).status_code == 403
            assert (await http.get("/v1/personalities", headers=watcher)).status_code == 403


async def test_with_login(guarded: RunningServer):
    url = f"{guarded.ws}/v1/stream"
    forged = jwt.encode({"sub": "a", "exp": time.time() + 60}, "x" * 40, "HS256")
    for headers in ({}, bearer(forged), bearer(token("anna", -60)), {"Authorization": "Basic x"}):
        with pytest.raises(websockets.InvalidStatus) as refused:
            await websockets.connect(url, additional_headers=headers)
        assert refused.value.response.status_code == 401
    async with client_of(guarded) as http:
        assert (await http.get("/health")).status_code == 200
        for path in ("/v1/conversations", "/stats", "/metrics", "/v1/memories", "/v1/events"):
            answer = await http.get(path)
            assert answer.status_code == 401 and answer.headers["www-authenticate"] == "Bearer"
        async with StreamClient(url, additional_headers=bearer(token("anna"))) as anna:
            ready = await anna.ready()
            mine = f"/v1/conversations/{ready['conversation_id']}"
            assert (await http.get(mine, headers=bearer(token("anna")))).status_code == 200
            assert (await http.get(mine, headers=bearer(token("bert")))).status_code == 404
            house = bearer("key-of-the-house-0123")
            assert (await http.get(mine, headers=house)).status_code == 200
            assert (await http.get("/stats", headers=bearer(token("anna")))).status_code == 403
            resume = f"{url}?resume={ready['resume_token']}"
            async with StreamClient(resume, additional_headers=bearer(token("bert"))) as bert:
                assert (await bert.until("error"))["code"] == "resume_unknown"
            conversation = guarded.front.manager.conversation(ready["conversation_id"])
            assert conversation.user_id == "anna"
            await anna.tell("close")
            await anna.closed()
        offered = ["coda.v1", f"coda.bearer.{token('anna', conversations=1)}"]
        async with StreamClient(url, subprotocols=offered) as browser:
            await browser.ready()
            assert browser.socket.subprotocol == "coda.v1"
            async with StreamClient(url, subprotocols=offered) as second:
                assert (await second.until("error"))["code"] == "too_many_conversations"
            await browser.tell("close")
        async with websockets.connect(
            f"{guarded.ws}/v1/events?after=0", additional_headers=bearer(token("bert"))
        ) as feed:
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.5):
                    await feed.recv()  # nothing of this is bert's


async def test_events_end_with_the_token(guarded: RunningServer):
    mine = bearer(token("zoe", 1.0))
    async with (
        websockets.connect(f"{guarded.ws}/v1/events", additional_headers=mine) as feed,
        client_of(guarded) as http,
        http.stream("GET", "/v1/events", headers=mine) as stream,
    ):
        async with asyncio.timeout(60):
            assert stream.status_code == 200
            assert [line async for line in stream.aiter_lines() if "data" in line] == []
            assert json.loads(await feed.recv())["code"] == "token_expired"
            with pytest.raises(websockets.ConnectionClosed):
                await feed.recv()
        assert feed.close_code == 1008


async def test_who_comes_back_with_a_new_token_stays_as_long_as_that_holds(guarded: RunningServer):
    url = f"{guarded.ws}/v1/stream"
    until = time.monotonic() + 3.0
    async with StreamClient(url, additional_headers=bearer(token("yara", 3.0))) as first:
        ready = await first.ready()
        await first.frame()
        first.socket.transport.abort()
    resume = f"{url}?resume={ready['resume_token']}"
    async with StreamClient(resume, additional_headers=bearer(token("yara"))) as second:
        assert (await second.ready())["resumed"]
        while time.monotonic() < until + 1.0:  # the watch has looked at it meanwhile
            await second.frame()
            await asyncio.sleep(0.2)
        second.socket.transport.abort()
    async with StreamClient(resume, additional_headers=bearer(token("yara", 3.0))) as third:
        assert (await third.ready())["resumed"]
        assert (await third.until("error"))["code"] == "token_expired"
        assert await third.closed() == 1008


async def test_who_floods_while_listening_or_waiting_must_go(guarded: RunningServer):
    anna = bearer(token("anna"))
    stream = f"{guarded.ws}/v1/stream"
    async with (
        StreamClient(stream, additional_headers=anna) as one,
        StreamClient(stream, additional_headers=anna) as two,
    ):
        await one.ready()
        await two.ready()  # every slot is taken
        for url in (f"{guarded.ws}/v1/events", f"{stream}?wait=true"):
            async with StreamClient(url, additional_headers=anna) as flood:
                with contextlib.suppress(websockets.ConnectionClosed):
                    for _ in range(5_000):
                        await flood.tell("ping")
                assert await flood.closed() == 1008, url
                assert flood.told("error")[-1]["code"] == "too_many_messages"
