"""Where memories are kept when nobody says where."""

from __future__ import annotations

from pathlib import Path


def default_store() -> str:
    """Give the folder of memories when none is named: ~/.local/share/coda-voice/memory."""
    return str(Path.home() / ".local" / "share" / "coda-voice" / "memory")
