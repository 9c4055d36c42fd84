"""A full-duplex voice: Kyutai Moshi speaks and listens, an LLM thinks.

The public names. Each is imported when it is first used, so that ``import coda_voice``
costs nothing: torch is only loaded with the manager.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from coda_voice.broadcasting import WebSocketVoiceManager
    from coda_voice.config import VoiceConfig
    from coda_voice.errors import (
        AudioProcessingError,
        ComponentNotInitializedError,
        ConfigurationError,
        ConversationError,
        DownloadError,
        IntegrationError,
        ModelLoadingError,
        MoshiConnectionError,
        SlotsFullError,
        UnsupportedModeError,
        ValidationError,
        VoiceInitializationError,
        VoiceProcessingError,
        VoiceTimeoutError,
        VRAMAllocationError,
    )
    from coda_voice.event_bus import EventBus
    from coda_voice.events import Event
    from coda_voice.manager import VoiceManager
    from coda_voice.models import (
        ConversationState,
        Health,
        SystemStatus,
        VoiceAnalytics,
        VoiceResponse,
        VoiceStreamChunk,
    )
    from coda_voice.protocols import MemoryManager, PersonalityManager, ToolManager

__all__ = [
    "AudioProcessingError",
    "ComponentNotInitializedError",
    "ConfigurationError",
    "ConversationError",
    "ConversationState",
    "DownloadError",
    "Event",
    "EventBus",
    "Health",
    "IntegrationError",
    "MemoryManager",
    "ModelLoadingError",
    "MoshiConnectionError",
    "PersonalityManager",
    "SlotsFullError",
    "SystemStatus",
    "ToolManager",
    "UnsupportedModeError",
    "VRAMAllocationError",
    "ValidationError",
    "VoiceAnalytics",
    "VoiceConfig",
    "VoiceInitializationError",
    "VoiceManager",
    "VoiceProcessingError",
    "VoiceResponse",
    "VoiceStreamChunk",
    "VoiceTimeoutError",
    "WebSocketVoiceManager",
]

_HOMES = {
    "VoiceConfig": "config",
    "VoiceManager": "manager",
    "WebSocketVoiceManager": "broadcasting",
    "Event": "events",
    "EventBus": "event_bus",
    **dict.fromkeys(["MemoryManager", "PersonalityManager", "ToolManager"], "protocols"),
    **dict.fromkeys(
        [
            "ConversationState",
            "Health",
            "SystemStatus",
            "VoiceAnalytics",
            "VoiceResponse",
            "VoiceStreamChunk",
        ],
        "models",
    ),
}
"""Where the names live; those not here are errors."""


def __getattr__(name: str) -> object:
    """Import a public name when it is first asked for."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    home = importlib.import_module(f"{__name__}.{_HOMES.get(name, 'errors')}")
    value: object = getattr(home, name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """List the public names."""
    return sorted(__all__)
