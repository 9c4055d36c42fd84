"""Whether the whole is well: health and a picture of engine, conversations and settings."""

from __future__ import annotations

from coda_voice.models import Health, SystemStatus, VoiceAnalytics
from coda_voice.moshi.engine import Engine


def health_of(engine: Engine | None) -> Health:
    """Tell whether conversations can go on, and whether new ones can start."""
    stats = None if engine is None else engine.stats()
    checks = {
        "initialized": engine is not None,
        "engine_running": engine is not None and engine.running,
        "slot_free": stats is not None and stats.leased < stats.slots,
    }
    if all(checks.values()):
        return Health(status="healthy", checks=checks)
    if checks["engine_running"]:
        return Health(
            status="degraded", checks=checks, detail="every slot is leased: none can join"
        )
    return Health(
        status="unhealthy",
        checks=checks,
        detail="the engine has stopped; initialize() the manager again"
        if checks["initialized"]
        else "initialize() has not been called",
    )


def device_of(engine: Engine | None) -> str | None:
    """Name the device the engine is on."""
    return None if engine is None else engine.models.device_name


def status_of(
    engine: Engine | None,
    analytics: VoiceAnalytics,
    *,
    mode: str,
    conversations: list[str],
    uptime: float,
    integrations: dict[str, bool],
    tool_servers: dict[str, str],
    settings_without_effect: dict[str, str],
) -> SystemStatus:
    """Draw the picture; ``uptime`` in seconds."""
    stats = None if engine is None else engine.stats()
    return SystemStatus.model_validate(
        {
            "initialized": engine is not None,
            "healthy": engine is not None and engine.running,
            "mode": mode,
            "checkpoint": None if engine is None else engine.models.name,
            "device": device_of(engine),
            "slots_used": stats.leased if stats else 0,
            "slots_total": stats.slots if stats else 0,
            "active_conversations": conversations,
            "uptime_seconds": uptime if engine else 0.0,
            "tick_p50_ms": stats.tick_p50_ms if stats and stats.ticks else None,
            "tick_p99_ms": stats.tick_p99_ms if stats and stats.ticks else None,
            "integrations": integrations,
            "tool_servers": tool_servers,
            "settings_without_effect": settings_without_effect,
            "analytics": analytics,
        }
    )
