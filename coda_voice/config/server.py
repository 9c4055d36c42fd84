"""Settings of ``coda-voice serve``: where it listens, whom it lets in, and its limits."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field


def _path(value: object) -> object:
    return os.fspath(value) if isinstance(value, Path) else value


def _several(value: object) -> object:
    """Take ``a, b`` or a list of texts as one text: settings are single values."""
    if isinstance(value, (list, tuple)) and all(isinstance(v, str) for v in value):
        return ", ".join(value)
    return value


FilePath = Annotated[str | None, BeforeValidator(_path)]
Several = Annotated[str, BeforeValidator(_several)]
Seconds = Annotated[float, Field(gt=0, le=86_400), BeforeValidator(lambda v: _as_float(v))]


def _public(value: str | None) -> str | None:
    """Refuse what is no whole address: Twilio would be sent nowhere, and never be believed."""
    if value is None:
        return None
    try:
        address = urlsplit(value)
        whole = address.scheme in ("http", "https") and bool(address.hostname)
    except ValueError:
        whole = False
    if not whole:
        raise ValueError("must be a whole address, such as https://voice.example.org")
    return value


PublicUrl = Annotated[str | None, AfterValidator(_public)]


def _as_float(value: object) -> object:
    return float(value) if isinstance(value, int) and not isinstance(value, bool) else value


class ServerConfig(BaseModel):
    """Where the server listens, whom it lets in, and how much of it one of them may use."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    host: str = Field(default="127.0.0.1", min_length=1)
    port: int = Field(default=8998, ge=0, le=65_535)
    """0 takes any free port."""
    tls_certificate: FilePath = None
    """PEM file; with ``tls_key`` the server speaks https and wss."""
    tls_key: FilePath = None
    keys_file: FilePath = None
    """YAML file of API keys, each with a subject, scopes and limits."""
    jwt_secret_file: FilePath = None
    """File with the secret that signs tokens (HS256)."""
    jwks_url: str | None = None
    """Where the public keys of signed tokens (RS256) are; an https address or a file."""
    jwt_audience: str | None = None
    jwt_issuer: str | None = None
    allow_anonymous: bool = False
    """Listen on other than loopback addresses although nobody has to show a token."""
    allowed_origins: Several = ""
    """Pages that may connect besides our own (``https://example.org``); several with commas."""
    allowed_hosts: Several = ""
    """Names by which the server is reached besides the loopback's; several with commas."""
    proxies: Several = ""
    """Addresses or networks of proxies whose X-Forwarded-For is believed; several with commas."""
    voices: FilePath = None
    """Folder of voice samples that clients may choose from by name."""
    recordings: FilePath = None
    """Folder for recordings of conversations whose users asked for it; empty: none are made."""
    traces: str | None = None
    """OTLP collector that gets traces of conversations (``http://127.0.0.1:4318``)."""
    twilio_token_file: FilePath = None
    """File with Twilio's auth token: its calls are answered, when signed with it."""
    public_url: PublicUrl = None
    """What the world calls the server (``https://voice.example.org``), behind a proxy."""
    waiting: int = Field(default=8, ge=0, le=1_000)
    """Clients that may wait in line for a slot."""
    wait_seconds: Seconds = 60.0
    idle_seconds: Seconds = 60.0
    """A conversation that gets no audio for so long is ended; not those of OpenAI's and telephones'
    protocols, whose clients may send nothing for a while."""
    silent_call_seconds: Seconds = 180.0
    """A telephone call of which no sound at all has come for so long is ended."""
    longest_seconds: Seconds | None = None
    """A connection's longest life; empty: no limit."""
    resume_seconds: Seconds = 30.0
    """For so long a conversation waits for a client that lost its connection."""
    drain_seconds: Seconds = 30.0
    """For so long conversations may go on after SIGTERM."""
    message_kb: int = Field(default=1_024, ge=16, le=65_536)
    """The biggest message, in KiB."""
    body_kb: int = Field(default=256, ge=16, le=65_536)
    """The biggest body of an HTTP request, in KiB."""
    messages_per_second: int = Field(default=200, ge=10, le=100_000)
    connections_per_address: int = Field(default=64, ge=1, le=100_000)
    connects_per_second: int = Field(default=50, ge=1, le=100_000)
    """New connections a second from one address."""
    events_kept: int = Field(default=10_000, ge=0, le=1_000_000)
    """Events kept for those who come back to ``/v1/events``."""
