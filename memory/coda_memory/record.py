"""What is remembered: one ``Memory`` is one row of the store.

A *turn* is what somebody said, word for word. *Facts* and *preferences* are distilled from
the user's turns and point back at them (``source_id``). A *note* is anything else that was
handed over to be kept. A newer fact on the same ``subject`` supersedes the older, which stays
as history with the time until which it held. What the user takes back in the next turn ends
without anything in its place.
"""

from __future__ import annotations

import secrets
from datetime import UTC, datetime
from typing import Literal

import pyarrow as pa
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

Kind = Literal["turn", "fact", "preference", "note"]
MAX_TEXT = 8_000
"""Characters of one memory; a turn of speech is a few hundred."""


def new_id(at: datetime) -> str:
    """Make an id that sorts by time: 12 hex digits of milliseconds, 10 random ones."""
    return f"{int(at.timestamp() * 1000):012x}{secrets.token_hex(5)}"


def utc_now() -> datetime:
    """Now, with its time zone."""
    return datetime.now(UTC)


class Memory(BaseModel):
    """One memory of one user."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str = Field(pattern=r"^[A-Za-z0-9_-]{1,64}$")
    text: str = Field(min_length=1, max_length=MAX_TEXT)
    kind: Kind = "turn"
    speaker: str = Field(default="user", max_length=64)
    conversation_id: str = Field(default="", max_length=256)
    created_at: AwareDatetime
    importance: float = Field(default=0.3, ge=0.0, le=1.0)
    subject: str | None = Field(default=None, max_length=256)
    source_id: str | None = Field(default=None, pattern=r"^[A-Za-z0-9_-]{1,64}$")
    superseded_at: AwareDatetime | None = None
    superseded_by: str | None = Field(default=None, pattern=r"^[A-Za-z0-9_-]{1,64}$")

    @property
    def valid(self) -> bool:
        """Whether nothing newer on its subject is known, and it was not taken back."""
        return self.superseded_at is None

    @property
    def taken_back(self) -> bool:
        """Whether the user did not mean it ("just kidding"): it ended, and nothing replaced it."""
        return self.superseded_at is not None and self.superseded_by is None


_TIME = pa.timestamp("us", tz="UTC")
_COLUMNS = [
    pa.field("id", pa.string()),
    pa.field("text", pa.string()),
    pa.field("kind", pa.string()),
    pa.field("speaker", pa.string()),
    pa.field("conversation_id", pa.string()),
    pa.field("created_at", _TIME),
    pa.field("importance", pa.float64()),
    pa.field("subject", pa.string()),
    pa.field("source_id", pa.string()),
    pa.field("superseded_at", _TIME),
    pa.field("superseded_by", pa.string()),
]
COLUMNS = [field.name for field in _COLUMNS]
"""The columns of a memory, without the user it belongs to and without its vector."""
RECORD = "record"
"""The column that holds a memory whole, as JSON: what a search finds lies scattered over the table,
where each column of it costs a quarter of a millisecond. Conditions and upkeep use the others."""


def schema(dimension: int) -> pa.Schema:
    """Columns of a user's table: the user, the memory twice, and its vector of ``dimension``."""
    vector = pa.field("vector", pa.list_(pa.float32(), dimension))
    record = pa.field(RECORD, pa.string())
    return pa.schema([pa.field("user_id", pa.string()), *_COLUMNS, record, vector])
