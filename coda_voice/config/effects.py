"""Which settings act, and where; which do nothing in this build, and why.

Every setting of the model is in exactly one of the two tables; a test looks whether the
module that ``ACTS`` names really reads it. A setting that is accepted but does nothing is
reported when a configuration is loaded, except where it asks for what happens anyway.
"""

from __future__ import annotations

from typing import NamedTuple

from pydantic import BaseModel

ACTS: dict[str, str] = {
    "mode": "coda_voice/startup.py",
    "provider": "coda_voice/config/model.py",
    "conversation_mode": "coda_voice/calls.py",
    "audio.sample_rate": "coda_voice/startup.py",
    "audio.channels": "coda_voice/startup.py",
    "audio.bit_depth": "coda_voice/startup.py",
    "audio.format": "coda_voice/calls.py",
    "audio.vad_enabled": "coda_voice/startup.py",
    "audio.vad_threshold": "coda_voice/startup.py",
    "audio.silence_duration_ms": "coda_voice/startup.py",
    "audio.noise_reduction": "coda_voice/startup.py",
    "audio.echo_cancellation": "coda_voice/startup.py",
    "audio.auto_gain_control": "coda_voice/startup.py",
    "moshi.checkpoint": "coda_voice/startup.py",
    "moshi.transcriber": "coda_voice/startup.py",
    "moshi.device": "coda_voice/startup.py",
    "moshi.optimization": "coda_voice/startup.py",
    "moshi.slots": "coda_voice/startup.py",
    "moshi.threads": "coda_voice/startup.py",
    "moshi.temperature": "coda_voice/startup.py",
    "moshi.top_k": "coda_voice/startup.py",
    "moshi.text_temperature": "coda_voice/startup.py",
    "moshi.text_top_k": "coda_voice/startup.py",
    "moshi.seed": "coda_voice/startup.py",
    "moshi.prompt": "coda_voice/startup.py",
    "moshi.voice_prompt": "coda_voice/startup.py",
    "moshi.max_conversation_length": "coda_voice/config/model.py",
    "moshi.max_steps": "coda_voice/config/model.py",
    "external_llm.provider": "coda_voice/hybrid_setup.py",
    "external_llm.model": "coda_voice/hybrid_setup.py",
    "external_llm.deep_model": "coda_voice/hybrid_setup.py",
    "endpoint": "coda_voice/startup.py",
    "external_llm.endpoint": "coda_voice/hybrid_setup.py",
    "external_llm.context_window": "coda_voice/hybrid_setup.py",
    "external_llm.temperature": "coda_voice/hybrid_setup.py",
    "external_llm.parallel_processing": "coda_voice/hybrid_setup.py",
    "external_llm.fallback_enabled": "coda_voice/hybrid_setup.py",
    "external_llm.first_timeout": "coda_voice/hybrid_setup.py",
    "external_llm.stall_timeout": "coda_voice/hybrid_setup.py",
    "external_llm.turn_timeout": "coda_voice/hybrid_setup.py",
    "hybrid.voice": "coda_voice/answering.py",
    "hybrid.filler_after": "coda_voice/hybrid_setup.py",
    "hybrid.max_words": "coda_voice/hybrid_setup.py",
    "hybrid.tool_calls": "coda_voice/hybrid_setup.py",
    "hybrid.turns_per_minute": "coda_voice/hybrid_setup.py",
    "hybrid.prefer": "coda_voice/hybrid_setup.py",
    "hybrid.slow_after": "coda_voice/hybrid_setup.py",
    "hybrid.at_once": "coda_voice/hybrid_setup.py",
    "hybrid.greeting": "coda_voice/manager.py",
    "speaking.voice": "coda_voice/speaking_setup.py",
    "speaking.speaker": "coda_voice/speaking_setup.py",
    "speaking.device": "coda_voice/speaking_setup.py",
    "speaking.codebooks": "coda_voice/speaking_setup.py",
    "integration.tools_enabled": "coda_voice/hybrid_setup.py",
    "integration.mcp_servers": "coda_voice/hybrid_setup.py",
    "integration.memory_enabled": "coda_voice/memory_setup.py",
    "integration.memory_store": "coda_voice/memory_setup.py",
    "integration.memory_llm": "coda_voice/memory_llm.py",
    "integration.memory_context_limit": "coda_voice/memory_setup.py",
    "integration.personality_enabled": "coda_voice/memory_setup.py",
    "integration.personality_adaptation": "coda_voice/memory_setup.py",
    "integration.character": "coda_voice/memory_setup.py",
    "integration.websocket_events": "coda_voice/broadcasting.py",
    "logging.level": "coda_voice/logs.py",
    "logging.format": "coda_voice/logs.py",
    "logging.timing_log": "coda_voice/logs.py",
    "logging.text_log": "coda_voice/logs.py",
    "server.host": "coda_voice/server/run.py",
    "server.port": "coda_voice/server/run.py",
    "server.tls_certificate": "coda_voice/server/run.py",
    "server.tls_key": "coda_voice/server/run.py",
    "server.keys_file": "coda_voice/server/access.py",
    "server.jwt_secret_file": "coda_voice/server/access.py",
    "server.jwks_url": "coda_voice/server/access.py",
    "server.jwt_audience": "coda_voice/server/access.py",
    "server.jwt_issuer": "coda_voice/server/access.py",
    "server.allow_anonymous": "coda_voice/server/access.py",
    "server.allowed_origins": "coda_voice/server/gate.py",
    "server.allowed_hosts": "coda_voice/server/gate.py",
    "server.proxies": "coda_voice/server/app.py",
    "server.voices": "coda_voice/server/sessions.py",
    "server.recordings": "coda_voice/server/app.py",
    "server.traces": "coda_voice/server/app.py",
    "server.twilio_token_file": "coda_voice/server/edges.py",
    "server.public_url": "coda_voice/server/edges.py",
    "server.waiting": "coda_voice/server/sessions.py",
    "server.wait_seconds": "coda_voice/server/sessions.py",
    "server.idle_seconds": "coda_voice/server/sessions.py",
    "server.silent_call_seconds": "integrations/coda_integrations/server_host.py",
    "server.longest_seconds": "coda_voice/server/sessions.py",
    "server.resume_seconds": "coda_voice/server/sessions.py",
    "server.drain_seconds": "coda_voice/server/run.py",
    "server.message_kb": "coda_voice/server/run.py",
    "server.body_kb": "coda_voice/server/bodies.py",
    "server.messages_per_second": "coda_voice/server/socket.py",
    "server.connections_per_address": "coda_voice/server/front.py",
    "server.connects_per_second": "coda_voice/server/front.py",
    "server.events_kept": "coda_voice/server/front.py",
}
"""Setting → the module that reads it."""


class NoEffect(NamedTuple):
    """Why a setting does nothing; ``already`` is the value that describes what happens."""

    reason: str
    already: object = None


_FIXED_VRAM = (
    "memory follows from checkpoint, number format and slots, all fixed at start; "
    "`coda-voice doctor` shows what fits"
)
_NO_PIPELINE = "there is no pipeline of separate recogniser and synthesiser: Moshi does both"

NO_EFFECT: dict[str, NoEffect] = {
    "audio.chunk_size": NoEffect(
        "audio may come in chunks of any size; the model's frame is 80 ms"
    ),
    "moshi.sample_rate": NoEffect(
        "Moshi works at 24 kHz; the caller's rate is audio.sample_rate", already=24_000
    ),
    "moshi.target_latency_ms": NoEffect(
        "a frame is answered as soon as it is there, never later on purpose; the latency "
        "reached is measured in the analytics"
    ),
    "moshi.vram_allocation": NoEffect(_FIXED_VRAM),
    "moshi.enable_streaming": NoEffect("audio is always streamed frame by frame", already=True),
    "moshi.external_llm_enabled": NoEffect(
        "whether an LLM is asked is what mode says: hybrid and adaptive ask one", already=False
    ),
    "moshi.inner_monologue_enabled": NoEffect(
        "the inner monologue is part of how Moshi speaks and cannot be left out", already=True
    ),
    "external_llm.vram_allocation": NoEffect(
        "the LLM runs in a server of its own, which is told there how much memory it may take"
    ),
    "external_llm.reasoning_mode": NoEffect(
        "there is one way of reasoning: short answers, tools, a limit of rounds",
        already="enhanced",
    ),
    "integration.tool_calling_during_speech": NoEffect(
        "tools always run beside the speech, which never waits for them", already=True
    ),
    "total_vram": NoEffect(_FIXED_VRAM),
    "reserved_system": NoEffect(_FIXED_VRAM),
    "dynamic_allocation": NoEffect(_FIXED_VRAM, already=False),
    "enable_traditional_pipeline": NoEffect(_NO_PIPELINE, already=False),
    "fallback_whisper_model": NoEffect(_NO_PIPELINE),
    "fallback_tts_model": NoEffect(_NO_PIPELINE),
}


class WithoutEffect(NamedTuple):
    """A setting that was made and does nothing in this build, and why."""

    setting: str
    reason: str


def without_effect(config: BaseModel, prefix: str = "") -> list[WithoutEffect]:
    """List the settings made in ``config`` that are in ``NO_EFFECT``, in the model's order."""
    found: list[WithoutEffect] = []
    for name in type(config).model_fields:
        if name not in config.model_fields_set:
            continue
        key, value = f"{prefix}{name}", getattr(config, name)
        if isinstance(value, BaseModel):
            found += without_effect(value, f"{key}.")
        elif key in NO_EFFECT and value != NO_EFFECT[key].already:
            found.append(WithoutEffect(key, NO_EFFECT[key].reason))
    return found
