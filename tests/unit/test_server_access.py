"""Who is let in: keys, tokens of both kinds, forgeries, and a server that would be open."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from pathlib import Path
from typing import Any

import jwt
import pytest
import yaml
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from coda_voice.config.server import ServerConfig
from coda_voice.errors import AccessError, ConfigurationError
from coda_voice.server.access import Access, chosen_protocol, token_of

SECRET = "a secret of the tests, long enough for HS256"
KEY = "key-of-anna-0123456789"


def in_an_hour() -> int:
    return int(time.time()) + 3_600


@pytest.fixture(scope="module")
def private_key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65_537, key_size=2_048)


@pytest.fixture
def access(tmp_path: Path, private_key: rsa.RSAPrivateKey) -> Access:
    secret, keys, jwks = tmp_path / "secret", tmp_path / "keys.yaml", tmp_path / "jwks.json"
    secret.write_text(SECRET + "\n")
    hashed = hashlib.sha256(b"key-of-bert-0123456789").hexdigest()
    keys.write_text(
        yaml.safe_dump(
            [
                {"key": KEY, "subject": "anna", "scopes": ["talk"], "conversations": 2},
                {"key_sha256": hashed, "subject": "bert", "scopes": ["admin"]},
            ]
        )
    )
    public = json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(private_key.public_key()))
    jwks.write_text(json.dumps({"keys": [{**public, "kid": "one", "alg": "RS256", "use": "sig"}]}))
    return Access(
        ServerConfig(
            host="0.0.0.0",
            keys_file=str(keys),
            jwt_secret_file=str(secret),
            jwks_url=str(jwks),
            jwt_audience="coda",
        )
    )


def claims(**more: Any) -> dict[str, Any]:
    return {"sub": "clara", "exp": in_an_hour(), "aud": "coda", **more}


async def refused(access: Access, token: str | None) -> str:
    with pytest.raises(AccessError) as error:
        await access.caller(token)
    return error.value.error_code


async def test_keys(access: Access):
    anna = await access.caller(KEY)
    assert (anna.subject, anna.conversations) == ("anna", 2)
    assert anna.may("talk") and not anna.may("memory") and not anna.may("admin")
    with pytest.raises(AccessError, match="scope 'memory'"):
        anna.require("memory")
    bert = await access.caller("key-of-bert-0123456789")
    assert bert.subject == "bert" and bert.may("events")
    assert await refused(access, KEY[:-1]) == "token_invalid"
    assert await refused(access, None) == "token_missing"


async def test_a_token_signed_with_the_secret(access: Access):
    caller = await access.caller(
        jwt.encode(claims(scope="talk events nonsense", conversations=3), SECRET, "HS256")
    )
    assert caller.subject == "clara" and caller.conversations == 3
    assert caller.scopes == {"talk", "events"}
    assert caller.expires == pytest.approx(in_an_hour(), abs=5)
    usual = await access.caller(jwt.encode(claims(), SECRET, "HS256"))
    assert usual.scopes == {"talk", "memory"}


@pytest.mark.parametrize("share", [0, -1, True, 1.5, "2"])
async def test_a_share_that_is_none_is_not_taken_for_no_limit(access: Access, share: object):
    token = jwt.encode(claims(conversations=share), SECRET, "HS256")
    assert await refused(access, token) == "token_invalid"
    unlimited = await access.caller(jwt.encode(claims(conversations=None), SECRET, "HS256"))
    assert unlimited.conversations is None


async def test_a_token_signed_with_a_published_key(access: Access, private_key: rsa.RSAPrivateKey):
    token = jwt.encode(claims(scopes=["memory"]), private_key, "RS256", headers={"kid": "one"})
    caller = await access.caller(token)
    assert caller.subject == "clara" and caller.scopes == {"memory"}
    other = jwt.encode(claims(), private_key, "RS256", headers={"kid": "two"})
    assert await refused(access, other) == "token_invalid"


async def test_forgeries(access: Access, private_key: rsa.RSAPrivateKey):
    def part(content: dict[str, Any]) -> str:
        return base64.urlsafe_b64encode(json.dumps(content).encode()).rstrip(b"=").decode()

    unsigned = f"{part({'alg': 'none', 'typ': 'JWT'})}.{part(claims(sub='admin'))}."
    good = jwt.encode(claims(), SECRET, "HS256")
    head, _, signature = good.split(".")
    public = private_key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    signing = f"{part({'alg': 'HS256', 'kid': 'one'})}.{part(claims())}"
    digest = hmac.digest(public, signing.encode(), "sha256")
    mac = base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
    stranger = rsa.generate_private_key(public_exponent=65_537, key_size=2_048)
    forged = {
        "alg none": unsigned,
        "another's id": f"{head}.{part(claims(sub='anna'))}.{signature}",
        "another secret": jwt.encode(claims(), "x" * 40, "HS256"),
        "the public key as a secret": f"{signing}.{mac}",
        "another private key": jwt.encode(claims(), stranger, "RS256", headers={"kid": "one"}),
        "HS512": jwt.encode(claims(), SECRET * 2, "HS512"),
        "another audience": jwt.encode(claims(aud="else"), SECRET, "HS256"),
        "no audience": jwt.encode({"sub": "a", "exp": in_an_hour()}, SECRET, "HS256"),
        "no expiry": jwt.encode({"sub": "clara", "aud": "coda"}, SECRET, "HS256"),
        "nobody": jwt.encode(claims(sub=""), SECRET, "HS256"),
        "no token at all": "ß" * 100,
        "dots": "..",
    }
    for name, token in forged.items():
        assert await refused(access, token) == "token_invalid", name
    old = jwt.encode(claims(exp=int(time.time()) - 60), SECRET, "HS256")
    assert await refused(access, old) == "token_expired"


def test_where_a_token_is_looked_for():
    assert token_of({"authorization": "Bearer abc"}) == "abc"
    assert token_of({"x-api-key": "abc"}) == "abc"
    assert token_of({}, ["coda.v1", "coda.bearer.abc"]) == "abc"
    assert token_of({}, ["realtime", "openai-insecure-api-key.abc"]) == "abc"
    assert token_of({}) is None
    with pytest.raises(AccessError):
        token_of({"authorization": "Basic abc"})
    assert chosen_protocol(["coda.bearer.abc", "coda.v1"]) == "coda.v1"
    assert chosen_protocol(["coda.bearer.abc"]) is None, "a token is never sent back"


def test_a_server_is_not_open_to_the_network_by_accident(tmp_path: Path):
    for host in ("0.0.0.0", "::", "192.168.1.5", "example.org"):
        with pytest.raises(ConfigurationError, match="allow_anonymous"):
            Access(ServerConfig(host=host))
        assert Access(ServerConfig(host=host, allow_anonymous=True)).open
    for host in ("127.0.0.1", "127.3.2.1", "::1", "localhost"):
        assert Access(ServerConfig(host=host)).open


@pytest.mark.parametrize(
    ("setting", "content", "says"),
    [
        ("keys_file", "- subject: anna", "either key or key_sha256"),
        ("keys_file", "[]", "at least one"),
        ("keys_file", "a: [", "no list of keys"),
        ("keys_file", "- {key: short, subject: anna}", "no list of keys"),
        ("jwt_secret_file", "short", "too short"),
        ("jwks_url", "{}", "no JWKS"),
    ],
)
def test_files_that_are_wrong_are_said_at_the_start(
    tmp_path: Path, setting: str, content: str, says: str
):
    path = tmp_path / "file"
    path.write_text(content)
    with pytest.raises(ConfigurationError, match=says):
        Access(ServerConfig.model_validate({setting: str(path)}))


def test_keys_over_http_are_refused():
    with pytest.raises(ConfigurationError, match="https"):
        Access(ServerConfig(jwks_url="http://example.org/jwks"))
    with pytest.raises(ConfigurationError, match="cannot be read"):
        Access(ServerConfig(keys_file="/nowhere/keys.yaml"))
