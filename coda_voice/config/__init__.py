"""Configuration: one model, four sources, and no setting that only pretends to act."""

from coda_voice.config.effects import ACTS, NO_EFFECT, NoEffect, WithoutEffect
from coda_voice.config.mcp import McpServer
from coda_voice.config.model import (
    AudioConfig,
    ExternalLlmConfig,
    IntegrationConfig,
    LoggingConfig,
    MoshiConfig,
    VoiceConfig,
    leaves,
)
from coda_voice.config.server import ServerConfig
from coda_voice.config.sizes import format_size, parse_size

__all__ = [
    "ACTS",
    "NO_EFFECT",
    "AudioConfig",
    "ExternalLlmConfig",
    "IntegrationConfig",
    "LoggingConfig",
    "McpServer",
    "MoshiConfig",
    "NoEffect",
    "ServerConfig",
    "VoiceConfig",
    "WithoutEffect",
    "format_size",
    "leaves",
    "parse_size",
]
