"""A turn that holds no fact, as it is told: "The user once said: …", never more than a little."""

from __future__ import annotations

WORDS = 24
CHARACTERS = 240
"""Of a turn that is told; what was typed may be one word of thousands of letters."""


def once_said(text: str, whose: str = "The user once said") -> str:
    """Quote the beginning of what somebody said."""
    words = text.split()
    shown = " ".join(words[:WORDS])[:CHARACTERS]
    return f'{whose}: "{shown}{"…" if len(shown) < len(" ".join(words)) else ""}"'
