"""The REST interface keeps what its OpenAPI document promises: right, wrong and unknown callers."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import schemathesis
import yaml
from hypothesis import HealthCheck, given, settings
from schemathesis import GenerationMode

from tests.integration.voice_server import RunningServer, StreamClient, voice_server

ADMIN, NOBODY = "key-of-the-house-0123", "key-without-a-scope-0123"
PAGES = ("/", "/v1/events")
"""One is HTML, one never ends."""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    with voice_server(
        integration__memory_store=str(tmp_path_factory.mktemp("memories")),
        server__recordings=str(tmp_path_factory.mktemp("recordings")),
        server__connects_per_second=100_000,
    ) as running:
        yield running


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    folder: Path = tmp_path_factory.mktemp("keys")
    keys = [
        {"key": ADMIN, "subject": "house", "scopes": ["admin"]},
        {"key": NOBODY, "subject": "nobody", "scopes": []},
    ]
    (folder / "keys.yaml").write_text(yaml.safe_dump(keys))
    with voice_server(
        server__keys_file=str(folder / "keys.yaml"),
        integration__memory_store=str(folder / "memories"),
        server__recordings=str(folder / "recordings"),
        server__connects_per_second=100_000,
    ) as running:
        yield running


def operations(server: RunningServer) -> list[Any]:
    schema = schemathesis.openapi.from_url(f"{server.http}/openapi.json")
    for path in PAGES:
        schema = schema.exclude(path=path)
    found = [operation.ok() for operation in schema.get_all_operations()]
    assert {operation.path for operation in found} >= {
        "/v1/recordings", "/v1/recordings/{name}", "/v1/recordings/{name}/{part}",
        "/v1/memories", "/v1/config", "/v1/conversations", "/metrics",
    }  # fmt: skip
    return found


def try_out(
    operation: Any,
    mode: GenerationMode,
    examples: int,
    check: Callable[[schemathesis.Case], None],
) -> None:
    few = settings(
        max_examples=examples,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    few(given(operation.as_strategy(generation_mode=mode))(check))()


def takes_something(operation: Any) -> bool:
    """Whether there is anything to get wrong."""
    return bool(operation.body or operation.query or operation.path_parameters)


@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE])
def test_what_it_promises_to_right_and_to_wrong_requests(
    server: RunningServer, mode: GenerationMode
):
    before = httpx.get(f"{server.http}/v1/config").json()["settings"]["server"]
    statuses: set[int] = set()

    def check(case: schemathesis.Case) -> None:
        answer = case.call()
        statuses.add(answer.status_code)
        case.validate_response(answer)

    for operation in operations(server):
        if mode is GenerationMode.POSITIVE or takes_something(operation):
            try_out(operation, mode, 25, check)
            server.front.change_limits(before)  # whatever it found out that can be changed
    assert max(statuses) < 500
    assert statuses >= ({422} if mode is GenerationMode.NEGATIVE else {200, 201, 404})


def refused_with(status: int, headers: dict[str, str]) -> Callable[[schemathesis.Case], None]:
    def check(case: schemathesis.Case) -> None:
        answer = case.call(headers=headers)
        assert answer.status_code == status, answer.text
        case.validate_response(answer)

    return check


def test_strangers_and_those_without_the_scope_are_refused_as_it_says(guarded: RunningServer):
    wanting_a_login = [o for o in operations(guarded) if o.definition.raw.get("security")]
    assert len(wanting_a_login) > 15
    for operation in wanting_a_login:
        for headers, status in (
            ({}, 401),
            ({"Authorization": "Bearer of-nobody-at-all"}, 401),
            ({"Authorization": f"Bearer {NOBODY}"}, 403),
        ):
            try_out(operation, GenerationMode.POSITIVE, 3, refused_with(status, headers))


def test_the_keeper_of_the_house_may_do_all_of_it(guarded: RunningServer):
    before = guarded.front.settings.model_dump()

    def check(case: schemathesis.Case) -> None:
        answer = case.call(headers={"Authorization": f"Bearer {ADMIN}"})
        assert answer.status_code not in (401, 403), answer.text
        case.validate_response(answer)

    for operation in operations(guarded):
        try_out(operation, GenerationMode.POSITIVE, 3, check)
        guarded.front.change_limits(before)


def test_the_document_says_which_scope_is_needed(server: RunningServer, guarded: RunningServer):
    document = httpx.get(f"{guarded.http}/openapi.json").json()
    schemes = document["components"]["securitySchemes"]
    assert (schemes["token"]["type"], schemes["token"]["scheme"]) == ("http", "bearer")
    assert (schemes["key"]["in"], schemes["key"]["name"]) == ("header", "X-Api-Key")
    needs = {
        f"{method} {path}": operation.get("security")
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    }
    assert [path for path, need in needs.items() if not need] == ["get /health", "get /health/live"]
    assert needs["get /v1/memories"] == [{"token": ["memory"]}, {"key": ["memory"]}]
    assert needs["patch /v1/config"] == [{"token": ["admin"]}, {"key": ["admin"]}]
    anybody = httpx.get(f"{server.http}/openapi.json").json()["paths"]["/v1/memories"]["get"]
    assert anybody["security"][0] == {}, "nobody has to log in where nobody can"


def test_a_way_that_there_is_not_is_refused_like_the_rest(server: RunningServer):
    nowhere = httpx.get(f"{server.http}/v1/nowhere")
    assert (nowhere.status_code, nowhere.json()["error"]["code"]) == (404, "not_found")
    wrong = httpx.put(f"{server.http}/v1/memories")
    assert (wrong.status_code, wrong.json()["error"]["code"]) == (405, "method_not_allowed")
    assert "GET" in wrong.headers["allow"]


async def test_a_recording_is_given_as_the_document_says(server: RunningServer):
    async with StreamClient(f"{server.ws}/v1/stream?record=true") as client:
        await client.ready()
        await client.frame()
        await client.tell("close")
        await client.closed()
    routes = {(o.method.upper(), o.path): o for o in operations(server)}

    def ask(method: str, path: str, **parameters: str) -> httpx.Response:
        case = routes[method, f"/v1/recordings{path}"].Case(path_parameters=parameters)
        answer = case.call()
        case.validate_response(answer)
        return answer

    def all_of_it() -> None:
        (recording,) = ask("GET", "").json()
        for part in ("audio", "events", "words"):
            assert (
                ask("GET", "/{name}/{part}", name=recording["name"], part=part).status_code == 200
            )
        name = recording["name"]
        assert ask("GET", "/{name}/{part}", name=name, part="secrets").status_code == 404
        assert ask("DELETE", "/{name}", name=name).status_code == 204
        assert ask("DELETE", "/{name}", name=name).status_code == 404

    async with asyncio.timeout(60):
        while not (await asyncio.to_thread(ask, "GET", "")).json():
            pass  # its last words are being written
    await asyncio.to_thread(all_of_it)
