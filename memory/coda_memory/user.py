"""The memories of one user: everything a host does with them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future
from datetime import datetime
from typing import TYPE_CHECKING

from lancedb.table import LanceTable
from pydantic import ValidationError as ShapeError

from coda_memory.distill import distill, fact_as_ruled
from coda_memory.embedding import Vectors
from coda_memory.errors import MemoryStoreError
from coda_memory.fact_finder import subject_key
from coda_memory.fact_rules import Fact
from coda_memory.forgetting import to_forget
from coda_memory.owner import Owner
from coda_memory.record import COLUMNS, MAX_TEXT, Kind, Memory, new_id
from coda_memory.rows import as_memory
from coda_memory.search import Hit, Ranking, search
from coda_memory.sql import listed
from coda_memory.supersede import plain
from coda_memory.upkeep import probes
from coda_voice.errors import ValidationError

if TYPE_CHECKING:
    from coda_memory.store import MemoryStore

FOUND = 15
"""Memories of a search before the thinking filter chooses among them."""
MAX_QUERY = 2_000
_HOLDS = "superseded_at IS NULL AND kind IN ('fact', 'preference')"


class UserMemories:
    """One user of a store; from ``MemoryStore.user``. Knows no other user's table."""

    def __init__(self, store: MemoryStore, owner: Owner) -> None:
        self._store = store
        self._owner = owner
        self._table = store.tables.name_of(owner)

    @property
    def user_id(self) -> str:
        """Whose memories these are."""
        return self._owner.user_id

    def now(self) -> datetime:
        """The time by the store's clock."""
        return self._store.now()

    def remember(
        self, text: str, *, conversation_id: str = "", at: datetime | None = None,
        importance: float | None = None,
    ) -> list[Memory]:  # fmt: skip
        """Keep what the user said, with the facts in it; returns when it is safely stored."""
        memories = self.turn(text, conversation_id=conversation_id, at=at, importance=importance)
        self.append(memories).result()
        return memories

    def turn(
        self, text: str, *, conversation_id: str = "", at: datetime | None = None,
        importance: float | None = None, meant: str = "",
    ) -> list[Memory]:  # fmt: skip
        """Make the memories of one turn of the user: the turn, then what it says of the user.

        meant: what it says where its words alone do not ("sorry, Berlin"; see ``put_right``).
        """
        text = _checked(text)
        facts = distill(meant or text)
        weight = max((fact.importance for fact in facts), default=0.3)
        said = _memory(
            text=text, conversation_id=conversation_id, created_at=at or self._store.now(),
            importance=weight if importance is None else importance,
        )  # fmt: skip
        return [said, *self.facts_from(said, facts)]

    def facts_from(self, turn: Memory, facts: Sequence[Fact]) -> Sequence[Memory]:
        """Make the memories of ``facts`` that were found in a turn."""
        return [
            _memory(
                text=fact.text, kind=fact.kind, conversation_id=turn.conversation_id,
                created_at=turn.created_at, importance=fact.importance, subject=fact.subject,
                source_id=turn.id,
            )
            for fact in facts
        ]  # fmt: skip

    def remember_fact(
        self, text: str, *, importance: float = 0.7, source: str = "user",
        subject: str | None = None, at: datetime | None = None,
    ) -> Memory:  # fmt: skip
        """Keep a fact somebody else distilled. From any source but the user it is a note."""
        kind: Kind = "fact" if source == "user" else "note"
        found = None
        if _checked(text) and subject is None and source == "user":
            found = next(iter(distill(text)), None) or fact_as_ruled(text)
        fact = _memory(
            text=text, kind=kind, speaker=source, importance=importance,
            created_at=at or self._store.now(),
            subject=found.subject if found else subject and subject_key(subject),
        )  # fmt: skip
        self.append([fact]).result()
        return fact

    def append(self, memories: Sequence[Memory]) -> Future[None]:
        """Write memories; the future resolves when they survive this process."""
        return self._store.append(self._owner, memories)

    def append_from(self, turn: Memory, facts: Sequence[Memory]) -> Future[bool]:
        """Write facts that were read from a stored turn, unless it was forgotten meanwhile.

        Nor are they written where it was taken back. The future gives whether they were.
        """
        return self._store.append_from(self._owner, turn.id, facts)

    def take_back(self, turn: str, memories: Sequence[Memory]) -> Future[Sequence[Memory]]:
        """Write memories of a turn that takes another one, given by its id, back.

        What was read from that other one holds no longer, and what this had superseded holds
        again. The future gives the facts that held until then, when all of it is safely stored.
        """
        return self._store.take_back(self._owner, turn, memories)

    def search(
        self, query: str, limit: int = FOUND, *, kinds: Sequence[Kind] | None = None,
        history: bool = True, ranking: Ranking = "hybrid", now: datetime | None = None,
    ) -> list[Hit]:  # fmt: skip
        """Find the memories nearest to ``query``, best first.

        history: also what newer facts have superseded, further down. Raises ValidationError,
        MemoryStoreError, MemoryModelError.
        """
        if not 1 <= limit <= 1_000:
            raise ValidationError(f"limit must be 1 to 1000, not {limit}.")
        query = query.strip()[:MAX_QUERY]
        if not query:
            return []
        return self._search(
            query, lambda: self._store.embedder.query(query), limit, kinds, history, ranking, now
        )

    def search_vector(
        self, query: str, vector: Vectors, limit: int = FOUND, *,
        kinds: Sequence[Kind] | None = None, history: bool = True, ranking: Ranking = "hybrid",
        now: datetime | None = None,
    ) -> list[Hit]:  # fmt: skip
        """Do what ``search`` does for a query already embedded."""
        return self._search(query, lambda: vector, limit, kinds, history, ranking, now)

    def _search(
        self, query: str, embed: Callable[[], Vectors], limit: int,
        kinds: Sequence[Kind] | None, history: bool, ranking: Ranking, now: datetime | None,
    ) -> list[Hit]:  # fmt: skip
        conditions = [] if history else ["superseded_at IS NULL"]
        if kinds is not None:
            known = {"turn", "fact", "preference", "note"} & set(kinds)
            conditions.append(f"kind IN ({listed(known)})")
            if not known:
                return []
        where = " AND ".join(conditions) or None
        at = now or self._store.now()
        reader = self._store.reader

        def look(table: LanceTable) -> Sequence[Hit]:
            return search(
                table, query, embed, limit, at, reader, where=where, ranking=ranking, probes=probes
            )

        return [*(self._store.read(self._table, look) or [])]

    def list(
        self, limit: int | None = None, *, kinds: Sequence[Kind] | None = None,
        history: bool = True,
    ) -> list[Memory]:  # fmt: skip
        """Give memories in the order they were made; ``limit`` takes the newest."""
        rows = self._store.read(
            self._table, lambda table: table.search().select(COLUMNS).to_arrow().to_pylist()
        )
        try:
            memories = [as_memory(row) for row in rows or []]
        except ShapeError as error:
            raise MemoryStoreError(
                f"a memory in {self._store.tables.uri} is damaged ({error.error_count()} wrong "
                "values). Import the last export into a new store.",
                "memory_corrupt",
            ) from error
        memories = [
            m for m in memories if (history or m.valid) and (kinds is None or m.kind in kinds)
        ]
        memories.sort(key=lambda m: (m.created_at, m.kind != "turn", m.id))
        return memories if limit is None else memories[-limit:] if limit > 0 else []

    def facts(self, limit: int = 24) -> Sequence[Memory]:
        """Give facts and preferences that hold, the most important first, then the newest."""

        def look(table: LanceTable) -> Sequence[Memory]:
            rows = table.search().where(_HOLDS).select(COLUMNS).to_arrow()
            order = [("importance", "descending"), ("created_at", "descending")]
            return [as_memory(row) for row in rows.sort_by(order).slice(0, limit).to_pylist()]

        return self._store.read(self._table, look) or []

    def facts_of(self, turns: Sequence[str]) -> dict[str, Sequence[str]]:
        """Give what holds of the facts read from turns, by the ids of these; none without facts.

        A fact holds, too, where it was only said again.
        """

        def look(table: LanceTable) -> dict[str, Sequence[str]]:
            def found(where: str) -> Sequence[Memory]:
                rows = table.search().where(where).select(COLUMNS).to_arrow().to_pylist()
                return [as_memory(row) for row in rows]

            own = found(f"source_id IN ({listed(turns)})")
            subjects = {fact.subject for fact in own if fact.subject}
            now = found(f"{_HOLDS} AND subject IN ({listed(subjects)})") if subjects else []
            holds = {(fact.subject, plain(fact.text)) for fact in now}
            return {
                turn: [
                    fact.text
                    for fact in own
                    if fact.source_id == turn
                    and (fact.valid or (fact.subject, plain(fact.text)) in holds)
                ]
                for turn in {fact.source_id for fact in own if fact.source_id}
            }

        return self._store.read(self._table, look) or {}

    def count(self) -> int:
        """How many memories there are, history included."""
        return self._store.read(self._table, lambda table: int(table.count_rows())) or 0

    def forget(self, *ids: str) -> int:
        """Forget memories, with the turn each came from and all that came from that turn.

        Afterwards their text is in no file of the store. Gives how many memories went.
        """
        return self._store.forget(self._owner, self._with_sources(set(ids)))

    def forget_matching(self, text: str) -> int:
        """Forget every memory that holds ``text`` (case does not matter), as ``forget``."""
        wanted = " ".join(_checked(text).split()).casefold()
        ids = {m.id for m in self.list() if wanted in " ".join(m.text.split()).casefold()}
        return self._store.forget(self._owner, self._with_sources(ids), wanted)

    def forget_said(self, what: str) -> Sequence[str]:
        """Forget what the user says is to be forgotten ("that I like tea"), and no more than that.

        Gives what the user was known by and is no longer; empty where nothing fits.
        """
        chosen = to_forget(what, self.list())
        if chosen.ids:
            self._store.forget(self._owner, chosen.ids)
        return chosen.texts

    def forget_everything(self) -> int:
        """Forget this user altogether, with what was made of the characters."""
        return self._store.forget(self._owner, None)

    def _with_sources(self, ids: set[str]) -> set[str]:
        if not ids:
            return ids
        memories = self.list()
        sources = {m.source_id or m.id for m in memories if m.id in ids}
        return {m.id for m in memories if m.id in ids | sources or m.source_id in sources}


def _memory(**values: object) -> Memory:
    at = values["created_at"]
    assert isinstance(at, datetime)
    if at.tzinfo is None:
        raise ValidationError(f"{at} has no time zone; memories need one.")
    try:
        return Memory.model_validate({"id": new_id(at), **values})
    except ShapeError as error:
        first = error.errors()[0]
        raise ValidationError(
            f"this cannot be remembered: {first['loc'][0]}: {first['msg']}"
        ) from error


def _checked(text: str) -> str:
    if not isinstance(text, str) or not text.strip():
        raise ValidationError("there is nothing to remember: the text is empty.")
    if len(text) > MAX_TEXT:
        raise ValidationError(
            f"{len(text)} characters are too many for one memory (at most {MAX_TEXT}); split them."
        )
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValidationError(
            "the text holds half of a surrogate pair; it cannot be stored."
        ) from None
    return text
