"""Let the LLM store a fact in the long-term memory, search it, and have it forget."""

from __future__ import annotations

from collections.abc import Awaitable, Sequence
from typing import Protocol, runtime_checkable

from coda_tools.function_tool import tool
from coda_tools.registry import Tool
from coda_voice.protocols import settle
from coda_voice.recollection import NOTHING_FORGOTTEN, forgotten_for_llm, memories_for_llm


class FactMemory(Protocol):
    """What the tools need of a memory; coda_memory and Coda's own have it."""

    def search_memories(
        self, query: str, limit: int = 5, min_relevance: float = 0.0
    ) -> Awaitable[Sequence[object]] | Sequence[object]:
        """Give the memories nearest to ``query``, best first."""

    def store_fact(
        self, fact: str, source: str = "user", importance: float = 0.7
    ) -> Awaitable[object] | object:
        """Keep a fact and give its id."""


@runtime_checkable
class ChoosingMemory(Protocol):
    """What it needs to tell what answers from what is only nearest; Coda's own does not."""

    def worth_telling(self, query: str) -> Awaitable[Sequence[object]] | Sequence[object]:
        """Give the memories that answer ``query``, best first, or none."""


@runtime_checkable
class ForgettingMemory(Protocol):
    """What it needs to be made to forget; Coda's own has it not."""

    def forget_said(self, what: str) -> Awaitable[Sequence[str]] | Sequence[str]:
        """Forget what these words name, no more; gives the facts that went."""

    def forget_everything(self) -> Awaitable[int] | int:
        """Forget all of this user; gives how many memories went."""


_ASKED = r"\b(?:forget|forgotten|erase|delete|remove|wipe|(?:not|n't|no need to) remember)\b"
"""Words of a user who wants something forgotten."""

MEMORY_TOOLS = ("remember", "recall", "forget", "forget_everything")
"""Their names."""


def memory_tools(memory: FactMemory, limit: int = 3) -> list[Tool]:
    """Make the tools ``remember`` and ``recall``, and those that forget if ``memory`` can."""

    @tool(cancellable=False, timeout=5)
    async def remember(fact: str) -> str:
        """Store something the user wants to be remembered, as a full sentence.

        fact: for example: The user's sister is called Anna.
        """
        # In the LLM's words, and perhaps its invention: what the user said is stored as he said it.
        await settle(memory.store_fact(fact, source="assistant"))
        return "I will remember that."

    @tool(timeout=5)
    async def recall(query: str, only_sure: bool = False) -> str:
        """Search what the user has told before.

        query: what to look for, for example name of the user's sister
        only_sure: leave out what is near, but is probably no answer
        """
        if only_sure and isinstance(memory, ChoosingMemory):
            found = await settle(memory.worth_telling(query))
        else:
            found = await settle(memory.search_memories(query, limit=limit))
        lines = [_content(item) for item in found][:limit]
        return memories_for_llm(lines) or "Nothing is remembered about that."

    return [
        remember,
        recall,
        *(_forgetting(memory) if isinstance(memory, ForgettingMemory) else []),
    ]


def _forgetting(memory: ForgettingMemory) -> list[Tool]:
    # It cannot be undone, and an LLM reads much that the user has not written: web pages, say.
    @tool(dangerous=True, leave=_ASKED, cancellable=False, timeout=60)
    async def forget(what: str) -> str:
        """Delete a fact from memory for good, if the user asks to forget it.

        what: the fact in the user's words, or what it is about: that I like tea; my address
        """
        gone = await settle(memory.forget_said(what))
        return forgotten_for_llm(gone)

    @tool(dangerous=True, cancellable=False, timeout=60)
    async def forget_everything() -> str:
        """Forget everything you have ever told me. Only if the user asks for all to be deleted."""
        gone = await settle(memory.forget_everything())
        return "I have forgotten everything about you." if gone else NOTHING_FORGOTTEN

    return [forget, forget_everything]


def _content(item: object) -> str:
    """Read a search result, of Coda's shape (``.memory.content``) or a plain one."""
    return str(getattr(getattr(item, "memory", item), "content", item))
