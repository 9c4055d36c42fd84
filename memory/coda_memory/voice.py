"""One user's memories as a voice uses them: recalled while the user speaks, kept afterwards.

Facts go out as sentences in the third person, whichever memory they were found in: a turn
("I like chess") is told as the facts in it, and quoted where there are none.
"""

from __future__ import annotations

import asyncio

from coda_memory.distill import distill
from coda_memory.record import MAX_TEXT, Memory
from coda_memory.thinking_filter import ThinkingFilter
from coda_memory.user import FOUND, UserMemories
from coda_voice.recollection import Kept, Recalled

KNOWN = 24
"""Facts handed over as known; a prompt takes what it has room for."""
QUOTED_WORDS = 24
"""Of a turn that holds no fact, so many words are told."""


class RememberedUser:
    """A user's memories as a voice's memory. Raises what ``UserMemories`` raises.

    ``thinking``: the filter that chooses among what was found.
    """

    def __init__(
        self,
        memories: UserMemories,
        conversation_id: str = "",
        thinking: ThinkingFilter | None = None,
    ) -> None:
        self.memories = memories
        self.conversation_id = conversation_id
        self._thinking = thinking or ThinkingFilter()

    async def prepare(self) -> None:
        """Load the embedding model and the user's table."""
        await asyncio.to_thread(self.memories.search, "hello", 1)

    async def known(self) -> list[str]:
        """Give the facts that hold, the most important first, then the newest."""
        facts = await asyncio.to_thread(self.memories.facts, KNOWN)
        return list(dict.fromkeys(fact.text for fact in facts))

    async def recall(self, said: str) -> Recalled:
        """Search 15, let the thinking filter choose one to three."""
        return await asyncio.to_thread(self._recall, said)

    async def keep(self, said: str) -> Kept:
        """Store a turn with the facts in it."""
        turn = self.memories.turn(said[:MAX_TEXT], conversation_id=self.conversation_id)
        await asyncio.wrap_future(self.memories.append(turn))
        return Kept(said, tuple(memory.text for memory in turn[1:]))

    def _recall(self, said: str) -> Recalled:
        hits = self.memories.search(said, FOUND)
        told: dict[str, None] = {}
        refused: list[tuple[str, str]] = []
        for verdict in self._thinking.judge(said, hits, self.memories.now()):
            if verdict.kept:
                told.update(dict.fromkeys(as_facts(verdict.hit.memory)))
            else:
                refused.append((verdict.hit.memory.text, verdict.reason))
        return Recalled(tuple(told), tuple(refused))


def as_facts(memory: Memory) -> list[str]:
    """Give what a memory says about the user, in sentences."""
    if memory.kind != "turn":
        return [memory.text]
    facts = [fact.text for fact in distill(memory.text)]
    if facts:
        return facts
    words = memory.text.split()
    quoted = " ".join(words[:QUOTED_WORDS]) + ("…" if len(words) > QUOTED_WORDS else "")
    return [f'The user once said: "{quoted}"']
