"""The agent's float samples as 16-bit PCM messages."""

from __future__ import annotations

from coda_voice.audio.pcm import encode_samples
from coda_voice.server.outputs import AgentAudio


def pcm_message(audio: AgentAudio) -> list[str | bytes]:
    """Give one binary message, or none while the resampler holds everything back."""
    data = encode_samples(audio.pcm, "int16")
    return [data] if data else []
