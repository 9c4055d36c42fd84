"""What the LLM is told of the talk so far: what the user said, and what could be heard."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from coda_voice.hybrid.llm import Message

MAX_MESSAGES = 60
"""Older ones are forgotten here; the prompt's budget may leave out more."""


@dataclass(frozen=True)
class _Said:
    role: Literal["user", "assistant", "system"]
    text: str
    generation: int
    answer: bool = False


class HeardHistory:
    """One conversation's messages in order; bounded, the oldest go first."""

    def __init__(self, most: int = MAX_MESSAGES) -> None:
        self._said: deque[_Said] = deque(maxlen=most)

    def user(self, generation: int, text: str) -> None:
        """Note a turn of the user; a later version of the same turn replaces it.

        A short answer may have been heard before the turn was known to be over: it comes after.
        """
        self.forget_user(generation)
        said = list(self._said)
        at = next(
            (i for i, s in enumerate(said) if s.answer and s.generation == generation), len(said)
        )
        said.insert(at, _Said("user", text, generation))
        self._said.clear()
        self._said.extend(said)

    def forget_user(self, generation: int) -> None:
        """Take a turn of the user out: it is part of a later one."""
        kept = [s for s in self._said if (s.role, s.generation) != ("user", generation)]
        self._said.clear()
        self._said.extend(kept)

    def agent(self, generation: int, words: Sequence[str], *, answer: bool = False) -> None:
        """Note what was heard of the agent; nothing, if nothing was.

        ``answer``: it answers the turn ``generation``, and did not merely fall into it.
        """
        if words:
            self._said.append(_Said("assistant", " ".join(words), generation, answer))

    def note(self, generation: int, text: str) -> None:
        """Note what happened without being said aloud."""
        self._said.append(_Said("system", text, generation))

    def before(self, generation: int) -> list[Message]:
        """Give the messages without the user's turn ``generation`` itself and later ones."""
        return [
            Message(said.role, said.text)
            for said in self._said
            if said.role != "user" or said.generation < generation
        ]
