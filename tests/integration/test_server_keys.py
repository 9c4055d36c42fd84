"""Tokens whose keys an identity provider publishes, when that is away or answers rubbish."""

from __future__ import annotations

import json
import logging
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from coda_voice.config.server import ServerConfig
from coda_voice.errors import AccessError
from coda_voice.server.access import Access
from coda_voice.server.published_keys import (
    AGAIN_SECONDS,
    FRESH_SECONDS,
    KEPT_SECONDS,
    NEW_KEY_SECONDS,
    PublishedKeys,
)
from tests.integration.test_server_tls import self_signed
from tests.integration.voice_server import StreamClient, voice_server

AWAY = (503, b"")


class Provider:
    """An identity provider: signs tokens, and publishes its keys, or answers something else."""

    def __init__(self) -> None:
        self.port = 0
        self.asked = 0
        self.answer = AWAY
        self._private: dict[str, rsa.RSAPrivateKey] = {}

    @property
    def address(self) -> str:
        return f"https://127.0.0.1:{self.port}/keys"

    def publish(self, *names: str) -> None:
        for name in names:
            if name not in self._private:
                self._private[name] = rsa.generate_private_key(
                    public_exponent=65_537, key_size=2_048
                )
        keys = [
            {
                **jwt.algorithms.RSAAlgorithm.to_jwk(self._private[name].public_key(), True),
                "kid": name,
            }
            for name in names
        ]
        self.answer = (200, json.dumps({"keys": keys}).encode())

    def token(self, name: str) -> str:
        claims = {"sub": "clara", "exp": int(time.time()) + 600}
        return jwt.encode(claims, self._private[name], "RS256", headers={"kid": name})


@contextmanager
def _listening(provider: Provider, certificate: Path, key: Path) -> Iterator[Provider]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            provider.asked += 1
            status, body = provider.answer
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *rest: object) -> None:
            pass

    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificate, key)
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
        provider.port = server.server_address[1]
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield provider
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture
def provider(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Provider]:
    certificate, key = self_signed(tmp_path, "provider")
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    with _listening(Provider(), certificate, key) as running:
        yield running


class Clock:
    now = 1_000.0

    def __call__(self) -> float:
        return self.now


def access_by(provider: Provider, clock: Clock) -> Access:
    access = Access(ServerConfig(jwks_url=provider.address))
    access._jwks = PublishedKeys(provider.address, clock)
    return access


async def refused(access: Access, token: str) -> str:
    with pytest.raises(AccessError) as error:
        await access.caller(token)
    return error.value.error_code


async def test_who_cannot_be_known_now_is_asked_to_come_again(provider: Provider):
    provider.publish("one")
    token = provider.token("one")
    provider.answer = AWAY
    headers = {"Authorization": f"Bearer {token}"}
    with voice_server(server__jwks_url=provider.address) as server:
        async with httpx.AsyncClient(base_url=server.http, timeout=60) as http:
            answer = await http.get("/v1/conversations", headers=headers)
            assert answer.status_code == 503
            assert answer.json()["error"]["code"] == "keys_unavailable"
            assert "try again" in answer.json()["error"]["message"]
            assert float(answer.headers["Retry-After"]) == AGAIN_SECONDS
            assert "WWW-Authenticate" not in answer.headers
            stranger = {"Authorization": "Bearer what-is-no-token"}
            assert (await http.get("/v1/conversations", headers=stranger)).status_code == 401
        with pytest.raises(InvalidStatus) as error:
            await connect(f"{server.ws}/v1/stream", additional_headers=headers)
        response = error.value.response
        assert response.status_code == 503 and b"keys_unavailable" in (response.body or b"")
        assert float(response.headers["Retry-After"]) == AGAIN_SECONDS


async def test_one_who_comes_when_the_keys_are_there_is_let_in(provider: Provider):
    provider.publish("one")
    headers = {"Authorization": f"Bearer {provider.token('one')}"}
    with voice_server(server__jwks_url=provider.address) as server:
        async with StreamClient(f"{server.ws}/v1/stream", additional_headers=headers) as client:
            await client.ready()
            await client.tell("close")
            assert await client.closed() == 1000


@pytest.mark.parametrize(
    "rubbish",
    [
        b"",
        b"\xff\xfe",
        b"<html>Down for maintenance</html>",
        b"[]",
        b"{}",
        b"[" * 100_000,
        b'{"keys": "none"}',
        b'{"keys": [{"kty": "RSA", "n": 5, "e": "AQAB", "kid": ["one"]}]}',
    ],
)
async def test_rubbish_is_no_verdict_on_a_token(provider: Provider, rubbish: bytes):
    clock = Clock()
    access = access_by(provider, clock)
    provider.publish("one")
    published, token = provider.answer, provider.token("one")
    provider.answer = (200, rubbish)
    assert await refused(access, token) == "keys_unavailable"
    provider.answer = published
    assert await refused(access, token) == "keys_unavailable"
    assert provider.asked == 1, "not for every caller"
    clock.now += AGAIN_SECONDS
    assert (await access.caller(token)).subject == "clara"


async def test_known_keys_serve_while_newer_cannot_be_had_but_not_for_ever(
    provider: Provider, caplog: pytest.LogCaptureFixture
):
    clock = Clock()
    access = access_by(provider, clock)
    strangers = Provider()
    strangers.publish("three")
    provider.publish("one", "two")
    published = provider.answer
    assert (await access.caller(provider.token("one"))).subject == "clara"
    provider.answer = AWAY
    with caplog.at_level(logging.WARNING, "coda_voice"):
        clock.now += FRESH_SECONDS + 1
        for failures in (1, 2, 3):
            assert (await access.caller(provider.token("two"))).subject == "clara"
            assert await refused(access, strangers.token("three")) == "keys_unavailable"
            assert provider.asked == 1 + failures, "not at every call"
            clock.now += AGAIN_SECONDS
    assert len(caplog.records) == 1 and "cannot be had" in caplog.text
    clock.now += KEPT_SECONDS
    assert await refused(access, provider.token("one")) == "keys_unavailable"
    provider.answer = published
    clock.now += AGAIN_SECONDS
    assert (await access.caller(provider.token("one"))).subject == "clara"


async def test_a_key_that_is_taken_back_is_none_any_more(provider: Provider):
    clock = Clock()
    access = access_by(provider, clock)
    provider.publish("one", "two")
    assert (await access.caller(provider.token("one"))).subject == "clara"
    provider.publish("two")
    clock.now += FRESH_SECONDS + 1
    assert await refused(access, provider.token("one")) == "token_invalid"


async def test_a_new_key_is_asked_for_and_one_that_is_none_not_at_every_call(provider: Provider):
    clock = Clock()
    access = access_by(provider, clock)
    provider.publish("one")
    await access.caller(provider.token("one"))
    provider.publish("one", "two")
    assert await refused(access, provider.token("two")) == "token_invalid"
    clock.now += NEW_KEY_SECONDS + 1
    assert (await access.caller(provider.token("two"))).subject == "clara"
    asked = provider.asked
    strangers = Provider()
    strangers.publish("three")
    for _ in range(3):
        assert await refused(access, strangers.token("three")) == "token_invalid"
    assert provider.asked == asked
    provider.answer = AWAY
    clock.now += NEW_KEY_SECONDS + 1
    assert await refused(access, strangers.token("three")) == "keys_unavailable", "it may be new"
    assert (await access.caller(provider.token("one"))).subject == "clara"
