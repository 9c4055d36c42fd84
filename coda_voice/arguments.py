"""What a caller gives, checked where it comes in: the mistake is told to whoever made it."""

from __future__ import annotations

from coda_voice.errors import ValidationError


def checked_text(value: object, name: str, code: str, advice: str) -> str:
    """Give ``value`` back if it is a text that can be written down and sent.

    ``name`` is that of the argument, ``advice`` ends the sentence "give …". Raises
    ValidationError for another type, and for half of a surrogate pair, which no UTF-8 has.
    """
    if not isinstance(value, str):
        raise ValidationError(f"{name} is {type(value).__name__}, not text; give {advice}.", code)
    try:
        value.encode("utf-8")
    except UnicodeEncodeError as error:
        raise ValidationError(
            f"{name} has half a character in it ({value[error.start]!a} at {error.start}), which "
            f"cannot be written down; give {advice}.",
            code,
        ) from None
    return value
