"""Coda's memory manager, both ways.

``CodaMemory`` shows a user's memories through Coda's interface, for the voice core and for
Coda itself. ``CodaSource`` asks a Coda-shaped manager (plain or async) for memories, and hands
them to the thinking filter as our own.
"""

from __future__ import annotations

import asyncio
import re
from collections import deque
from collections.abc import Awaitable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Protocol

from coda_memory.record import MAX_TEXT, Memory, new_id, utc_now
from coda_memory.search import Hit
from coda_memory.thinking_filter import MOST, ThinkingFilter
from coda_memory.turns_heard import TurnHeard, TurnsHeard
from coda_memory.user import FOUND, UserMemories
from coda_voice.errors import IntegrationError, VoiceProcessingError
from coda_voice.protocols import settle
from coda_voice.recollection import memories_for_llm

RECENT_TURNS = 64
WORDS_PER_TOKEN = 0.75
"""English, about; Coda counts in tokens, and no tokenizer is ours to choose."""
_ABOUT_ONESELF = re.compile(r"(?:what you know )?(?:about )?(?:me|us|myself)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class CodaMetadata:
    """As Coda reads it: ``result.memory.metadata.importance``."""

    source_type: str
    importance: float
    timestamp: datetime


@dataclass(frozen=True, slots=True)
class CodaMemoryItem:
    """As Coda reads it: ``result.memory.content``, ``.created_at``."""

    id: str
    content: str
    metadata: CodaMetadata
    created_at: datetime


@dataclass(frozen=True, slots=True)
class CodaResult:
    """As Coda reads it: one result of ``search_memories``."""

    memory: CodaMemoryItem
    relevance_score: float
    time_decay_factor: float
    final_score: float


class CodaMemory:
    """One user's memories as Coda's memory manager.

    ``add_turn`` never waits: what the user says is stored in the background, and what went
    wrong with it is counted in ``turns_lost`` and told by the last error in ``last_error``.
    """

    def __init__(self, memories: UserMemories, conversation_id: str = "") -> None:
        self.memories = memories
        self.conversation_id = conversation_id
        self.turns_lost = 0
        self.last_error: BaseException | None = None
        self._recent: deque[tuple[str, str]] = deque(maxlen=RECENT_TURNS)
        self._waiting: deque[Future[Any]] = deque(maxlen=RECENT_TURNS)
        self._filter = ThinkingFilter()
        self._turns = TurnsHeard(memories, conversation_id)
        self._exchanges = TurnsHeard(memories)
        """Of ``store_interaction``, which has sessions of its own."""

    def add_turn(self, role: str, content: str) -> None:
        """Remember that ``role`` ("user" or "assistant") said ``content``.

        Only the user's turns go into the store: what the agent said is no fact about anybody.
        """
        self._recent.append((role, content))
        if role != "user" or not content.strip():
            return
        try:
            heard = self._turns.hear(content)
            if heard is None:
                return
            done = self._write(heard)
        except VoiceProcessingError as error:
            self._lost(error)
            return
        self._waiting.append(done)
        done.add_done_callback(self._settled)

    async def search_memories(
        self, query: str, limit: int = 5, min_relevance: float = 0.0
    ) -> list[CodaResult]:
        """Give the memories nearest to ``query``, best first; none that the user took back."""
        hits = await asyncio.to_thread(self.memories.search, query, max(limit, 1))
        held = [hit for hit in hits if not hit.memory.taken_back]
        return [as_result(hit) for hit in held if hit.relevance >= min_relevance]

    async def worth_telling(self, query: str) -> list[CodaResult]:
        """Give the memories that answer ``query``, best first; the thinking filter chooses them.

        Who asks for all that is known of himself gets what matters most.
        """
        if _ABOUT_ONESELF.fullmatch(query.strip()):
            return [_as_known(fact) for fact in await asyncio.to_thread(self.memories.facts, MOST)]
        hits = await asyncio.to_thread(self.memories.search, query, FOUND)
        return [as_result(hit) for hit in self._filter.choose(query, hits, self.memories.now())]

    async def store_fact(self, fact: str, source: str = "user", importance: float = 0.7) -> str:
        """Keep a fact; gives its id. From another source than the user it is kept as a note."""
        kept = await asyncio.to_thread(
            lambda: self.memories.remember_fact(fact, source=source, importance=importance)
        )
        return kept.id

    async def forget_said(self, what: str) -> Sequence[str]:
        """Forget what the user says is to be forgotten; gives what it was, as ``UserMemories``."""
        return await asyncio.to_thread(self.memories.forget_said, what)

    async def forget_everything(self) -> int:
        """Forget the user altogether; gives how many memories went."""
        return await asyncio.to_thread(self.memories.forget_everything)

    def get_context(self, max_tokens: int = 800) -> list[dict[str, str]]:
        """Give the last turns that fit into ``max_tokens``, oldest first."""
        room = max_tokens * WORDS_PER_TOKEN
        turns: list[dict[str, str]] = []
        for role, content in reversed(self._recent):
            room -= len(content.split()) + 1
            if room < 0:
                break
            turns.append({"role": role, "content": content})
        return turns[::-1]

    async def get_enhanced_context(
        self, user_input: str, max_tokens: int = 800, max_memories: int = 3
    ) -> list[dict[str, str]]:
        """Give the last turns, led by the memories worth telling, marked as memories."""
        hits = await asyncio.to_thread(self.memories.search, user_input, FOUND)
        told = self._filter.choose(user_input, hits, self.memories.now())[:max_memories]
        quoted = memories_for_llm([hit.memory.text for hit in told])
        used = len(quoted.split()) / WORDS_PER_TOKEN
        turns = self.get_context(max(0, max_tokens - int(used)))
        return [{"role": "system", "content": quoted}, *turns] if quoted else turns

    async def consolidate_short_term(self) -> int:
        """Wait until every turn so far is safely stored; gives how many there were."""
        waiting = list(self._waiting)
        self._waiting.clear()
        for done in waiting:
            # Its outcome is counted by _settled; here it only has to be over.
            await asyncio.wait([asyncio.wrap_future(done)])
            if not done.cancelled():
                done.exception()
        return len(waiting)

    async def store_interaction(
        self,
        session_id: str,
        user_input: str,
        assistant_response: str,
        metadata: Mapping[str, object] | None = None,
    ) -> str:
        """Keep one exchange: the user's part is stored, the agent's is context only.

        Gives the id of what was stored; empty where it asks to forget something, and no more.
        """
        self._recent.append(("user", user_input))
        self._recent.append(("assistant", assistant_response))
        if session_id != self._exchanges.conversation_id:
            self._exchanges = TurnsHeard(self.memories, session_id)
        heard = self._exchanges.hear(user_input)
        if heard is None:
            return ""
        await asyncio.wrap_future(self._write(heard))
        return heard.turn.id

    def _write(self, heard: TurnHeard) -> Future[Any]:
        memories = [heard.turn, *heard.facts]
        if heard.takes_back:
            return self.memories.take_back(heard.takes_back, memories)
        return self.memories.append(memories)

    def _settled(self, done: Future[Any]) -> None:
        error = done.exception()
        if error is not None:
            self._lost(error)

    def _lost(self, error: BaseException) -> None:
        self.turns_lost += 1
        self.last_error = error


def as_result(hit: Hit) -> CodaResult:
    """Turn a hit into what Coda reads."""
    return CodaResult(_item(hit.memory), hit.relevance, hit.recency, hit.score)


def _as_known(memory: Memory) -> CodaResult:
    """Turn what was not searched for into what Coda reads."""
    return CodaResult(_item(memory), 1.0, 1.0, memory.importance)


def _item(memory: Memory) -> CodaMemoryItem:
    metadata = CodaMetadata(memory.kind, memory.importance, memory.created_at)
    return CodaMemoryItem(memory.id, memory.text, metadata, memory.created_at)


class _Manager(Protocol):
    def search_memories(
        self, query: str, limit: int = 5, min_relevance: float = 0.0
    ) -> Awaitable[Sequence[object]] | Sequence[object]: ...

    def add_turn(self, role: str, content: str) -> object: ...


class CodaSource:
    """A Coda-shaped memory manager as a source of memories. Raises IntegrationError."""

    def __init__(self, manager: _Manager) -> None:
        self._manager = manager

    async def add_turn(self, role: str, content: str) -> None:
        """Hand a turn over."""
        await settle(self._manager.add_turn(role, content))

    async def search(self, query: str, limit: int = FOUND) -> list[Hit]:
        """Ask for memories; results may be objects or mappings."""
        found = await settle(self._manager.search_memories(query=query, limit=limit))
        return [_as_hit(result) for result in found]


def _as_hit(result: object) -> Hit:
    memory = _get(result, "memory", result)
    text = _get(memory, "content", None)
    if not isinstance(text, str) or not text.strip():
        raise IntegrationError(
            f"{type(result).__name__} from search_memories() has no .memory.content; a result "
            "needs .memory.content, .memory.metadata.importance and .relevance_score."
        )
    at = _get(memory, "created_at", None)
    at = at if isinstance(at, datetime) else utc_now()
    at = at if at.tzinfo is not None else at.replace(tzinfo=UTC)
    importance = _number(_get(_get(memory, "metadata", None), "importance", 0.5), 0.5)
    relevance = _number(_get(result, "relevance_score", 0.0), 0.0)
    recency = _number(_get(result, "time_decay_factor", 1.0), 1.0)
    score = _number(_get(result, "final_score", relevance), relevance)
    kept = Memory(
        id=new_id(at), text=text.strip()[:MAX_TEXT], kind="note", speaker="coda", created_at=at,
        importance=min(1.0, max(0.0, importance)),
    )  # fmt: skip
    return Hit(kept, relevance, recency, score)


def _get(thing: object, name: str, default: object) -> object:
    if isinstance(thing, Mapping):
        return thing.get(name, default)
    return getattr(thing, name, default)


def _number(value: object, default: float) -> float:
    return float(value) if isinstance(value, int | float) else default
