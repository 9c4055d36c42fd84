"""What OpenAI's Realtime and Live messages share: ids, reading a client's event, base64 audio.

Pure: no sockets, no state.
"""

from __future__ import annotations

import base64
import binascii
import uuid
from collections.abc import Callable, Mapping
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from coda_voice.json_text import read_json

MAX_MESSAGE_BYTES = 20 * 1024 * 1024
"""OpenAI allows 15 MiB of audio in one append; as base64 that is 20 MiB."""

Message = dict[str, object]
Event = TypeVar("Event", bound=BaseModel)


class MessageError(Exception):
    """The client sent what cannot be understood or done; told in an ``error`` event.

    ``code`` and ``param`` are OpenAI's names; ``event_id`` is the client's, where known.
    """

    def __init__(
        self,
        message: str,
        code: str = "invalid_value",
        *,
        param: str | None = None,
        event_id: str | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.code = code
        self.param = param
        self.event_id = event_id


def new_id(kind: str) -> str:
    """Make an id as OpenAI's look: ``item_…``, ``resp_…``, ``event_…``."""
    return f"{kind}_{uuid.uuid4().hex[:24]}"


def read_event(
    text: str | bytes,
    known: Mapping[str, type[Event]],
    problem: type[MessageError],
    complete: Callable[[Message], None] = lambda message: None,
) -> Event:
    """Read one event of the types in ``known``; ``complete`` may add what clients leave out.

    Raises ``problem`` and nothing else.
    """
    if len(text) > MAX_MESSAGE_BYTES:
        raise problem(
            f"The message has {len(text)} bytes; at most {MAX_MESSAGE_BYTES} are taken. Send audio "
            "in smaller chunks.",
            "message_too_large",
        )
    try:
        message = read_json(text)
    except UnicodeError as error:
        raise problem(
            "The message has half a character in it (a surrogate without its other half), or is "
            "not UTF-8; send whole characters.",
            "invalid_json",
        ) from error
    except ValueError as error:
        raise problem(
            "The message is no JSON; send one JSON object in each text message.", "invalid_json"
        ) from error
    if not isinstance(message, dict):
        raise problem(
            "The message is no JSON object; send an object with a 'type'.", "invalid_json"
        )
    given = message.get("event_id")
    event_id = given if isinstance(given, str) else None
    kind = message.get("type")
    event_type = known.get(kind) if isinstance(kind, str) else None
    if event_type is None:
        raise problem(
            f"Unknown event type {str(kind)[:80]!r}; known are {', '.join(known)}.",
            "unknown_event_type",
            param="type",
            event_id=event_id,
        )
    complete(message)
    try:
        return event_type.model_validate(message)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"] if str(part).islower())
        raise problem(
            f"{kind}: {where or 'the event'}: {first['msg']}.",
            "missing_required_parameter" if first["type"] == "missing" else "invalid_value",
            param=where or None,
            event_id=event_id,
        ) from error


def encode(event: BaseModel) -> str:
    """Write one message; fields that were set are in it, null where they are None."""
    return event.model_dump_json(exclude_unset=True)


def audio_bytes(
    text: str, problem: type[MessageError], *, event_id: str | None = None, param: str = "audio"
) -> bytes:
    """Read base64 audio. Raises ``problem``."""
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise problem(
            f"'{param}' is no base64.", "invalid_value", param=param, event_id=event_id
        ) from error
