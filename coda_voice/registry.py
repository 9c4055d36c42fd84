"""The conversations of a manager: which go on, and why the others ended."""

from __future__ import annotations

import asyncio
import math
import time
from collections import OrderedDict
from collections.abc import Iterator
from datetime import UTC, datetime

from coda_voice.arguments import checked_text
from coda_voice.conversation import Conversation
from coda_voice.errors import ConversationError, ValidationError
from coda_voice.moshi.allocator import give_back_freed_memory

GIVE_BACK_SECONDS = 60.0
"""So often, at most, freed memory is given back, when a conversation has ended."""
REMEMBERED_ENDS = 1024
"""So many ended conversations are remembered, to tell "has ended" from "never was"."""


class Conversations:
    """Conversations by id; ends them, and remembers why."""

    def __init__(self) -> None:
        self._open: dict[str, Conversation] = {}
        self._ended: OrderedDict[str, str] = OrderedDict()
        self._closing: dict[asyncio.Task[None], str] = {}
        """What ended conversations, by id, leave behind."""
        self._given_back = -math.inf

    def __len__(self) -> int:
        return len(self._open)

    def __iter__(self) -> Iterator[Conversation]:
        return iter(tuple(self._open.values()))

    def ids(self) -> list[str]:
        """Give the ids of those that go on."""
        return list(self._open)

    def check_new(self, conversation_id: object) -> str:
        """Give the id back if a conversation of that id may begin.

        Raises ValidationError for an id that is no text, ConversationError for one in use.
        """
        if not isinstance(conversation_id, str) or not conversation_id.strip():
            raise ValidationError(
                f"conversation_id {conversation_id!r} is no name for a conversation; give a text "
                "that is not empty, or none to have one made.",
                "bad_conversation_id",
            )
        checked_text(
            conversation_id, "conversation_id", "bad_conversation_id", "another, or none at all"
        )
        if conversation_id in self._open:
            raise ConversationError(
                f"Conversation {conversation_id!r} is going on already; end it first or use "
                "another id.",
                "conversation_exists",
                conversation_id=conversation_id,
            )
        return conversation_id

    @staticmethod
    def check_user(user_id: object) -> None:
        """Raises ValidationError for whom no text names; None is nobody in particular."""
        if user_id is not None and not isinstance(user_id, str):
            raise ValidationError(
                f"user_id {user_id!r:.80} is no name for a user; give a text, or none.",
                "bad_user_id",
            )
        if user_id is not None:
            checked_text(user_id, "user_id", "bad_user_id", "another, or none")

    def add(self, conversation: Conversation) -> None:
        """Take in one that has been opened."""
        self._open[conversation.id] = conversation
        self._ended.pop(conversation.id, None)

    def find(self, conversation_id: str) -> Conversation | None:
        """Give the conversation, or None if no such one goes on.

        Raises ValidationError for an id that is no text.
        """
        if not isinstance(conversation_id, str):
            raise ValidationError(
                f"conversation_id is {type(conversation_id).__name__}; give the text that "
                "start_conversation() gave.",
                "bad_conversation_id",
            )
        return self._open.get(conversation_id)

    def get(self, conversation_id: str) -> Conversation:
        """Give the conversation; ConversationError says whether it ended or never was."""
        conversation = self.find(conversation_id)
        if conversation is not None:
            return conversation
        reason = self._ended.get(conversation_id)
        raise ConversationError(
            f"There is no conversation {conversation_id!r}; start_conversation() gives ids."
            if reason is None
            else f"Conversation {conversation_id!r} has ended ({reason}); start a new one.",
            "unknown_conversation" if reason is None else "conversation_ended",
            conversation_id=conversation_id,
        )

    def end(self, conversation: Conversation, reason: str) -> None:
        """End it; ``settled`` waits for what it leaves behind."""
        self._open.pop(conversation.id, None)
        self._ended[conversation.id] = reason
        while len(self._ended) > REMEMBERED_ENDS:
            self._ended.popitem(last=False)
        conversation.close(reason)
        task = asyncio.get_running_loop().create_task(self._let_go(conversation))
        self._closing[task] = conversation.id
        task.add_done_callback(self._closing.pop)

    async def _let_go(self, conversation: Conversation) -> None:
        try:
            await conversation.aclose()
        finally:
            now = time.monotonic()
            if now - self._given_back >= GIVE_BACK_SECONDS:
                self._given_back = now
                await asyncio.to_thread(give_back_freed_memory)

    def end_asked(self, conversation_id: str, reason: str = "ended") -> None:
        """End one because its caller asked; ConversationError if he did so before.

        One that was ended for him (limit, idleness) may be ended once more in silence: he
        could not know.
        """
        checked_text(reason, "reason", "bad_reason", "a word or two for the events")
        conversation = self.find(conversation_id)
        if conversation is None and self._ended.get(conversation_id, "ended") != "ended":
            self._ended[conversation_id] = "ended"
            return
        self.end(self.get(conversation_id), reason)

    async def settled(
        self, conversation_id: str | None = None, *, seconds: float | None = None
    ) -> None:
        """Wait until ended conversations (of this id, if one is given) have let go.

        ``seconds``: not longer than that.
        """
        left = {t for t, name in self._closing.items() if conversation_id in (None, name)}
        if left:
            await asyncio.wait(left, timeout=seconds)

    async def end_idle(self, after: float) -> None:
        """End, for ever, those that nobody has touched for ``after`` seconds."""
        while True:
            await asyncio.sleep(min(1.0, after / 2))
            for conversation in self:
                idle = datetime.now(UTC) - conversation.last_activity
                if not conversation.busy and idle.total_seconds() >= after:
                    self.end(conversation, "idle")
