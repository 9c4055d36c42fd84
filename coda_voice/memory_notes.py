"""What an LLM is told of the user: what is known, and what came to mind lately."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from coda_voice.recollection import memories_for_llm

LATELY = 6
"""Memories that came to mind; older ones make room."""


class MemoryNotes:
    """Facts that hold, and memories with the turn (generation) in which they came to mind.

    What came to mind before a fact was stored may have been superseded by it, so it is not told
    in any later turn; where it still holds it comes to mind again, or is known.
    """

    def __init__(self) -> None:
        self._known: tuple[str, ...] = ()
        self._lately: deque[tuple[str, int]] = deque(maxlen=LATELY)
        self._doubtful = -1
        """What came to mind up to this turn holds no longer, perhaps."""

    def know(self, facts: Sequence[str]) -> None:
        """Take ``facts`` for what is known, instead of earlier ones."""
        self._known = tuple(facts)

    def add(self, memories: Sequence[str], generation: int) -> None:
        """Note what came to mind in a turn."""
        again = set(memories)
        kept = [one for one in self._lately if one[0] not in again]
        self._lately = deque(kept, maxlen=LATELY)
        self._lately.extend((memory, generation) for memory in memories)

    def doubt(self, generation: int) -> None:
        """Tell what came to mind up to turn ``generation`` in no later one."""
        self._doubtful = max(self._doubtful, generation)

    def forget(self) -> None:
        """Tell nothing of what came to mind."""
        self._lately.clear()

    def text(self, generation: int) -> str:
        """Give it all as a note for turn ``generation``, marked as memories; empty if none."""
        lately = [
            memory
            for memory, when in self._lately
            if not when <= self._doubtful < generation and memory not in self._known
        ]
        return memories_for_llm([*self._known, *lately])
