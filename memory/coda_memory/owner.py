"""Whose memories: the id a host gives us, and the name its table goes by.

Users are kept apart by construction: every user has a table of its own, named by a hash of
the id, and nothing below ``MemoryStore.user`` ever sees a query without its table. A user id
is never part of a filter or of a path, so there is no character in it that could break out.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from coda_voice.errors import ValidationError

MAX_USER_ID = 1_024


@dataclass(frozen=True, slots=True)
class Owner:
    """A user: ``user_id`` as given (case, spaces and accents matter), ``key`` for the table."""

    user_id: str
    key: str

    @classmethod
    def of(cls, user_id: str) -> Owner:
        """Raises ValidationError for an id that is no text, empty, or absurdly long."""
        if not isinstance(user_id, str) or not user_id.strip() or len(user_id) > MAX_USER_ID:
            raise ValidationError(
                f"a user id is a text of 1 to {MAX_USER_ID} characters that is not blank, "
                f"not {str(user_id)[:40]!r}; memories always belong to somebody.",
                "user_id",
            )
        try:
            encoded = user_id.encode()
        except UnicodeEncodeError:
            raise ValidationError(
                f"{user_id!a} is no text: it holds half of a surrogate pair.", "user_id"
            ) from None
        return cls(user_id, hashlib.blake2b(encoded, digest_size=16).hexdigest())
