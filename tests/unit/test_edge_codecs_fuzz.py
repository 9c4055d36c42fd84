"""Whatever a stranger sends, an edge's codec answers with a value or its own error.

A few hundred inputs each here; ``make fuzz`` runs a million.
"""

from __future__ import annotations

import json
import os
import random
from collections.abc import Callable
from typing import Any

from coda_integrations.live import codec as live_codec
from coda_integrations.live.codec import LiveProtocolError
from coda_integrations.live.session import LiveSession
from coda_integrations.realtime import codec as realtime_codec
from coda_integrations.realtime.codec import RealtimeProtocolError
from coda_integrations.realtime.session import RealtimeSession
from coda_integrations.telephony import audiosocket_codec, twilio_codec
from coda_integrations.telephony.audiosocket_codec import AudioSocketError, AudioSocketReader
from coda_integrations.telephony.twilio_call import TwilioCall
from coda_integrations.telephony.twilio_codec import TwilioProtocolError
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from coda_voice.errors import MoshiConnectionError
from coda_voice.remote import decode as decode_remote
from tests.unit import seeded_messages

EXAMPLES = int(os.environ.get("CODA_FUZZ_INPUTS", "150"))
fuzzed = settings(
    max_examples=EXAMPLES,
    deadline=None,
    derandomize=EXAMPLES <= 1_000,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    database=None,
)

SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=20)
    | st.sampled_from(["AAAA", "audio/pcmu", "server_vad", "item_1", "root", "none", "text"])
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=8,
)

ITEM: dict[str, Any] = {
    "type": "message",
    "role": "user",
    "content": [{"type": "input_text", "text": "hi"}],
}
REALTIME: list[dict[str, Any]] = [
    {"type": "session.update", "session": {"audio": {"input": {"format": {"type": "audio/pcmu"}}}}},
    {"type": "session.update", "session": {"type": "realtime", "tools": [{"type": "function"}]}},
    {"type": "input_audio_buffer.append", "audio": "AAAA"},
    {"type": "input_audio_buffer.commit"},
    {"type": "input_audio_buffer.clear"},
    {"type": "conversation.item.create", "item": ITEM, "previous_item_id": "root"},
    {"type": "conversation.item.create", "item": {"type": "function_call_output", "call_id": "c",
                                                  "output": "{}"}},
    {"type": "conversation.item.delete", "item_id": "x"},
    {"type": "conversation.item.retrieve", "item_id": "x"},
    {"type": "conversation.item.truncate", "item_id": "x", "content_index": 0, "audio_end_ms": 1},
    {"type": "response.create", "response": {"conversation": "none", "input": [ITEM]}},
    {"type": "response.create", "response": {"output_modalities": ["text"]}},
    {"type": "response.cancel"},
    {"type": "output_audio_buffer.clear"},
]  # fmt: skip
LIVE: list[dict[str, Any]] = [
    {"type": "session.start", "session": {"model": "m", "instructions": "x"}},
    {"type": "session.start", "session": {"model": "m", "delegation": {
        "type": "responses", "responses": {"model": "m"}}}},
    {"type": "session.update", "session": {"delegation": {"type": "client"}}},
    {"type": "session.input_audio.append", "audio": "AAAA"},
    {"type": "session.input_audio.mute"},
    {"type": "session.thinking.append", "content": "x", "delegation_id": None},
    {"type": "session.commentary.append", "content": "x"},
    {"type": "session.instructions.append", "content": "x"},
    {"type": "response.item.create", "item": ITEM},
    {"type": "response.create"},
    {"type": "session.close"},
]  # fmt: skip
TWILIO: list[dict[str, Any]] = [
    {"event": "connected"},
    {"event": "start", "start": {"streamSid": "MZ", "customParameters": {"a": "b"}}},
    {"event": "media", "media": {"payload": "////", "track": "inbound"}},
    {"event": "mark", "mark": {"name": "word-1"}},
    {"event": "dtmf", "dtmf": {"digit": "*"}},
    {"event": "stop"},
]
KINDS = (0x00, 0x01, 0x03, 0x10, 0x13, 0xFF, 0x42)  # AudioSocket's, and one that it has not
STREAM: list[dict[str, Any]] = [
    {"type": "status", "status": "ready", "conversation_id": "c"},
    {"type": "transcript", "text": "hi", "start": 0.1},
    {"type": "error", "code": "slots_full", "fatal": True},
]


@st.composite
def mutated(draw: st.DrawFn, valid: list[dict[str, Any]]) -> str:
    """A valid message, some of whose values are something else, missing, or added."""
    message = json.loads(json.dumps(draw(st.sampled_from(valid))))
    for _ in range(draw(st.integers(0, 3))):
        here = message
        while draw(st.booleans()):
            inner = [value for value in here.values() if isinstance(value, dict) and value]
            if not inner:
                break
            here = draw(st.sampled_from(inner))
        key = draw(st.sampled_from(sorted(here)) | st.text(max_size=10)) if here else "x"
        if key not in ("type", "event") and draw(st.booleans()):
            here.pop(key, None)
        elif key not in ("type", "event") or draw(st.integers(0, 9)) == 0:
            here[key] = draw(VALUES)
    return json.dumps(message)


def messages(valid: list[dict[str, Any]]) -> st.SearchStrategy[str | bytes]:
    return mutated(valid) | VALUES.map(json.dumps) | st.text(max_size=80) | st.binary(max_size=80)


def talks(valid: list[dict[str, Any]]) -> st.SearchStrategy[list[str | bytes]]:
    if seeded_messages.SEEDED:
        return seeded_messages.several(valid)
    return st.lists(messages(valid), max_size=8)


def answers(decode: Callable[[str | bytes], object], error: type[Exception], data: Any) -> None:
    try:
        decode(data)
    except error as raised:
        assert str(raised)


@fuzzed
@given(talks(REALTIME))
def test_realtime_codec(data: list[str | bytes]):
    for message in data:
        answers(realtime_codec.decode, RealtimeProtocolError, message)


@fuzzed
@given(talks(REALTIME))
def test_a_realtime_session_answers_everything_in_json_that_can_be_sent(data: list[str | bytes]):
    session = RealtimeSession("m")
    for message in data:
        for out in session.message(message):
            if isinstance(out, BaseModel):
                assert json.loads(realtime_codec.encode(out))["type"]
    assert len(session.items) <= len(data)


@fuzzed
@given(talks(LIVE))
def test_live_codec(data: list[str | bytes]):
    for message in data:
        answers(live_codec.decode, LiveProtocolError, message)


@fuzzed
@given(talks(LIVE), st.booleans())
def test_a_live_session_answers_everything_in_json_that_can_be_sent(
    data: list[str | bytes], begun: bool
):
    session = LiveSession(0)
    start = [json.dumps(LIVE[1])] if begun else []
    for message in [*start, *data]:
        for out in session.message(message):
            if isinstance(out, BaseModel):
                assert json.loads(live_codec.encode(out))["type"]


@fuzzed
@given(talks(TWILIO))
def test_a_twilio_call(data: list[str | bytes]):
    call = TwilioCall()
    for message in data:
        answers(twilio_codec.decode, TwilioProtocolError, message)
        answers(call.message, TwilioProtocolError, message)


@fuzzed
@given(talks(STREAM))
def test_our_own_protocol_as_a_client(data: list[str | bytes]):
    for message in data:
        answers(decode_remote, MoshiConnectionError, message)


def cut_streams(rng: random.Random) -> list[tuple[bytes, int]]:
    made = []
    for _ in range(rng.randint(1, 60)):
        pieces = []
        for _ in range(rng.randint(0, 6)):
            payload = rng.randbytes(rng.randint(0, 40))
            head = bytes((rng.choice(KINDS),)) + len(payload).to_bytes(2, "big")
            pieces.append(payload if rng.random() < 0.2 else head + payload)
        stream = b"".join(pieces)
        made.append((stream, rng.randint(0, len(stream))))
    return made


def streams() -> st.SearchStrategy[list[tuple[bytes, int]]]:
    if seeded_messages.SEEDED:
        return seeded_messages.seeded(cut_streams)
    stream = st.lists(blocks() | st.binary(max_size=40), max_size=6).map(b"".join)
    return st.lists(st.tuples(stream, st.integers(0, 300)), max_size=2)


def sounds() -> st.SearchStrategy[list[bytes]]:
    if seeded_messages.SEEDED:
        return seeded_messages.seeded(
            lambda rng: [rng.randbytes(rng.randint(0, 2_000)) for _ in range(rng.randint(1, 60))]
        )
    return st.lists(st.binary(max_size=2_000), max_size=2)


def blocks() -> st.SearchStrategy[bytes]:
    kinds = st.sampled_from(KINDS)
    payload = st.binary(max_size=40)
    return st.builds(lambda k, p: bytes((k,)) + len(p).to_bytes(2, "big") + p, kinds, payload)


@fuzzed
@given(streams())
def test_audiosocket_reads_the_same_however_its_bytes_are_cut(cuts: list[tuple[bytes, int]]):
    def read(pieces: list[bytes]) -> tuple[list[object], bool]:
        reader = AudioSocketReader()
        found: list[object] = []
        try:
            for piece in pieces:
                found += reader.feed(piece)
        except AudioSocketError as error:
            assert str(error)
            return [], True
        assert len(reader._bytes) <= audiosocket_codec.MAX_PAYLOAD + 3
        return found, False

    for stream, cut in cuts:
        assert read([stream]) == read([stream[:cut], stream[cut:]])
        assert read([stream]) == read([stream[n : n + 1] for n in range(len(stream))])


@fuzzed
@given(sounds(), st.sampled_from([8_000, 16_000, 24_000]))
def test_audiosocket_sound_comes_back_as_it_was_sent(given: list[bytes], rate: int):
    for sound in given:
        found = AudioSocketReader().feed(audiosocket_codec.audio(sound, rate))
        heard = [m for m in found if isinstance(m, audiosocket_codec.Audio)]
        assert b"".join(m.sound for m in heard) == sound
        assert all(m.sample_rate == rate and m.sound for m in heard)
