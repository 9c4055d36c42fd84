"""Texts as LanceDB's conditions want them."""

from __future__ import annotations

from collections.abc import Iterable


def listed(texts: Iterable[str]) -> str:
    """``texts`` as a list of SQL."""
    return ", ".join(quoted(text) for text in sorted(texts))


def quoted(text: str) -> str:
    """``text`` as a string of SQL."""
    return "'" + text.replace("'", "''") + "'"
