"""JSON of other people: what could never be sent on is refused where it comes in."""

from __future__ import annotations

import json

import pytest
from coda_integrations.live import codec as live_codec
from coda_integrations.live.session import LiveSession
from coda_integrations.realtime import codec as realtime_codec
from coda_integrations.realtime.session import RealtimeSession
from coda_integrations.telephony import twilio_codec
from pydantic import BaseModel

from coda_voice.json_text import read_json


@pytest.mark.parametrize(
    "text",
    [
        r'["\ud83d"]',
        r'{"\uDE00": 1}',
        r'["\ud83d\ud83d\ude00"]',
        b'["\xed\xa0\xbd"]',  # the same in bytes that are no UTF-8
        "[" * 100_000,
        "[" + "1" * 5_000 + "]",
        "{",
    ],
    ids=lambda text: ascii(text[:24]),
)
def test_what_cannot_be_read_or_written_again_is_refused(text: str | bytes):
    with pytest.raises(ValueError, match=r"."):
        read_json(text)


@pytest.mark.parametrize(
    ("text", "read"),
    [
        (r'["\ud83d\ude00"]', ["😀"]),
        (r'["\\ud83d"]', [r"\ud83d"]),
        ('{"a": "ä"}'.encode(), {"a": "ä"}),
    ],
)
def test_whole_characters_are_read_however_they_are_spelt(text: str | bytes, read: object):
    assert read_json(text) == read


REALTIME = [
    r'{"type": "nonsense", "event_id": "\ud83d"}',
    r'{"type": "session.update", "session": {"instructions": "You are \ud83d"}}',
    r'{"type": "conversation.item.create", "item": {"type": "message", "role": "user", "content": '
    r'[{"type": "input_text", "text": "hello \ud83d"}]}}',
]
LIVE = [
    r'{"type": "nonsense", "event_id": "\ud83d"}',
    r'{"type": "session.start", "event_id": "\ud83d", "session": {"model": "coda-voice"}}',
]


@pytest.mark.parametrize("message", REALTIME)
def test_a_realtime_client_is_told_of_half_a_character(message: str):
    session = RealtimeSession("coda-voice")
    (told,) = [realtime_codec.encode(out) for out in session.message(message)
               if isinstance(out, BaseModel)]  # fmt: skip
    error = json.loads(told)["error"]
    assert error["code"] == "invalid_json" and "half a character" in error["message"]


@pytest.mark.parametrize("message", LIVE)
def test_a_live_client_is_told_of_half_a_character(message: str):
    session = LiveSession(0)
    (told,) = [live_codec.encode(out) for out in session.message(message)
               if isinstance(out, BaseModel)]  # fmt: skip
    assert "half a character" in told


def test_a_call_of_twilios_is_named_by_whole_characters():
    start = r'{"event": "start", "start": {"streamSid": "MZ\ud83d", "callSid": "CA1"}}'
    with pytest.raises(twilio_codec.TwilioProtocolError):
        twilio_codec.decode(start)
