"""``/api/chat``: Kyutai's protocol, binary messages whose first byte is the kind.

The kinds and the handshake are those of rust/protocol.md of the moshi repository; what real
clients insist on is in docs/reference/protocols.md. Audio is Ogg/Opus (sphn), text the
agent's words with a space before each, as pieces of a tokenizer have it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TypeVar

import numpy as np
import sphn

from coda_voice.errors import ProtocolError
from coda_voice.events import WordSpoken
from coda_voice.moshi.frames import SAMPLE_RATE, Sampling
from coda_voice.server.codecs import Message
from coda_voice.server.commands import Audio, Command
from coda_voice.server.outputs import AgentAudio, Failed, Happened, Output, Ready
from coda_voice.server.session import Wish

HANDSHAKE, AUDIO, TEXT, ERROR = 0, 1, 2, 5
HANDSHAKE_MESSAGE = bytes(9)
"""Kind 0, then protocol version and model version, each four zero bytes."""
LONGEST_PROMPT = 8_000
Number = TypeVar("Number", int, float)


class KyutaiCodec:
    """Translates one ``/api/chat`` connection. sphn's stream state makes it single-use."""

    def __init__(self) -> None:
        self._reader = sphn.OpusStreamReader(SAMPLE_RATE)
        self._writer = sphn.OpusStreamWriter(SAMPLE_RATE)

    def receive(self, message: Message) -> list[Command]:
        """Give the audio of an audio message, nothing for other kinds.

        Raises ProtocolError (fatal) for audio that is no Ogg/Opus: the stream cannot be
        picked up again.
        """
        if isinstance(message, str) or not message or message[0] != AUDIO:
            return []
        try:
            pcm = self._reader.append_bytes(message[1:])
        except (ValueError, RuntimeError) as error:
            raise ProtocolError(
                f"The audio is no Ogg/Opus stream ({str(error)[:100]}).", "bad_audio", fatal=True
            ) from error
        return [Audio(np.clip(pcm, -1.0, 1.0))] if len(pcm) else []

    def send(self, output: Output) -> list[Message]:
        """Put an output into messages."""
        if isinstance(output, AgentAudio):
            data = self._writer.append_pcm(output.pcm)
            return [bytes((AUDIO,)) + data] if data else []
        if isinstance(output, Ready):
            return [HANDSHAKE_MESSAGE]
        if isinstance(output, Failed):
            return [bytes((ERROR,)) + output.message.encode()]
        if isinstance(output, Happened):
            event = output.event
            if isinstance(event, WordSpoken) and event.speaker == "agent":
                return [bytes((TEXT,)) + f" {event.text}".encode()]
        return []


def wish_of(query: Mapping[str, str]) -> Wish:
    """Read the query of Kyutai's and PersonaPlex's clients; what is not ours is ignored.

    Raises ProtocolError (fatal) for values out of range.
    """
    prompt = query.get("text_prompt") or None
    if prompt is not None and len(prompt) > LONGEST_PROMPT:
        raise ProtocolError(f"text_prompt has at most {LONGEST_PROMPT} characters.", fatal=True)
    seed = _number(query, "seed", int, -1, 2**31 - 1)
    for name in ("text_seed", "audio_seed"):
        if seed is None or seed < 0:
            seed = _number(query, name, int, -1, 2**63 - 1)
    temperatures = {
        "temperature": _number(query, "audio_temperature", float, 0.0, 5.0),
        "top_k": _number(query, "audio_topk", int, 1, 100_000),
        "text_temperature": _number(query, "text_temperature", float, 0.0, 5.0),
        "text_top_k": _number(query, "text_topk", int, 1, 100_000),
    }
    given = {name: value for name, value in temperatures.items() if value is not None}

    def sampling(usual: Sampling) -> Sampling:
        return replace(usual, **given)  # type: ignore[arg-type]

    return Wish(
        sample_rate=SAMPLE_RATE,
        prompt=prompt,
        voice=query.get("voice_prompt") or None,
        seed=None if seed is None or seed < 0 else seed % 2**31,
        sampling=sampling if given else None,
    )


def _number(
    query: Mapping[str, str], name: str, kind: Callable[[str], Number], low: Number, high: Number
) -> Number | None:
    text = query.get(name)
    if not text:
        return None
    try:
        value = kind(text)
    except ValueError:
        value = None
    if value is None or not low <= value <= high:
        raise ProtocolError(
            f"{name} is {text[:40]!r}; give a number from {low} to {high}.", "bad_query", fatal=True
        )
    return value
