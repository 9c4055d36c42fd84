"""JSON that somebody else has written, read so that all that it holds can be written again."""

from __future__ import annotations

import json
import re

_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")
"""An escape of half a character; two of them in a row make one, such as an emoji."""


def read_json(text: str | bytes) -> object:
    """Give what a JSON text says. Raises ValueError for what is none, UnicodeError among them.

    JSON can spell half a character (a surrogate alone: a text that was cut within an emoji),
    which nobody can send or store afterwards; and it can be nested deeper than Python reads.
    """
    if isinstance(text, bytes):
        text = text.decode("utf-8")
    try:
        read = json.loads(text)
        if _SURROGATE.search(text):
            json.dumps(read, ensure_ascii=False).encode("utf-8")
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
    return read
