"""How the synthesizer's process and ours talk: a JSON object, and samples behind some of them.

Over the process's standard input and output, each message as two lengths (little-endian,
four bytes), the object and the samples. Both ends are the same version of this package.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from typing import BinaryIO

import numpy as np

from coda_voice.moshi.frames import FRAME_SAMPLES, Pcm

_LENGTHS = struct.Struct("<II")
_LONGEST = 1 << 20
Message = Mapping[str, object]


def write_message(stream: BinaryIO, message: Message, payload: bytes = b"") -> None:
    """Send one message. Raises OSError when the other end is gone."""
    head = json.dumps(message).encode()
    stream.write(_LENGTHS.pack(len(head), len(payload)) + head + payload)
    stream.flush()


def read_message(stream: BinaryIO) -> tuple[dict[str, object], bytes] | None:
    """Wait for the next message; None when the other end is gone.

    Raises ValueError for what is no message.
    """
    lengths = stream.read(_LENGTHS.size)
    if len(lengths) < _LENGTHS.size:
        return None
    head_length, payload_length = _LENGTHS.unpack(lengths)
    if max(head_length, payload_length) > _LONGEST:
        raise ValueError(f"a message of {head_length} and {payload_length} bytes")
    head, payload = stream.read(head_length), stream.read(payload_length)
    if len(head) < head_length or len(payload) < payload_length:
        return None
    message = json.loads(head)
    if not isinstance(message, dict):
        raise ValueError("a message that is no object")
    return message, payload


def number(message: Message, key: str) -> int:
    """Give a whole number of a message. Raises ValueError if it has none."""
    value = message.get(key)
    if not isinstance(value, int):
        raise ValueError(f"a message without {key}")
    return value


def samples_of(payload: bytes) -> Pcm:
    """Read a frame's samples. Raises ValueError for another length."""
    pcm = np.frombuffer(payload, dtype="<f4").astype(np.float32)
    if pcm.shape != (FRAME_SAMPLES,):
        raise ValueError(f"a frame of {pcm.size} samples")
    return pcm
