"""The settings of coda-voice, as one model with a section for each part.

Every setting has a default with which it works on any machine. Which settings act, and
which are accepted but have nothing to act on yet, is told by ``coda_voice.config.effects``.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal, Self

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PrivateAttr, ValidationError

from coda_voice.config import sources
from coda_voice.config.effects import WithoutEffect, without_effect
from coda_voice.config.mcp import McpServer
from coda_voice.config.problems import contradiction, problems_of
from coda_voice.config.server import ServerConfig
from coda_voice.config.sizes import Size

Mode = Literal["moshi_only", "hybrid", "adaptive", "traditional"]
Voicing = Literal["moshi_and_llm", "llm_only"]
Device = Annotated[str, Field(pattern=r"^(auto|cpu|cuda|cuda:\d+|mlx|cloud)$")]
Dtype = Literal["auto", "bf16", "fp16", "fp32", "int8"]
PathText = Annotated[str, BeforeValidator(lambda v: os.fspath(v) if isinstance(v, Path) else v)]
# YAML reads a bare off as false.
TranscriberName = Annotated[
    str, BeforeValidator(lambda v: ("auto" if v else "off") if isinstance(v, bool) else v)
]
LlmName = Annotated[
    str,
    BeforeValidator(lambda v: "off" if v is False else v),
    Field(pattern=r"^(off|(ollama|openai)/.+)$"),
]
Positive = Annotated[int, Field(ge=1)]
Temperature = Annotated[float, Field(ge=0, le=5)]


class Section(BaseModel):
    """Base of all sections: unknown keys and loose types are errors, values do not change."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class AudioConfig(Section):
    """What the caller's audio is like, and what is done to it on the way in."""

    sample_rate: int = Field(default=24_000, ge=8_000, le=192_000)
    """Hz, of bare PCM in and of all audio out."""
    channels: int = Field(default=1, ge=1, le=8)
    bit_depth: Literal[16, 24, 32] = 16
    chunk_size: int = Field(default=1_920, ge=1)
    """Samples in a chunk that a microphone or a stream hands over at once."""
    format: Literal["wav", "pcm"] = "wav"
    """What ``audio_data`` of a response is: a WAV file, or bare PCM."""
    vad_enabled: bool = True
    vad_threshold: float = Field(default=0.5, ge=0, le=1)
    silence_duration_ms: int = Field(default=500, ge=80, le=10_000)
    """Silence that ends a stretch of speech."""
    noise_reduction: bool = False
    echo_cancellation: bool = False
    auto_gain_control: bool = False


class MoshiConfig(Section):
    """The speech model: which, where, for how many, and how it speaks."""

    checkpoint: PathText = Field(default="coda-tiny", min_length=1)
    """A known name or a folder; ``model_path`` in Coda, ``model`` beside a provider."""
    transcriber: TranscriberName = Field(default="auto", min_length=1)
    """``auto``: the one the checkpoint brings; ``off``; or a known name or folder."""
    device: Device = "auto"
    optimization: Dtype = "auto"
    """Number format of the weights."""
    sample_rate: int = 24_000
    """Hz at which Moshi works; the caller's own rate is ``audio.sample_rate``."""
    slots: int | None = Field(default=None, ge=1, le=512)
    """Conversations at once; empty: as many as suit the device."""
    threads: int | None = Field(default=None, ge=1, le=256)
    """CPU threads of the engine; empty: as suits the machine, a small model gets a helper."""
    temperature: Temperature | None = None
    """Of the audio tokens; empty: the checkpoint's own, as for the four below."""
    top_k: Positive | None = None
    text_temperature: Temperature | None = None
    text_top_k: Positive | None = None
    seed: int | None = Field(default=None, ge=0)
    prompt: str | None = None
    """Text prompt (role, name, manner) for checkpoints that take one."""
    voice_prompt: PathText | None = None
    """Audio file whose voice the agent takes, for checkpoints that take one."""
    max_conversation_length: int | None = Field(default=None, ge=1)
    """Seconds after which a conversation is ended; empty: no limit."""
    max_steps: int | None = Field(default=None, ge=1)
    """The same in frames of 80 ms."""
    target_latency_ms: int = Field(default=200, ge=1)
    vram_allocation: Size | None = None
    enable_streaming: bool = True
    external_llm_enabled: bool = False
    inner_monologue_enabled: bool = True


class ExternalLlmConfig(Section):
    """The LLM that thinks while Moshi talks."""

    provider: Literal["ollama", "openai", "offline"] = "ollama"
    model: str = "qwen3:8b"
    deep_model: str | None = Field(default=None, min_length=1)
    """A larger one at the same server for what wants thought; empty: the one for all."""
    endpoint: str | None = None
    vram_allocation: Size | None = None
    reasoning_mode: str = "enhanced"
    context_window: int = Field(default=8_192, ge=512)
    temperature: float = Field(default=0.7, ge=0, le=2)
    parallel_processing: bool = True
    fallback_enabled: bool = True
    first_timeout: float = Field(default=12.0, gt=0, le=600)
    """Seconds until the first word of an answer; a model that must be loaded takes long."""
    stall_timeout: float = Field(default=6.0, gt=0, le=600)
    """Seconds between two pieces of an answer."""
    turn_timeout: float = Field(default=60.0, gt=0, le=3_600)
    """Seconds for a turn with all its tools."""


class HybridConfig(Section):
    """How Moshi's voice and the LLM's thoughts come together (modes hybrid and adaptive)."""

    voice: Voicing = "moshi_and_llm"
    """``llm_only``: only what the LLM says is heard; Moshi's own talk is muted."""
    filler_after: float = Field(default=2.0, ge=0.2, le=60)
    """Seconds of thinking after which something is said to bridge the time."""
    greeting: str | None = None
    """Said in every mode when a conversation begins."""
    max_words: int = Field(default=150, ge=10, le=10_000)
    """Of an answer that are spoken."""
    tool_calls: int = Field(default=8, ge=1, le=64)
    """In one message of the LLM that are run; the others are given back to it."""
    turns_per_minute: int = Field(default=20, ge=1, le=600)
    """So many turns of a conversation at most are asked of the LLM."""
    prefer: Literal["moshi", "balanced", "llm"] = "balanced"
    """In mode adaptive: who answers what either could."""
    slow_after: float = Field(default=8.0, ge=0.1, le=600)
    """Seconds to an answer's first word that are too long; Moshi answers alone after two."""
    at_once: int = Field(default=8, ge=1, le=1000)
    """Turns of all conversations that are thought about before adaptive leaves more to Moshi."""


class SpeakingConfig(Section):
    """In whose voice scripts are said: the LLM's answers, announcements, the greeting."""

    voice: PathText = Field(default="moshi", min_length=1)
    """``moshi``: its own, forced; else a TTS checkpoint by name or folder, Moshi being mute."""
    speaker: PathText | None = None
    """Voice of that checkpoint, by name or file; empty: the one it comes with."""
    device: Annotated[str, Field(pattern=r"^(auto|cpu|cuda|cuda:\d+)$")] | None = None
    """Where it runs; empty: where Moshi does."""
    codebooks: int | None = Field(default=None, ge=1, le=64)
    """Fewer are faster and sound worse; empty: 16, or as many as there are."""


class IntegrationConfig(Section):
    """What the conversation may use of memory, personality and tools, and whom it tells."""

    memory_enabled: bool = True
    personality_enabled: bool = True
    tools_enabled: bool = True
    websocket_events: bool = True
    memory_store: PathText | None = None
    """Folder or URI of the memories; empty: nothing is remembered."""
    memory_context_limit: int = Field(default=5, ge=0, le=100)
    """Memories told at once, three at most; 0: they are stored and not told."""
    memory_llm: LlmName | None = None
    """Distils facts and judges memories; empty: the LLM that answers, where one does."""
    character: PathText | None = None
    """Name of a character, or its YAML file; empty: ``moshi.prompt`` alone says who it is."""
    personality_adaptation: bool = True
    tool_calling_during_speech: bool = True
    mcp_servers: dict[str, McpServer] = Field(default_factory=dict)
    """Servers whose tools join the built-in ones, by name."""


def _log_file(default_name: str) -> BeforeValidator:
    """Let ``true`` stand for a file of the usual name and ``false`` for none."""

    def name(value: object) -> object:
        if isinstance(value, bool):
            return default_name if value else None
        return os.fspath(value) if isinstance(value, Path) else value

    return BeforeValidator(name)


class LoggingConfig(Section):
    """What is written down while conversations run."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["human", "json"] = "human"
    timing_log: Annotated[str | None, _log_file("moshi_timing.log")] = None
    """File for one line of timings a frame; ``true``: ``moshi_timing.log``."""
    text_log: Annotated[str | None, _log_file("moshi_text.log")] = None
    """File for what was said; ``true``: ``moshi_text.log``."""


class VoiceConfig(Section):
    """All settings. ``VoiceConfig()`` works on any machine, with coda-tiny.

    ``load`` reads files, the environment and keyword arguments; ``from_dict`` takes the
    same shapes from a dict. Both raise ConfigurationError, naming file, line and what is
    allowed.
    """

    mode: Mode = "moshi_only"
    conversation_mode: Literal["full_duplex", "turn_based", "push_to_talk"] = "full_duplex"
    provider: Literal["moshi", "moshi-cloud"] = "moshi"
    endpoint: str | None = None
    """Address of a remote Moshi."""
    audio: AudioConfig = AudioConfig()
    moshi: MoshiConfig = MoshiConfig()
    external_llm: ExternalLlmConfig = ExternalLlmConfig()
    hybrid: HybridConfig = HybridConfig()
    speaking: SpeakingConfig = SpeakingConfig()
    integration: IntegrationConfig = IntegrationConfig()
    logging: LoggingConfig = LoggingConfig()
    server: ServerConfig = ServerConfig()
    total_vram: Size | None = None
    reserved_system: Size | None = None
    dynamic_allocation: bool = False
    enable_traditional_pipeline: bool = False
    fallback_whisper_model: str | None = None
    fallback_tts_model: str | None = None

    _origins: dict[str, str] = PrivateAttr(default_factory=dict)
    _overruled: list[WithoutEffect] = PrivateAttr(default_factory=list)

    @classmethod
    def load(
        cls,
        *paths: str | os.PathLike[str],
        env: Mapping[str, str] | None = None,
        **overrides: object,
    ) -> Self:
        """Read the settings; later sources win: files in order, environment, keywords.

        ``env`` defaults to the process's environment (``CODA_VOICE__SECTION__KEY``);
        keywords are sections (``moshi={"device": "cpu"}``) or single settings
        (``moshi__device="cpu"``).
        """
        found: list[sources.Setting] = []
        for path in paths:
            found += sources.from_yaml(Path(path), leaves(cls))
        found += sources.from_environment(os.environ if env is None else env, leaves(cls))
        found += sources.from_mapping(overrides, leaves(cls), "keyword argument")
        return cls._from_settings(found)

    @classmethod
    def from_dict(cls, data: Mapping[str, object]) -> Self:
        """Take the settings from ``data``, in any of the shapes a file may have."""
        return cls._from_settings(sources.from_mapping(data, leaves(cls), "dict"))

    @classmethod
    def _from_settings(cls, settings: list[sources.Setting]) -> Self:
        latest = {s.key: s for s in settings}
        try:
            config = cls.model_validate(sources.nested(latest))
        except ValidationError as error:
            raise problems_of(error, latest) from error
        if config.provider == "moshi-cloud" and config.moshi.device not in ("auto", "cloud"):
            raise contradiction(latest["provider"], latest["moshi.device"])
        config._origins.update({key: str(s.origin) for key, s in latest.items()})
        config._overruled.extend(
            WithoutEffect(o.written, f"{s.written!r} is more specific and says {s.value!r}")
            for s in latest.values()
            for o in s.overrules
        )
        return config

    def origin_of(self, key: str) -> str:
        """Say where the setting ``key`` (dotted) was made; ``default`` if nowhere."""
        below = (where for made, where in self._origins.items() if made.startswith(f"{key}."))
        return self._origins.get(key) or next(below, "default")

    def settings_without_effect(self) -> list[WithoutEffect]:
        """List the settings that were made but change nothing in this build, and why."""
        return [*self._overruled, *without_effect(self)]

    def to_yaml(self) -> str:
        """Write all settings as YAML that ``load`` reads back to the same values."""
        return yaml.safe_dump(
            self.model_dump(mode="json"), sort_keys=False, allow_unicode=True, width=100
        )

    @property
    def effective_device(self) -> str:
        """Where Moshi runs: ``moshi.device``, or ``cloud`` if the provider is remote."""
        return "cloud" if self.provider == "moshi-cloud" else self.moshi.device

    @property
    def conversation_limit_seconds(self) -> float | None:
        """Seconds a conversation may last, by whichever limit is the tighter; None: no limit."""
        limits = [
            seconds
            for seconds in (
                self.moshi.max_conversation_length,
                None if self.moshi.max_steps is None else self.moshi.max_steps / 12.5,
            )
            if seconds is not None
        ]
        return min(limits, default=None)


def leaves(model: type[BaseModel], prefix: str = "") -> list[str]:
    """List the dotted keys of all settings of ``model``, in the order of its fields."""
    keys: list[str] = []
    for name, field in model.model_fields.items():
        section = field.annotation
        if isinstance(section, type) and issubclass(section, BaseModel):
            keys += leaves(section, f"{prefix}{name}.")
        else:
            keys.append(f"{prefix}{name}")
    return keys
