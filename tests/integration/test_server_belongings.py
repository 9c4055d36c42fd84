"""Recordings and memories by REST: everybody's own, nobody else's, and gone when deleted."""

from __future__ import annotations

import asyncio
import http.client
import json
import shutil
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import jwt
import pytest
import yaml

from coda_voice.config import VoiceConfig
from coda_voice.server import recordings
from coda_voice.server.app import create_app
from tests.conftest import Spoken
from tests.integration.voice_server import RunningServer, StreamClient, voice_server

SECRET = "a secret of the tests, long enough for HS256"
HOUSE_KEY = "key-of-the-house-0123"
PARTS = ("audio", "events", "words")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("belongings")


@pytest.fixture(scope="module")
def server(folder: Path) -> Iterator[RunningServer]:
    (folder / "secret").write_text(SECRET)
    keys = [{"key": HOUSE_KEY, "subject": "house", "scopes": ["admin"]}]
    (folder / "keys.yaml").write_text(yaml.safe_dump(keys))
    with voice_server(
        server__jwt_secret_file=str(folder / "secret"),
        server__keys_file=str(folder / "keys.yaml"),
        server__recordings=str(folder / "recordings"),
        integration__memory_store=str(folder / "memories"),
        server__connects_per_second=10_000,
    ) as running:
        yield running


def headers(subject: str, **claims: object) -> dict[str, str]:
    token = jwt.encode({"sub": subject, "exp": time.time() + 600, **claims}, SECRET, "HS256")
    return {"Authorization": f"Bearer {token}"}


def client(server: RunningServer, subject: str, **claims: object) -> httpx.AsyncClient:
    return httpx.AsyncClient(base_url=server.http, timeout=120, headers=headers(subject, **claims))


def house(server: RunningServer) -> httpx.AsyncClient:
    key = {"Authorization": f"Bearer {HOUSE_KEY}"}
    return httpx.AsyncClient(base_url=server.http, timeout=120, headers=key)


async def recorded(server: RunningServer, subject: str, spoken: Spoken) -> str:
    """Hold a conversation that is recorded; give the recording's name."""
    url = f"{server.ws}/v1/stream?record=true"
    async with StreamClient(url, additional_headers=headers(subject)) as talk:
        ready = await talk.ready()
        assert ready["recorded"]
        await talk.say(spoken.pcm("hello"))
        await talk.tell("close")
        await talk.closed()
    async with client(server, subject) as http:
        (name,) = [
            made["name"] for made in (await http.get("/v1/recordings")).json()
            if made["conversation_id"] == ready["conversation_id"]
        ]  # fmt: skip
    return str(name)


async def test_a_recording_given_to_another_user_by_hand_is_shown_to_neither(
    server: RunningServer, folder: Path, spoken: Spoken
):
    name = await recorded(server, "olga", spoken)
    description = folder / "recordings" / name / "recording.json"
    whole = description.read_text()
    description.write_text(whole.replace('"olga"', '"paul"'))
    async with client(server, "olga") as olga, client(server, "paul") as paul:
        for user in olga, paul:
            assert (await user.get("/v1/recordings")).json() == []
            assert (await user.get(f"/v1/recordings/{name}/audio")).status_code == 404
            assert (await user.delete(f"/v1/recordings/{name}")).status_code == 404
        async with house(server) as admin:
            assert name in [made["name"] for made in (await admin.get("/v1/recordings")).json()]
        description.write_text(whole)  # and the mistake is put right
        assert [made["name"] for made in (await olga.get("/v1/recordings")).json()] == [name]
        assert (await olga.delete(f"/v1/recordings/{name}")).status_code == 204


async def test_a_recording_is_its_users_and_gone_when_deleted(
    server: RunningServer, folder: Path, spoken: Spoken
):
    name = await recorded(server, "anna", spoken)
    where = folder / "recordings" / name
    assert where.is_dir()
    async with client(server, "anna") as anna, client(server, "bert") as bert:
        for part in PARTS:
            mine = await anna.get(f"/v1/recordings/{name}/{part}")
            assert mine.status_code == 200 and mine.content
            theirs = await bert.get(f"/v1/recordings/{name}/{part}")
            nobodys = await bert.get(f"/v1/recordings/20200101-000000-00000000/{part}")
            assert theirs.status_code == nobodys.status_code == 404, "not even that there is one"
        assert (await anna.get(f"/v1/recordings/{name}/recording.json")).status_code == 404
        assert (await bert.get("/v1/recordings")).json() == []
        assert (await bert.delete(f"/v1/recordings/{name}")).status_code == 404
        assert (where / "audio.flac").is_file()
        async with house(server) as admin, httpx.AsyncClient(base_url=server.http) as nobody:
            assert name in [made["name"] for made in (await admin.get("/v1/recordings")).json()]
            assert (await admin.get(f"/v1/recordings/{name}/audio")).status_code == 200
            assert (await nobody.get("/v1/recordings")).status_code == 401
            assert (await nobody.delete(f"/v1/recordings/{name}")).status_code == 401

        assert (await anna.delete(f"/v1/recordings/{name}")).status_code == 204
        assert not where.exists()
        for part in PARTS:
            assert (await anna.get(f"/v1/recordings/{name}/{part}")).status_code == 404
        assert (await anna.get("/v1/recordings")).json() == []
        assert (await anna.delete(f"/v1/recordings/{name}")).status_code == 404


async def test_a_recording_deleted_while_it_is_made_stays_away(
    server: RunningServer, folder: Path, spoken: Spoken, monkeypatch: pytest.MonkeyPatch
):
    broken: list[object] = []
    monkeypatch.setattr(threading, "excepthook", broken.append)
    url = f"{server.ws}/v1/stream?record=true"
    async with (
        StreamClient(url, additional_headers=headers("anna")) as talk,
        client(server, "anna") as anna,
    ):
        await talk.ready()
        await talk.say(spoken.pcm("hello"))
        (made,) = (await anna.get("/v1/recordings")).json()
        assert (await anna.delete(f"/v1/recordings/{made['name']}")).status_code == 204
        await talk.say(spoken.pcm("hello"))  # the conversation goes on
        await talk.tell("close")
        assert await talk.closed() == 1000
        assert (await anna.get("/v1/recordings")).json() == []
    assert not (folder / "recordings" / made["name"]).exists()
    assert not [thread for thread in threading.enumerate() if thread.name == "coda-recording"]
    assert broken == []


async def test_who_deletes_twice_at_once_is_told_that_it_is_gone(
    server: RunningServer, folder: Path, spoken: Spoken, monkeypatch: pytest.MonkeyPatch
):
    name = await recorded(server, "gina", spoken)
    both, find = threading.Barrier(2), recordings._folder

    def find_together(*wanted: Any) -> Path:
        found = find(*wanted)
        both.wait(60)
        return found

    monkeypatch.setattr(recordings, "_folder", find_together)
    async with client(server, "gina") as gina:
        answers = await asyncio.gather(*(gina.delete(f"/v1/recordings/{name}") for _ in range(2)))
    assert sorted(answer.status_code for answer in answers) == [204, 404]
    assert not list((folder / "recordings").glob(f"{name}*"))


async def test_a_deletion_that_was_cut_off_is_finished_by_the_next_server(
    server: RunningServer, folder: Path, spoken: Spoken
):
    name = await recorded(server, "hana", spoken)
    kept = folder / "recordings" / name
    left = kept.rename(kept.with_name(f"{name}.deleted"))
    other = await recorded(server, "hana", spoken)
    places = {"server__recordings": str(folder / "recordings"), "moshi__device": "cpu"}
    create_app(VoiceConfig.load(env={}, **places))
    async with client(server, "hana") as hana:
        assert [one["name"] for one in (await hana.get("/v1/recordings")).json()] == [other]
    assert not left.exists()


async def test_many_recordings_come_page_by_page(
    server: RunningServer, folder: Path, spoken: Spoken
):
    made = [await recorded(server, "ines", spoken)]
    theirs = await recorded(server, "jan", spoken)
    for number in range(6):  # those of two, mixed
        name = f"20250101-00000{number}-00000000"
        whose = made[0] if number % 2 else theirs
        shutil.copytree(folder / "recordings" / whose, folder / "recordings" / name)
        made += [name] if number % 2 else []
    newest_first = sorted(made, reverse=True)
    async with client(server, "ines") as ines:
        first = await ines.get("/v1/recordings", params={"limit": 3})
        assert [one["name"] for one in first.json()] == newest_first[:3]
        gone = newest_first[2]
        assert (await ines.delete(f"/v1/recordings/{gone}")).status_code == 204
        rest = await ines.get(first.links["next"]["url"])  # goes on although that one is gone
        assert [one["name"] for one in rest.json()] == newest_first[3:]
        assert "next" not in rest.links
        all_of_it = await ines.get("/v1/recordings")
        assert [one["name"] for one in all_of_it.json()] == [n for n in newest_first if n != gone]
        assert "next" not in all_of_it.links
        for wrong in ({"limit": 0}, {"limit": 201}, {"before": "yesterday"}):
            refused = await ines.get("/v1/recordings", params=wrong)
            assert (refused.status_code, refused.json()["error"]["code"]) == (422, "bad_request")


async def test_a_name_leads_nowhere_else(server: RunningServer, folder: Path, spoken: Spoken):
    name = await recorded(server, "emil", spoken)
    outside = folder / "20200101-000000-0123abcd"  # beside the recordings: a perfect name
    inside = folder / "recordings"
    places = [outside, folder, inside, inside / "elsewhere"]
    about = {"name": "x", "conversation_id": "x", "user_id": "emil", "agreed": "x", "started": "x"}
    for place in places:
        place.mkdir(exist_ok=True)
        (place / "recording.json").write_text(json.dumps(about))
        (place / "events.jsonl").write_text("outside")
    names = [
        f"../{outside.name}", f"..%2f{outside.name}", f"%2e%2e%2f{outside.name}",
        f"%2e%2e/{outside.name}", f"..%5c{outside.name}", f"..%252f{outside.name}",
        f"{name}/../../{outside.name}", f"{name}%2f..%2f..%2f{outside.name}", str(outside),
        f"%2f{str(outside).lstrip('/')}", f"{name}%00", f"{name}%0a", f"{name}.",
        f"{name.upper()}x", "..", "%2e%2e", ".", "%2e", "elsewhere", "*", "", "secret",
        "..%2fsecret", "%ff",
    ]  # fmt: skip
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=120)

    def status(method: str, path: str) -> tuple[int, bytes]:
        connection.request(method, path, headers=headers("emil"))  # sent as it is
        answer = connection.getresponse()
        return answer.status, answer.read()

    for trick in names:
        code, body = status("GET", f"/v1/recordings/{trick}/events")
        assert code in (404, 422) and b"outside" not in body, trick
        code, _ = status("DELETE", f"/v1/recordings/{trick}")
        assert code in (404, 405, 422) or (trick == "" and code == 307), trick
    for part in ("../recording.json", "..%2frecording.json", "recording.json", "audio.flac", "%2e"):
        code, _ = status("GET", f"/v1/recordings/{name}/{part}")
        assert code in (404, 422), part
    connection.close()
    for place in places:
        assert (place / "events.jsonl").read_text() == "outside"
    assert (folder / "recordings" / name / "audio.flac").is_file()


async def test_memories_are_the_tokens_subjects_alone(server: RunningServer):
    async with client(server, "carl") as carl, client(server, "dora") as dora:
        kept = (await carl.post("/v1/memories", json={"text": "I have a dog called Rex."})).json()
        own = (await dora.post("/v1/memories", json={"text": "I have a cat called Tom."})).json()

        async def texts(http: httpx.AsyncClient, **query: str) -> set[str]:
            return {
                memory["text"] for memory in (await http.get("/v1/memories", params=query)).json()
            }

        assert await texts(carl) == {"I have a dog called Rex."}
        assert await texts(dora) == {"I have a cat called Tom."}
        assert await texts(dora, query="the dog called Rex") <= {"I have a cat called Tom."}
        for named in ({"user_id": "carl"}, {"subject": "carl"}):
            assert await texts(dora, **named) == {"I have a cat called Tom."}
        for nothing in ("", " ", "\x1d\x1d", "\x85\u2003"):
            assert (await dora.post("/v1/memories", json={"text": nothing})).status_code == 422
        claimed = await dora.post("/v1/memories", json={"text": "x", "user_id": "carl"})
        assert claimed.status_code == 422

        assert (await dora.delete(f"/v1/memories/{kept['id']}")).json().get("forgotten", 0) == 0
        assert await texts(carl) == {"I have a dog called Rex."}
        assert (await dora.delete("/v1/memories")).json()["forgotten"] >= 1
        assert await texts(dora) == set() and await texts(carl) == {"I have a dog called Rex."}
        assert own["id"] != kept["id"]

        async with client(server, "carl", scope="talk") as talker:
            for answer in (
                await talker.get("/v1/memories"),
                await talker.post("/v1/memories", json={"text": "x"}),
                await talker.delete("/v1/memories"),
            ):
                assert answer.status_code == 403
        async with house(server) as admin:  # an admin steers, and reads nobody's memories
            assert await texts(admin) == set()
        assert await texts(carl) == {"I have a dog called Rex."}
