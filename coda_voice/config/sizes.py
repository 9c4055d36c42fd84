"""Amounts of memory as people write them: ``8GB``, ``512 MiB``, or plain bytes."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import BeforeValidator, PlainSerializer

_UNITS = {
    "": 1,
    "b": 1,
    **{u: 10 ** (3 * n) for n, u in enumerate(("kb", "mb", "gb", "tb"), 1)},
    **{u: 10 ** (3 * n) for n, u in enumerate(("k", "m", "g", "t"), 1)},
    **{u: 2 ** (10 * n) for n, u in enumerate(("kib", "mib", "gib", "tib"), 1)},
}
_PATTERN = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([a-zA-Z]*)\s*")
ALLOWED = "an amount of memory such as 8GB, 512MiB or a number of bytes"


def parse_size(value: object) -> int:
    """Give the bytes in ``8GB`` (10⁹), ``8GiB`` (2³⁰) or a bare number.

    Raises ValueError for anything else.
    """
    if isinstance(value, int | float) and not isinstance(value, bool) and value >= 0:
        return int(value)
    match = _PATTERN.fullmatch(value) if isinstance(value, str) else None
    unit = _UNITS.get(match[2].lower()) if match else None
    if match is None or unit is None:
        raise ValueError(f"must be {ALLOWED}")
    return int(float(match[1]) * unit)


def format_size(size: int) -> str:
    """Write ``size`` bytes so that ``parse_size`` reads the same number again."""
    for unit in ("TB", "GB", "MB", "kB", "TiB", "GiB", "MiB", "KiB"):
        quotient, rest = divmod(size, _UNITS[unit.lower()])
        if quotient and not rest:
            return f"{quotient}{unit}"
    return str(size)


Size = Annotated[
    int,
    BeforeValidator(parse_size),
    PlainSerializer(format_size, return_type=str, when_used="json"),
]
"""Bytes; read from and shown as ``8GB``."""
