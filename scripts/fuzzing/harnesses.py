"""One function for each binary codec: any bytes in, nothing but the codec's own error caught.

What must hold of a result is asserted here; any other exception is a finding. ``SEEDS`` are
valid inputs to begin with.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Mapping

import numpy as np
import sphn
from coda_integrations.telephony import audiosocket_codec, twilio_codec
from coda_integrations.telephony.audiosocket_codec import AudioSocketError, AudioSocketReader
from coda_integrations.telephony.twilio_call import Sound, TwilioCall
from coda_integrations.telephony.twilio_codec import TwilioProtocolError
from coda_integrations.wire_audio import ALAW_8K, MULAW_8K, PCM_24K, FromWire, WireFormat

from coda_voice.audio.ingest import AudioSettings, Ingest
from coda_voice.errors import ProtocolError
from coda_voice.moshi.frames import FRAME_SAMPLES, SAMPLE_RATE
from coda_voice.server.codecs.kyutai import KyutaiCodec
from coda_voice.server.codecs.stream import StreamCodec
from coda_voice.server.commands import Audio
from scripts.fuzzing import ogg

Harness = Callable[[bytes], None]
_RATES = (8_000, 16_000, 22_050, 24_000, 44_100, 48_000)
_WIRES: tuple[WireFormat, ...] = (PCM_24K, WireFormat("int16", 16_000), MULAW_8K, ALAW_8K)
TWILIO_BEGINS = (
    '{"event": "connected"}',
    '{"event": "start", "start": {"streamSid": "MZ", "customParameters": {"a": "b"}}}',
)


def pieces(data: bytes) -> list[bytes]:
    """Cut an input into messages: each has its length in front, two bytes."""
    found, at = [], 0
    while at + 2 <= len(data):
        size = int.from_bytes(data[at : at + 2], "big")
        found.append(data[at + 2 : at + 2 + size])
        at += 2 + size
    return found


def joined(messages: list[bytes]) -> bytes:
    """Put messages into one input, as ``pieces`` cuts it."""
    return b"".join(len(message).to_bytes(2, "big") + message for message in messages)


def kyutai(data: bytes) -> None:
    """``/api/chat``: messages of all kinds, Ogg/Opus in those of kind 1."""
    _hear_kyutai(pieces(data))


def opus(data: bytes) -> None:
    """``/api/chat``: packets in Ogg pages whose checksums are right; the first may be the head."""
    packets = pieces(data)
    if packets and packets[0].startswith(b"OpusHead"):
        stream = ogg.stream(packets[1:], head=packets[0])
    else:
        stream = ogg.stream(packets)
    half = len(stream) // 2
    _hear_kyutai([b"\x01" + stream[:half], b"\x01" + stream[half:]])


def _hear_kyutai(messages: list[bytes]) -> None:
    codec = KyutaiCodec()
    try:
        for message in messages:
            for command in codec.receive(message):
                assert isinstance(command, Audio)
                chunk = command.chunk
                assert isinstance(chunk, np.ndarray) and np.abs(chunk).max() <= 1.0
    except ProtocolError as error:
        assert error.context["fatal"] and error.message


def audiosocket(data: bytes) -> None:
    """AudioSocket: the same messages however the bytes are cut."""
    cut = len(data) // 3
    assert _read_audiosocket([data]) == _read_audiosocket([data[:cut], data[cut:]])


def _read_audiosocket(parts: list[bytes]) -> list[audiosocket_codec.Message] | None:
    reader = AudioSocketReader()
    found: list[audiosocket_codec.Message] = []
    try:
        for part in parts:
            found += reader.feed(part)
    except AudioSocketError as error:
        assert str(error)
        return None
    return found


def twilio(data: bytes) -> None:
    """Twilio: messages of JSON; one that begins with ``~`` is the payload of a media message."""
    call = TwilioCall()
    for text in TWILIO_BEGINS:
        call.message(text)
    for message in pieces(data):
        if message.startswith(b"~"):
            payload = message[1:].decode("latin-1")
            message = json.dumps({"event": "media", "media": {"payload": payload}}).encode()
        try:
            for action in call.message(message):
                if isinstance(action, Sound):
                    assert np.isfinite(action.pcm).all()
        except TwilioProtocolError as error:
            assert str(error)


def stream(data: bytes) -> None:
    """``/v1/stream``: PCM of any rate in messages of any length, into frames."""
    if not data:
        return
    rate = _RATES[data[0] % len(_RATES)]
    codec = StreamCodec()
    ingest = Ingest(AudioSettings(sample_rate=rate, vad_enabled=False))
    frames, sent = 0, 0
    for message in pieces(data[1:]):
        for command in codec.receive(message):
            assert isinstance(command, Audio) and isinstance(command.chunk, bytes)
            sent += len(command.chunk)
            for frame in ingest.push(command.chunk):
                assert frame.pcm.shape == (FRAME_SAMPLES,) and np.abs(frame.pcm).max() <= 1.0
                frames += 1
    frames += len(ingest.finish())
    assert frames <= sent / 2 / rate * SAMPLE_RATE / FRAME_SAMPLES + 2


def wire(data: bytes) -> None:
    """The sound of Realtime, Live and telephones: finite, of the right length."""
    if not data:
        return
    format = _WIRES[data[0] % len(_WIRES)]
    reader = FromWire(format)
    heard = sum(len(_finite(reader.process(message))) for message in pieces(data[1:]))
    sent = sum(map(len, pieces(data[1:])))
    assert heard <= (sent / format.bytes_per_second + 0.1) * SAMPLE_RATE


def _finite(pcm: np.ndarray) -> np.ndarray:
    assert np.isfinite(pcm).all()
    return pcm


def _opus_packets() -> list[bytes]:
    """Give real packets: a tone, encoded by sphn, taken out of its pages."""
    writer = sphn.OpusStreamWriter(SAMPLE_RATE)
    tone = np.sin(np.arange(FRAME_SAMPLES * 4, dtype=np.float32) / 9) * np.float32(0.5)
    data = b"".join(
        writer.append_pcm(tone[at : at + FRAME_SAMPLES])
        for at in range(0, len(tone), FRAME_SAMPLES)
    )
    packets, at = [], 0
    while at < len(data):
        segments = data[at + 27 : at + 27 + data[at + 26]]
        at += 27 + len(segments)
        packets.append(data[at : at + sum(segments)])
        at += sum(segments)
    return packets[2:]


def _seeds() -> dict[str, list[bytes]]:
    packets = _opus_packets()
    whole = ogg.stream(packets)
    sound = bytes(range(256)) * 2
    media = {"event": "media", "media": {"payload": base64.b64encode(sound).decode()}}
    told: list[dict[str, object]] = [
        media,
        {"event": "mark", "mark": {"name": "word-1"}},
        {"event": "dtmf", "dtmf": {"digit": "*"}},
        {"event": "stop"},
    ]
    return {
        "kyutai": [joined([bytes((kind,)) + whole]) for kind in range(7)]
        + [joined([b"\x01" + whole[:90], b"\x00", b"\x01" + whole[90:]])],
        "opus": [joined(packets), joined([ogg.HEAD, *packets])],
        "audiosocket": [
            b"\x01\x00\x10" + bytes(16) + audiosocket_codec.audio(sound),
            b"\x03\x00\x01*" + audiosocket_codec.audio(sound, 48_000) + audiosocket_codec.hangup(),
            b"\xff\x00\x01\x02",
        ],
        "twilio": [
            joined([json.dumps(message).encode() for message in told]),
            joined([b"~////", twilio_codec.mark("MZ", "x").encode()]),
        ],
        "stream": [bytes((rate,)) + joined([sound, sound[:7], b""]) for rate in range(6)],
        "wire": [bytes((format,)) + joined([sound, sound[:7], b""]) for format in range(4)],
    }


HARNESSES: Mapping[str, Harness] = {
    "kyutai": kyutai,
    "opus": opus,
    "audiosocket": audiosocket,
    "twilio": twilio,
    "stream": stream,
    "wire": wire,
}
SEEDS: Mapping[str, list[bytes]] = _seeds()
