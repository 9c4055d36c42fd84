"""The conversation as a Realtime client sees it: items in order, and what was heard of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from openai.types.realtime import (
    ConversationItem,
    RealtimeConversationItemAssistantMessage,
    RealtimeConversationItemFunctionCall,
    RealtimeConversationItemFunctionCallOutput,
    RealtimeConversationItemSystemMessage,
    RealtimeConversationItemUserMessage,
)

from coda_integrations.realtime.codec import RealtimeProtocolError, new_id
from coda_voice.hybrid.llm import Message, ToolCall
from coda_voice.json_text import read_json
from coda_voice.moshi.frames import Word

MAX_ITEMS = 1_024
"""Of one conversation; the oldest go."""

_ACCEPTED = (
    RealtimeConversationItemSystemMessage,
    RealtimeConversationItemUserMessage,
    RealtimeConversationItemAssistantMessage,
    RealtimeConversationItemFunctionCall,
    RealtimeConversationItemFunctionCallOutput,
)


@dataclass(slots=True)
class SpokenWords:
    """The words of one spoken item; times in seconds from the start of its audio."""

    words: list[Word] = field(default_factory=list)

    def cut(self, seconds: float) -> str:
        """Keep the words whose sound had begun ``seconds`` into the item's audio; gives them."""
        self.words[:] = [word for word in self.words if word.start < seconds]
        return " ".join(word.text for word in self.words)


class ItemLog:
    """The items of one conversation, in the client's order."""

    def __init__(self) -> None:
        self._items: list[ConversationItem] = []
        self._spoken: dict[str, SpokenWords] = {}

    def __len__(self) -> int:
        return len(self._items)

    @property
    def last(self) -> ConversationItem | None:
        """The newest item."""
        return self._items[-1] if self._items else None

    @property
    def last_id(self) -> str | None:
        """Its id."""
        return self._items[-1].id if self._items else None

    def before(self, item_id: str) -> ConversationItem | None:
        """Give the item that stands before another; None for the first. Raises the usual."""
        place = self._place(item_id, "item_id")
        return self._items[place - 1] if place else None

    def accept(self, item: ConversationItem, after: str | None) -> str | None:
        """Put a client's item in (``after``: an id, "root", or None for the end).

        Gives the id of the item before it. Raises RealtimeProtocolError.
        """
        if not isinstance(item, _ACCEPTED):
            raise RealtimeProtocolError(
                f"Items of type {item.type!r} cannot be created here; use message, function_call "
                "or function_call_output.",
                param="item.type",
            )
        if isinstance(item, RealtimeConversationItemUserMessage):
            for part in item.content:
                if part.type not in (None, "input_text", "input_audio"):
                    raise RealtimeProtocolError(
                        "This model hears and reads; it sees no images. Send input_text or audio.",
                        param="item.content",
                    )
        if item.id is not None and self.find(item.id) is not None:
            raise RealtimeProtocolError(
                f"There is an item {item.id!r} already.",
                "item_create_duplicate_item_id",
                param="item.id",
            )
        item.id = item.id or new_id("item")
        item.object, item.status = "realtime.item", "completed"
        return self.add(item, after)

    def add(self, item: ConversationItem, after: str | None = None) -> str | None:
        """Put an item in; gives the id of the one before it. Raises RealtimeProtocolError."""
        if after is None:
            place = len(self._items)
        elif after == "root":
            place = 0
        else:
            place = self._place(after, "previous_item_id") + 1
        self._items.insert(place, item)
        before = self._items[place - 1].id if place else None
        while len(self._items) > MAX_ITEMS:
            gone = self._items.pop(0)
            self._spoken.pop(gone.id or "", None)
        return before

    def find(self, item_id: str) -> ConversationItem | None:
        """Give an item; None if there is no such one."""
        return next((item for item in self._items if item.id == item_id), None)

    def get(self, item_id: str, code: str = "item_not_found") -> ConversationItem:
        """Give an item. Raises RealtimeProtocolError."""
        found = self.find(item_id)
        if found is None:
            raise RealtimeProtocolError(
                f"There is no item {item_id[:80]!r}.", code, param="item_id"
            )
        return found

    def delete(self, item_id: str) -> None:
        """Take an item out. Raises RealtimeProtocolError."""
        del self._items[self._place(item_id, "item_id", "item_delete_invalid_item_id")]
        self._spoken.pop(item_id, None)

    def spoken(self, item_id: str, words: SpokenWords) -> None:
        """Remember the words of a spoken item, to cut it by."""
        self._spoken[item_id] = words

    def truncatable(
        self, item_id: str, audio_end_ms: int
    ) -> RealtimeConversationItemAssistantMessage:
        """Give an item that can be cut there. Raises RealtimeProtocolError."""
        item = self.get(item_id, "item_truncate_invalid_item_id")
        if not isinstance(item, RealtimeConversationItemAssistantMessage) or not any(
            part.type == "output_audio" for part in item.content
        ):
            raise RealtimeProtocolError(
                "Only spoken messages of the assistant can be truncated.",
                "item_truncate_invalid_item_id",
                param="item_id",
            )
        if audio_end_ms < 0:
            raise RealtimeProtocolError("audio_end_ms is negative.", param="audio_end_ms")
        return item

    def truncate(self, item_id: str, audio_end_ms: int) -> None:
        """Keep only what was played: the words that had begun by then. Raises the usual.

        What is gone stays so: a later end brings nothing back.
        """
        item = self.truncatable(item_id, audio_end_ms)
        words = self._spoken.get(item_id)
        heard = words.cut(audio_end_ms / 1000.0) if words is not None else ""
        for part in item.content:
            part.transcript = heard

    def _place(self, item_id: str, param: str, code: str = "item_not_found") -> int:
        for place, item in enumerate(self._items):
            if item.id == item_id:
                return place
        raise RealtimeProtocolError(f"There is no item {item_id[:80]!r}.", code, param=param)

    def messages(self, up_to: str | None = None) -> list[Message]:
        """Give the conversation as an LLM is told of it: only what was said and heard.

        ``up_to``: the item that it is to answer, where others have come since.
        """
        ids = [item.id for item in self._items]
        count = ids.index(up_to) + 1 if up_to in ids else len(ids)
        return messages_of(self._items[:count])


def messages_of(items: Sequence[ConversationItem]) -> list[Message]:
    """Turn items into an LLM's messages; those without words are left out."""
    messages: list[Message] = []
    names: dict[str, str] = {}
    answered = {
        item.call_id
        for item in items
        if isinstance(item, RealtimeConversationItemFunctionCallOutput)
    }
    for item in items:
        match item:
            case RealtimeConversationItemFunctionCall():
                call_id = item.call_id or ""
                names[call_id] = item.name
                if call_id in answered:  # a dangling call is an error to most servers
                    call = ToolCall(call_id, item.name, _arguments(item.arguments))
                    messages.append(Message("assistant", "", (call,)))
            case RealtimeConversationItemFunctionCallOutput():
                if item.call_id in names:
                    messages.append(
                        Message(
                            "tool",
                            item.output,
                            tool_call_id=item.call_id,
                            tool_name=names[item.call_id],
                        )
                    )
            case (
                RealtimeConversationItemSystemMessage()
                | RealtimeConversationItemUserMessage()
                | RealtimeConversationItemAssistantMessage()
            ):
                text = text_of(item)
                if text:
                    messages.append(Message(item.role, text))
            case _:
                continue
    return messages


def text_of(item: ConversationItem) -> str:
    """Give the words of a message; empty where there are none."""
    match item:
        case RealtimeConversationItemUserMessage() | RealtimeConversationItemAssistantMessage():
            parts = [part.text or part.transcript or "" for part in item.content]
        case RealtimeConversationItemSystemMessage():
            parts = [part.text or "" for part in item.content]
        case _:
            return ""
    return " ".join(part for part in parts if part)


def _arguments(text: str) -> dict[str, object]:
    try:
        read = read_json(text)
    except ValueError:
        return {}
    return read if isinstance(read, dict) else {}
