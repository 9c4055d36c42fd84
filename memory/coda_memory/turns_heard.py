"""The user's turns as memories, one after the other: a turn may put right or take back the last."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from coda_memory.corrections import put_right
from coda_memory.doubt import FEW_WORDS, not_meant
from coda_memory.forgetting import without_requests
from coda_memory.grounding import may_tell_of_the_user
from coda_memory.record import MAX_TEXT, Memory
from coda_memory.user import UserMemories


@dataclass(frozen=True, slots=True)
class TurnHeard:
    """A turn, and the facts that the rules read in it.

    as_said: whether its words say what is meant; takes_back: the id of the turn that it takes
    back, empty if it takes none back.
    """

    turn: Memory
    facts: Sequence[Memory]
    as_said: bool
    takes_back: str


class TurnsHeard:
    """What a user says in one conversation."""

    def __init__(self, memories: UserMemories, conversation_id: str = "") -> None:
        self._memories = memories
        self.conversation_id = conversation_id
        self._meant = self._before = ""
        """What the turn before meant, and its id; the one before it where that was but a "haha"."""
        self._interrupted = False

    def hear(self, said: str) -> TurnHeard | None:
        """Make memories of the next turn; None if there is nothing in it to be kept.

        Who asks to forget something does not want it kept in these very words. Raises what
        ``UserMemories.turn`` raises.
        """
        left = without_requests(said[:MAX_TEXT])
        if said.strip() and not left:
            self._meant = self._before = ""
            return None
        said = left
        besides = not_meant(said, self._meant) if self._before else None
        taken_back = "" if besides is None else self._before
        meant = put_right(said, self._meant) if besides is None else besides
        turn, *facts = self._memories.turn(
            said, conversation_id=self.conversation_id, meant=meant or said
        )
        little = not facts and len(said.split()) <= FEW_WORDS and not may_tell_of_the_user(said)
        if little and not (taken_back or self._interrupted):
            self._interrupted = True
        else:
            self._meant, self._before, self._interrupted = meant, turn.id, False
        return TurnHeard(turn, facts, meant == said, taken_back)
