"""What VoiceManager hands out: responses, stream chunks, states, analytics.

Field names are those Coda reads, plus a few of our own. A value that was not measured is
None: nothing here is estimated or invented. Milliseconds end in ``_ms``; audio in
``audio_data`` is described by ``audio_format`` beside it, and left out where a result is printed.
"""

from __future__ import annotations

import uuid
from datetime import UTC, datetime
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue, computed_field

ProcessingMode = Literal["moshi_only", "hybrid", "adaptive"]


def _now() -> datetime:
    return datetime.now(UTC)


def _new_id() -> str:
    return str(uuid.uuid4())


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid")


class VoiceResponse(_Model):
    """The agent's answer to one whole utterance (``process_voice_input``).

    ``audio_data`` is a 16-bit mono WAV at the configured rate, from the agent's first
    sound to its last; it holds no samples when the agent said nothing. ``text_content``
    is the agent's own words. ``user_text`` stays None while no transcriber is at work.
    """

    response_id: str = Field(default_factory=_new_id)
    conversation_id: str
    message_id: str = Field(default_factory=_new_id)
    audio_data: bytes = Field(repr=False)
    text_content: str
    user_text: str | None = None
    timestamp: datetime = Field(default_factory=_now)
    duration_ms: float
    """Length of ``audio_data``."""
    audio_format: str = "wav"
    processing_mode: ProcessingMode = "moshi_only"
    total_latency_ms: float
    """Wall clock, from the call to the finished response."""
    moshi_latency_ms: float | None = None
    """Mean over the frames: Mimi encode, Moshi, Mimi decode."""
    llm_latency_ms: float | None = None
    turn_latency_ms: float | None = None
    """End of the user's speech to the agent's first sound, on the frame clock."""
    audio_quality_score: float | None = None
    """No-reference quality of the user's audio, 0–1."""
    response_relevance: float | None = None
    memory_updates: list[JsonValue] = Field(default_factory=list)
    personality_changes: dict[str, JsonValue] = Field(default_factory=dict)
    tool_results: list[JsonValue] = Field(default_factory=list)


class VoiceStreamChunk(_Model):
    """80 ms of the agent, time-aligned with the user's audio (``process_voice_stream``).

    ``audio_data`` is bare PCM at the configured rate and depth. ``text_content`` holds the
    words that ended in this chunk; ``text_delta`` is the same, spaced so that plain
    concatenation over a stream reads well. The last chunk has ``is_complete``.
    """

    conversation_id: str
    chunk_index: int
    audio_data: bytes = Field(repr=False)
    text_content: str = ""
    text_delta: str = ""
    timestamp: datetime = Field(default_factory=_now)
    is_complete: bool = False
    chunk_type: Literal["audio", "text", "end"] = "audio"
    """``text`` when words come with the audio, ``end`` for the last chunk."""
    processing_latency_ms: float = 0.0
    """From the arrival of the user's frame to this one being ready."""
    confidence_score: float | None = None
    time: float = 0.0
    """Seconds on the conversation's frame clock at which this chunk begins."""
    user_speaking: bool = False
    agent_speaking: bool = False
    dropped_frames: int = 0
    """Frames this conversation has lost so far because a side did not keep up."""

    @computed_field  # type: ignore[prop-decorator]
    @property
    def is_final(self) -> bool:
        """Coda's other name for ``is_complete``."""
        return self.is_complete


class ConversationState(_Model):
    """One conversation at this moment."""

    conversation_id: str
    user_id: str | None = None
    is_active: bool = True
    is_speaking: bool = False
    """The agent is speaking."""
    is_listening: bool = False
    """Audio is being taken in."""
    user_speaking: bool = False
    started_at: datetime
    last_activity: datetime
    total_duration_ms: float = 0.0
    """Wall clock since the start."""
    message_count: int = 0
    """The agent's finished stretches of speech."""
    total_audio_duration_ms: float = 0.0
    """The user's audio heard: the conversation's frame clock."""
    average_latency_ms: float | None = None
    current_mode: ProcessingMode = "moshi_only"
    moshi_active: bool = True
    llm_active: bool = False
    memory_context: dict[str, JsonValue] | None = None
    personality_state: dict[str, JsonValue] | None = None
    dropped_frames: int = 0


class VoiceAnalytics(_Model):
    """Measured figures over the life of the manager; None where nothing was measured."""

    total_conversations: int = 0
    active_conversations: int = 0
    total_messages: int = 0
    total_audio_duration_ms: float = 0.0
    average_latency_ms: float | None = None
    """Arrival of the user's frame to the agent's frame of the same 80 ms, mean."""
    moshi_latency_ms: float | None = None
    """Of it: Mimi encode, Moshi, Mimi decode."""
    llm_latency_ms: float | None = None
    turn_latency_ms: float | None = None
    """End of the user's speech to the agent's first sound, median."""
    audio_quality: float | None = None
    """No-reference quality of the users' audio, 0–1, mean."""
    vram_usage: float | None = None
    """GiB in use on the device (NVML); None without an NVIDIA GPU."""
    cpu_usage: float | None = None
    """Per cent of the machine's cores this process used since the figure was last read."""
    error_rate: float = 0.0
    """Failed calls over all calls."""
    fallback_rate: float = 0.0
    """Answers that had to do without the LLM, over answers that wanted it."""
    memory_usage_rate: float = 0.0
    personality_usage_rate: float = 0.0
    tools_usage_rate: float = 0.0
    """Answers in which the manager in question was consulted, over all answers."""
    frames_dropped: int = 0
    barge_ins: int = 0


class SystemStatus(_Model):
    """Answer of ``get_system_status``; also readable like a dict."""

    initialized: bool
    healthy: bool
    mode: ProcessingMode = "moshi_only"
    checkpoint: str | None = None
    device: str | None = None
    slots_used: int = 0
    slots_total: int = 0
    active_conversations: list[str] = Field(default_factory=list)
    uptime_seconds: float = 0.0
    tick_p50_ms: float | None = None
    tick_p99_ms: float | None = None
    integrations: dict[str, bool] = Field(default_factory=dict)
    tool_servers: dict[str, str] = Field(default_factory=dict)
    """Each MCP server with its tools, or why it cannot be used."""
    settings_without_effect: dict[str, str] = Field(default_factory=dict)
    analytics: VoiceAnalytics

    def __getitem__(self, key: str) -> object:
        """Give the field of that name, for callers that expect a dict."""
        if key not in type(self).model_fields:
            raise KeyError(key)
        value: object = getattr(self, key)
        return value


class Health(_Model):
    """Answer of ``health_check``: ``status`` and the checks behind it."""

    status: Literal["healthy", "degraded", "unhealthy"]
    checks: dict[str, bool]
    detail: str = ""

    def __bool__(self) -> bool:
        """Tell whether conversations can go on: true when healthy or degraded."""
        return self.status != "unhealthy"
