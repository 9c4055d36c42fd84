"""The codecs on anything at all: commands or their own error, never another exception."""

from __future__ import annotations

import json
import os
import random
from typing import Any

import numpy as np
import pytest
import sphn
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from coda_voice.errors import ProtocolError
from coda_voice.events import EVENT_TYPES, MemoryStored, SpeechEnded, Transcript, WordSpoken
from coda_voice.heard import Heard
from coda_voice.moshi.frames import FrameOut
from coda_voice.server import commands
from coda_voice.server.codecs.kyutai import KyutaiCodec, wish_of
from coda_voice.server.codecs.speech import SpeechCodec, SpeechConfig, read_config
from coda_voice.server.codecs.stream import StreamCodec
from coda_voice.server.event_table import table
from coda_voice.server.outputs import (
    AgentAudio,
    Confirmed,
    Draining,
    Dropped,
    Ended,
    Failed,
    Happened,
    Output,
    Pong,
    Ready,
    Waiting,
)
from tests.unit import seeded_messages

INPUTS = int(os.environ.get("CODA_FUZZ_INPUTS", "300"))
"""Of each fuzz test; `make fuzz` asks for a million."""
fuzz = settings(
    max_examples=INPUTS,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=12,
)
KINDS = ["config", "interrupt", "mute", "mode", "personality", "text", "ping", "close", "x"]
FIELDS = ["sample_rate", "events", "muted", "mode", "name", "traits", "text", "id", "voice"]
MESSAGES = st.fixed_dictionaries(
    {"type": st.sampled_from(KINDS)}, optional={name: JSON for name in FIELDS}
).map(json.dumps)
OURS: list[dict[str, Any]] = [
    {"type": kind, "sample_rate": 16_000, "events": True, "muted": True, "mode": "hybrid",
     "traits": {"humor": 1}, "text": "hi", "id": "x", "voice": "v"}
    for kind in KINDS
]  # fmt: skip
ANYTHING = st.text(max_size=300) | st.binary(max_size=300) | JSON.map(json.dumps) | MESSAGES
TALKS = st.lists(ANYTHING, max_size=4)
if seeded_messages.SEEDED:
    TALKS = seeded_messages.several(OURS)


def audio() -> AgentAudio:
    pcm = np.linspace(-1, 1, 1_920, dtype=np.float32)
    return AgentAudio(pcm, Heard(FrameOut(0, pcm, None), -9.0, (), False, True))


OUTPUTS: list[Output] = [
    Waiting(2),
    Ready("id", "token", False, 30.0, 24_000, 0, "moshi_only", "coda-tiny"),
    audio(),
    Happened(WordSpoken(conversation_id="id", speaker="agent", text="hi", start=0, end=1)),
    Happened(SpeechEnded(conversation_id="id", speaker="user", duration=1)),
    Happened(Transcript(conversation_id="id", text="hi", final=False)),
    Dropped("output", 3),
    Confirmed("mute", True),
    Confirmed("personality", {"name": "coda"}),
    Pong("x"),
    Failed("code", "message", True, 5),
    Draining(30.0),
    Ended("ended", 12),
]


@fuzz
@given(TALKS)
def test_stream_takes_anything(messages: list[str | bytes]):
    codec = StreamCodec()
    for message in messages:
        try:
            wanted = codec.receive(message)
        except ProtocolError as error:
            assert error.message and len(error.message) <= 600
        else:
            assert all(isinstance(command, commands.Command) for command in wanted)


@fuzz
@given(TALKS)
def test_speech_to_speech_takes_anything(messages: list[str | bytes]):
    codec = SpeechCodec(SpeechConfig(type="config"))
    for message in messages:
        try:
            codec = SpeechCodec(read_config(message))
        except ProtocolError as error:
            assert error.context["fatal"]
        try:
            codec.receive(message)
        except ProtocolError as error:
            assert error.message


WRITER = sphn.OpusStreamWriter(24_000)
OPUS = b"".join(
    WRITER.append_pcm(np.sin(np.arange(1_920 * 12, dtype=np.float32) / 9)[at : at + 1_920] * 0.5)
    for at in range(0, 1_920 * 12, 1_920)
)


PAGES = st.lists(
    st.binary(max_size=200)
    | st.binary(max_size=200).map(lambda data: b"\x01" + data)
    | st.tuples(st.integers(0, len(OPUS)), st.integers(0, 400), st.binary(max_size=3)).map(
        lambda cut: b"\x01" + OPUS[cut[0] : cut[0] + cut[1]] + cut[2]
    ),
    max_size=4,
)


def pages(rng: random.Random) -> list[bytes]:
    made = []
    for _ in range(rng.randint(0, 60)):
        at, noise = rng.randint(0, len(OPUS)), rng.randbytes(rng.randint(0, 200))
        piece = OPUS[at : at + rng.randint(0, 400)] + noise[:3]
        made.append(rng.choice((noise, b"\x01" + noise, b"\x01" + piece)))
    return made


if seeded_messages.SEEDED:
    PAGES = seeded_messages.seeded(pages)


@fuzz
@given(PAGES, st.integers(0, len(OPUS)), st.integers(0, 255))
def test_kyutai_takes_anything(messages: list[bytes], at: int, byte: int):
    codec = KyutaiCodec()
    damaged = OPUS[:at] + bytes((byte,)) + OPUS[at + 1 :]
    for message in [*messages, b"\x01" + damaged]:
        try:
            for command in codec.receive(message):
                assert isinstance(command, commands.Audio)
                assert np.isfinite(command.chunk).all()
        except ProtocolError as error:
            assert error.context["fatal"]
            codec = KyutaiCodec()


PARAMETERS = [
    "seed", "text_seed", "text_topk", "audio_temperature", "text_prompt", "voice_prompt",
]  # fmt: skip
QUERIES = st.lists(
    st.dictionaries(
        st.sampled_from(PARAMETERS),
        st.text(max_size=30) | st.integers().map(str) | st.floats().map(str),
    ),
    max_size=3,
)


def queries(rng: random.Random) -> list[dict[str, str]]:
    return [
        {
            rng.choice(PARAMETERS): rng.choice(
                (seeded_messages.text(rng, 30), str(seeded_messages.value(rng)))
            )
            for _ in range(rng.randint(0, 5))
        }
        for _ in range(rng.randint(1, 60))
    ]


if seeded_messages.SEEDED:
    QUERIES = seeded_messages.seeded(queries)


@fuzz
@given(QUERIES)
def test_kyutais_query_takes_anything(queries: list[dict[str, str]]):
    for query in queries:
        try:
            wish = wish_of(query)
        except ProtocolError as error:
            assert error.context["fatal"]
        else:
            assert wish.seed is None or 0 <= wish.seed < 2**31


@pytest.mark.parametrize("output", OUTPUTS, ids=lambda output: type(output).__name__)
def test_every_output_can_be_put(output: Output):
    for codec in (
        StreamCodec(events=True),
        SpeechCodec(SpeechConfig(type="config")),
        KyutaiCodec(),
    ):
        for message in codec.send(output):
            if isinstance(message, str):
                assert json.loads(message)["type"]
            else:
                assert message
    assert StreamCodec().send(output), "the stream has words for everything"


def test_a_joke_that_is_taken_back_is_not_told_as_stored():
    def told(**said: object) -> dict[str, object]:
        stored = MemoryStored.model_validate({"conversation_id": "c", **said})
        (message,) = StreamCodec().send(Happened(stored))
        return {k: v for k, v in json.loads(message).items() if k not in ("type", "event_id")}

    rome, bern = "The user lives in Rome.", "The user lives in Bern."
    assert told(text="I like tea") == {"action": "stored", "items": ["I like tea"]}
    joke = told(text="just kidding", taken_back=(rome,))
    assert joke == {"action": "stored", "items": [], "taken_back": [rome]}
    both = told(text="just kidding, I live in Bern", facts=(bern,), taken_back=(rome,))
    assert both == {"action": "stored", "items": [bern], "taken_back": [rome]}


def test_what_the_stream_understands():
    def one(**message: object) -> commands.Command:
        (command,) = StreamCodec().receive(json.dumps(message))
        return command

    assert one(type="config", sample_rate=16_000, events=True) == commands.Configure(16_000, True)
    assert one(type="mute") == commands.Mute(True)
    assert one(type="mode", mode="hybrid") == commands.ChooseMode("hybrid")
    traits = one(type="personality", traits={"humor": 1})
    assert traits == commands.ChoosePersonality(None, {"humor": 1.0})
    assert one(type="text", text="hi", more="is ignored") == commands.Type("hi")
    assert StreamCodec().receive(b"\1\2") == [commands.Audio(b"\1\2")]


@pytest.mark.parametrize(
    "message",
    [
        '{"type": "config", "sample_rate": "24000"}',
        '{"type": "config", "sample_rate": 24000.0}',
        '{"type": "config", "sample_rate": 16000.5}',
        '{"type": "config", "sample_rate": NaN}',
        '{"type": "config", "sample_rate": true}',
        '{"type": "config", "events": "true"}',
        '{"type": "config", "events": 1}',
        '{"type": "mute", "muted": "off"}',
        '{"type": "mute", "muted": 0.0}',
        '{"type": "personality", "traits": {"humor": "0.5"}}',
        '{"type": "personality", "traits": {"humor": true}}',
        '{"type": "personality", "traits": {"humor": NaN}}',
        '{"type": "ping", "id": true}',
        '{"type": "ping", "id": 1.0}',
        '{"type": "text", "text": 7}',
    ],
)
def test_what_is_of_another_type_is_not_guessed_at(message: str):
    codec = StreamCodec()
    fields = [name for name in json.loads(message) if name != "type"]
    with pytest.raises(ProtocolError, match=fields[0]):
        codec.receive(message)
    assert not codec.events
    if '"config"' in message and "sample_rate" in message:
        with pytest.raises(ProtocolError, match="sample_rate"):
            read_config(message)


def test_the_documentation_of_events_is_made_of_the_types():
    from pathlib import Path

    text = (Path(__file__).parents[2] / "docs/reference/events.md").read_text(encoding="utf-8")
    assert table() in text, "run: python -m coda_voice.server.event_table"
    assert len(EVENT_TYPES) == table().count("\n") - 2
