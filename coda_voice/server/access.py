"""Who is calling, and what they may do: API keys, signed tokens, or anybody on this machine.

Without keys and tokens the server is open, and then refuses to listen on anything but a
loopback address unless it is told to. Tokens are JWT, signed by HS256 with a shared secret or
by RS256 with a key from a JWKS; each algorithm has its own key, so neither can pose as the
other, and ``alg: none`` is nobody's. They must say ``sub`` and ``exp``; ``scope`` (words in
one text) or ``scopes`` (a list) default to ``talk memory``.
"""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import jwt
import yaml
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from coda_voice.config.server import ServerConfig
from coda_voice.errors import AccessError, ConfigurationError
from coda_voice.server.published_keys import PublishedKeys

Scope = Literal["talk", "memory", "events", "admin"]
"""talk: hold conversations; memory: read and change one's own; events: of all conversations;
admin: everything, of everybody."""
SCOPES: frozenset[str] = frozenset(get_args(Scope))
USUAL_SCOPES = frozenset({"talk", "memory"})
LOCAL_SUBJECT = "local"
"""Whose memories they are where nobody has to say who they are."""
SHORTEST_SECRET = 32
"""Bytes of an HS256 secret (RFC 7518, section 3.2)."""
BEARER_PROTOCOL = "coda.bearer."
OUR_PROTOCOL = "coda.v1"


@dataclass(frozen=True, slots=True)
class Caller:
    """Somebody who was let in. ``expires``: Unix time at which their token ends."""

    subject: str
    scopes: frozenset[str]
    conversations: int | None = None
    """At once; None for no limit of their own."""
    expires: float | None = None
    subprotocol: str | None = None
    """To accept the WebSocket with."""

    def may(self, scope: Scope) -> bool:
        """Whether they have the scope."""
        return scope in self.scopes or "admin" in self.scopes

    @property
    def seconds_left(self) -> float | None:
        """For so long their token holds; None where it has no end."""
        return None if self.expires is None else max(0.0, self.expires - time.time())

    def require(self, scope: Scope, instead: Scope | None = None) -> None:
        """Raise AccessError if they lack the scope, and the one that would do ``instead``."""
        if not (self.may(scope) or (instead is not None and self.may(instead))):
            raise AccessError(
                f"This needs the scope {scope!r}; ask for a key or token that has it.",
                "scope_missing",
                scope=scope,
            )


class _Key(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    key: str | None = Field(default=None, min_length=16)
    key_sha256: str | None = Field(default=None, pattern=r"^[0-9a-f]{64}$")
    subject: str = Field(min_length=1, max_length=256)
    scopes: frozenset[Scope] = frozenset({"talk", "memory"})
    conversations: int | None = Field(default=None, ge=1)

    def digest(self) -> str:
        return self.key_sha256 or hashlib.sha256((self.key or "").encode()).hexdigest()


class Access:
    """Turns what a request shows into a Caller.

    Raises ConfigurationError for files that cannot be read, and for a server that would be
    open to the network without anybody having said so.
    """

    def __init__(self, settings: ServerConfig) -> None:
        self._settings = settings
        self._keys = _read_keys(settings.keys_file)
        self._secret = _read_secret(settings.jwt_secret_file)
        self._jwks = _open_jwks(settings.jwks_url)
        self.open = not (self._keys or self._secret or self._jwks)
        if self.open and not settings.allow_anonymous and not is_loopback(settings.host):
            raise ConfigurationError(
                f"The server would be open to everybody who can reach {settings.host}. Set "
                "server.keys_file, server.jwt_secret_file or server.jwks_url, listen on "
                "127.0.0.1, or say server.allow_anonymous: true.",
                "open_to_the_network",
                host=settings.host,
            )

    async def caller(self, token: str | None) -> Caller:
        """Give who shows ``token``. Raises AccessError, also where that cannot be found out now."""
        if token is None:
            if self.open:
                return Caller(LOCAL_SUBJECT, SCOPES)
            raise AccessError(
                "This server wants an API key or a token: Authorization: Bearer …", "token_missing"
            )
        if self.open:
            return Caller(LOCAL_SUBJECT, SCOPES)  # nothing here could tell a good token from a bad
        digest = hashlib.sha256(token.encode("utf-8", "replace")).hexdigest()
        for key in self._keys:
            if hmac.compare_digest(key.digest(), digest):
                return Caller(key.subject, frozenset(key.scopes), key.conversations)
        return await self._by_token(token)

    async def _by_token(self, token: str) -> Caller:
        try:
            algorithm = jwt.get_unverified_header(token).get("alg")
            verification_key = await self._key_for(algorithm, token)
            claims = jwt.decode(
                token,
                verification_key,
                algorithms=[str(algorithm)],
                audience=self._settings.jwt_audience,
                issuer=self._settings.jwt_issuer,
                leeway=10,
                options={
                    "require": ["exp", "sub"],
                    "verify_aud": self._settings.jwt_audience is not None,
                },
            )
        except jwt.ExpiredSignatureError as error:
            raise AccessError("The token has expired; get a new one.", "token_expired") from error
        except (jwt.PyJWTError, ValueError, UnicodeError) as error:
            raise AccessError("The key or token is not valid here.", "token_invalid") from error
        return _caller_of(claims)

    async def _key_for(self, algorithm: object, token: str) -> str | jwt.PyJWK:
        if algorithm == "HS256" and self._secret is not None:
            return self._secret
        wanted = jwt.get_unverified_header(token).get("kid")
        if algorithm == "RS256" and isinstance(self._jwks, PublishedKeys):
            return await self._jwks.key(wanted)
        if algorithm == "RS256" and isinstance(self._jwks, jwt.PyJWKSet):
            for key in self._jwks.keys:
                if wanted is None or key.key_id == wanted:
                    return key
        raise jwt.InvalidAlgorithmError("no key here for this algorithm")


def token_ended() -> AccessError:
    """Say that the token with which a connection was opened holds no longer."""
    return AccessError("Your token has expired; connect with a new one.", "token_expired")


def may_touch(caller: Caller, subject: str) -> bool:
    """Whether ``caller`` may see and change what belongs to ``subject``."""
    return caller.subject == subject or "admin" in caller.scopes


def token_of(headers: Mapping[str, str], subprotocols: Sequence[str] = ()) -> str | None:
    """Give the token that a request shows, if any: by header, or as an offered subprotocol.

    OpenAI's clients in browsers use a subprotocol of their own name for it. Raises
    AccessError for an Authorization header that is no Bearer.
    """
    authorization = headers.get("authorization")
    if authorization is not None:
        scheme, _, token = authorization.partition(" ")
        if scheme.lower() != "bearer" or not token.strip():
            raise AccessError("Authorization must be: Bearer TOKEN.", "token_invalid")
        return token.strip()
    key = headers.get("x-api-key") or headers.get("kyutai-api-key")
    if key:
        return key
    for prefix in (BEARER_PROTOCOL, "openai-insecure-api-key."):
        for offered in subprotocols:
            if offered.startswith(prefix):
                return offered.removeprefix(prefix)
    return None


def chosen_protocol(offered: Sequence[str], known: Sequence[str] = (OUR_PROTOCOL,)) -> str | None:
    """Give the subprotocol to accept with: only ever one that was offered, never a token."""
    return next((name for name in known if name in offered), None)


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach ``host``."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def _caller_of(claims: Mapping[str, object]) -> Caller:
    subject, expires = claims.get("sub"), claims.get("exp")
    if not isinstance(subject, str) or not subject or len(subject) > 256:
        raise AccessError("The token's sub names nobody.", "token_invalid")
    scope, scopes = claims.get("scope"), claims.get("scopes")
    if isinstance(scope, str):
        granted = frozenset(scope.split()) & SCOPES
    elif isinstance(scopes, list):
        granted = frozenset(s for s in scopes if isinstance(s, str)) & SCOPES
    else:
        granted = USUAL_SCOPES
    return Caller(
        subject,
        granted,
        _share_of(claims.get("conversations")),
        float(expires) if isinstance(expires, (int, float)) else None,
    )


def _share_of(claim: object) -> int | None:
    """Read how many conversations a token may hold; what is no number must not mean no limit."""
    if claim is None:
        return None
    if not isinstance(claim, int) or isinstance(claim, bool) or claim < 1:
        raise AccessError(
            "The token's conversations must be a whole number, 1 or more.", "token_invalid"
        )
    return claim


def _read_keys(path: str | None) -> tuple[_Key, ...]:
    if path is None:
        return ()
    try:
        written = yaml.safe_load(read_text(path, "keys_file"))
        keys = TypeAdapter(tuple[_Key, ...]).validate_python(written)
    except (yaml.YAMLError, ValidationError) as error:
        raise ConfigurationError(
            f"server.keys_file {path} is no list of keys. Each needs subject, and key (16 "
            "characters at least) or key_sha256; scopes and conversations if you like.",
            "bad_keys_file",
            path=path,
        ) from error
    if not keys or any((k.key is None) == (k.key_sha256 is None) for k in keys):
        raise ConfigurationError(
            f"server.keys_file {path}: each entry needs either key or key_sha256, and there must "
            "be at least one.",
            "bad_keys_file",
            path=path,
        )
    return keys


def _read_secret(path: str | None) -> str | None:
    if path is None:
        return None
    secret = read_text(path, "jwt_secret_file").strip()
    if len(secret.encode()) < SHORTEST_SECRET:
        raise ConfigurationError(
            f"The secret in server.jwt_secret_file {path} is too short to be safe: "
            f"{SHORTEST_SECRET} bytes at least (openssl rand -hex 32).",
            "weak_secret",
            path=path,
        )
    return secret


def _open_jwks(where: str | None) -> PublishedKeys | jwt.PyJWKSet | None:
    if where is None:
        return None
    if where.startswith("https://"):
        return PublishedKeys(where)
    if "://" in where:
        raise ConfigurationError(
            f"server.jwks_url is {where!r}; give an https address or a file: keys that come over "
            "http could be anybody's.",
            "bad_jwks_url",
        )
    try:
        return jwt.PyJWKSet.from_dict(json.loads(read_text(where, "jwks_url")))
    except (ValueError, jwt.PyJWTError) as error:
        raise ConfigurationError(
            f"server.jwks_url {where} is no JWKS: {error}.", "bad_jwks_file", path=where
        ) from error


def read_text(path: str, setting: str) -> str:
    try:
        return Path(path).expanduser().read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(
            f"server.{setting} {path} cannot be read: {error}.", "cannot_read", path=path
        ) from error
