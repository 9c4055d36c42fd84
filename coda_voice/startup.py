"""From a configuration to a running engine, and to what a conversation begins with."""

from __future__ import annotations

import os
import secrets
from collections.abc import Mapping
from typing import TypeVar, cast

import torch

from coda_voice.audio import files
from coda_voice.audio.ingest import AudioSettings
from coda_voice.config import VoiceConfig
from coda_voice.errors import (
    ConfigurationError,
    UnsupportedModeError,
    ValidationError,
    VoiceInitializationError,
    VRAMAllocationError,
)
from coda_voice.hardware import Machine, choose_device, choose_dtype, conversations_that_fit
from coda_voice.moshi.capabilities import capabilities_for
from coda_voice.moshi.checkpoint import DtypeName, SpeechModels, load_models
from coda_voice.moshi.engine import Engine, EngineOptions
from coda_voice.moshi.frames import SAMPLE_RATE, Sampling
from coda_voice.moshi.prompt import Prompt

Number = TypeVar("Number", int, float)
ConfigLike = VoiceConfig | Mapping[str, object] | str | os.PathLike[str]
GPU_SLOTS = 8
"""Conversations at once on a GPU that has memory for them, unless moshi.slots says more."""


def as_config(config: ConfigLike | None) -> VoiceConfig:
    """Give the configuration in whatever form it came; None means files and defaults apart.

    Raises ConfigurationError for settings that cannot be, ValidationError for another type.
    """
    if config is None:
        return VoiceConfig.load()
    if isinstance(config, VoiceConfig):
        return config
    if isinstance(config, Mapping):
        return VoiceConfig.from_dict(config)
    if isinstance(config, (str, os.PathLike)):
        return VoiceConfig.load(config)
    raise ValidationError(
        f"config is {type(config).__name__}; give a VoiceConfig, a dict, or the path of a YAML "
        "file.",
        "not_a_config",
    )


def refuse_what_is_not_here(config: VoiceConfig) -> None:
    """Raise for a mode this build does not have, or a device that lacks what it needs."""
    if config.mode == "traditional":
        raise UnsupportedModeError(
            "mode 'traditional' is not part of this build: there is no pipeline of recogniser, "
            "LLM and synthesiser; what works now is moshi_only, hybrid and adaptive.",
            mode=config.mode,
        )
    if config.effective_device == "cloud" and not config.endpoint:
        raise ConfigurationError(
            "device: cloud needs the address of a voice server of ours: set endpoint, for example "
            "wss://voice.example.org (and CODA_VOICE_TOKEN, if it wants a token).",
            setting="endpoint",
        )


def open_engine(config: VoiceConfig, prompt: Prompt | None = None) -> Engine:
    """Load the checkpoint and start an engine on it. Blocks for as long as that takes.

    ``prompt``: what conversations will begin with; one the checkpoint cannot take fails
    now. Raises ModelLoadingError, ConfigurationError, VRAMAllocationError,
    VoiceInitializationError.
    """
    refuse_what_is_not_here(config)
    settings = config.moshi
    if config.effective_device == "cloud":
        return _open_remote(config, prompt)
    device = _device_for(config)
    dtype = cast(DtypeName, choose_dtype(settings.optimization, device))
    try:
        free = _free_memory(device)
        models = load_models(settings.checkpoint, device, dtype, settings.transcriber)
        slots = settings.slots or _slots_for(models, free)
        engine = Engine(models, EngineOptions(slots=slots, threads=settings.threads))
        engine.start()
    except torch.cuda.OutOfMemoryError as error:
        raise VRAMAllocationError(
            f"{settings.checkpoint} with {settings.slots or 'the usual number of'} slots does not "
            f"fit on {device}: lower moshi.slots, choose optimization: int8 or a smaller "
            "checkpoint; `coda-voice doctor` shows what fits.",
            device=device,
        ) from error
    except RuntimeError as error:
        raise VoiceInitializationError(
            f"The engine did not start on {device}: {error}. `coda-voice doctor` shows what this "
            "machine can run.",
            device=device,
        ) from error
    try:
        engine.check(prompt or Prompt())
    except ConfigurationError:
        engine.close()
        raise
    return engine


def _device_for(config: VoiceConfig) -> str:
    """Settle the device; a checkpoint in MLX's own format is for MLX alone."""
    wanted = config.effective_device
    if wanted == "auto" and capabilities_for(config.moshi.checkpoint).backend == "mlx":
        wanted = "mlx"
    return choose_device(wanted)


def _open_remote(config: VoiceConfig, prompt: Prompt | None) -> Engine:
    from coda_voice.remote_engine import RemoteEngine

    engine = RemoteEngine(
        config.endpoint or "", os.environ.get("CODA_VOICE_TOKEN"), config.moshi.slots
    )
    engine.check(prompt or Prompt())
    engine.start()
    return engine


def _free_memory(device: str) -> int:
    if not device.startswith("cuda"):
        return 0
    index = int(device.partition(":")[2] or 0)
    return next((gpu.free for gpu in Machine.look().gpus if gpu.index == index), 0)


def _slots_for(models: SpeechModels, free: int) -> int:
    if models.backend == "mlx" and models.capabilities.min_vram_gb > 0:
        return 1  # conversations are stepped one after another there
    if models.device.type != "cuda":
        return EngineOptions().slots
    return max(1, min(GPU_SLOTS, conversations_that_fit(models.capabilities, free)))


def sampling_of(config: VoiceConfig, suggested: Sampling) -> Sampling:
    """Give how a conversation samples: the checkpoint's suggestion, and what was set.

    Without ``moshi.seed`` every conversation gets a seed of its own.
    """
    settings = config.moshi

    def either(given: Number | None, otherwise: Number) -> Number:
        return otherwise if given is None else given

    return Sampling(
        temperature=either(settings.temperature, suggested.temperature),
        top_k=either(settings.top_k, suggested.top_k),
        text_temperature=either(settings.text_temperature, suggested.text_temperature),
        text_top_k=either(settings.text_top_k, suggested.text_top_k),
        seed=secrets.randbits(31) if settings.seed is None else settings.seed,
    )


def prompt_of(config: VoiceConfig) -> Prompt | None:
    """Give what the agent is told first; reads the voice sample. None if nothing was set."""
    settings = config.moshi
    voice = files.read(settings.voice_prompt).at(SAMPLE_RATE) if settings.voice_prompt else None
    return Prompt(text=settings.prompt or "", voice=voice) or None


def audio_settings_of(config: VoiceConfig, sample_rate: int | None = None) -> AudioSettings:
    """Give the input chain's settings, for audio at its own rate or the configured one."""
    audio = config.audio
    return AudioSettings(
        sample_rate=sample_rate or audio.sample_rate,
        channels=audio.channels,
        bit_depth=audio.bit_depth,
        vad_enabled=audio.vad_enabled,
        vad_threshold=audio.vad_threshold,
        silence_duration_ms=audio.silence_duration_ms,
        noise_reduction=audio.noise_reduction,
        echo_cancellation=audio.echo_cancellation,
        auto_gain_control=audio.auto_gain_control,
    )
