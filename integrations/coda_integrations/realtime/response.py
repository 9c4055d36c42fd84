"""One response: the exact order of events in which a Realtime client is told of it.

Clients depend on the order: an item must be added before its deltas, its ``conversation``
events must enclose them, and ``response.done`` must carry the usage.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Literal

from openai.types.realtime import (
    ConversationItem,
    ConversationItemAdded,
    ConversationItemDone,
    RealtimeConversationItemAssistantMessage,
    RealtimeConversationItemFunctionCall,
    RealtimeResponse,
    RealtimeResponseStatus,
    RealtimeResponseUsage,
    ResponseAudioDeltaEvent,
    ResponseAudioDoneEvent,
    ResponseAudioTranscriptDeltaEvent,
    ResponseAudioTranscriptDoneEvent,
    ResponseContentPartAddedEvent,
    ResponseContentPartDoneEvent,
    ResponseCreatedEvent,
    ResponseDoneEvent,
    ResponseFunctionCallArgumentsDeltaEvent,
    ResponseFunctionCallArgumentsDoneEvent,
    ResponseOutputItemAddedEvent,
    ResponseOutputItemDoneEvent,
    ResponseTextDeltaEvent,
    ResponseTextDoneEvent,
)
from openai.types.realtime.realtime_conversation_item_assistant_message import Content
from openai.types.realtime.realtime_response_status import Error as StatusError
from openai.types.realtime.realtime_response_usage_input_token_details import (
    RealtimeResponseUsageInputTokenDetails,
)
from openai.types.realtime.realtime_response_usage_output_token_details import (
    RealtimeResponseUsageOutputTokenDetails,
)
from openai.types.realtime.response_content_part_added_event import Part as AddedPart
from openai.types.realtime.response_content_part_done_event import Part as DonePart
from pydantic import BaseModel

from coda_integrations.realtime.codec import audio_text, new_id
from coda_integrations.realtime.items import ItemLog, SpokenWords
from coda_voice.hybrid.llm import ToolCall
from coda_voice.moshi.frames import Word

Status = Literal["completed", "cancelled", "failed", "incomplete"]
Reason = Literal["turn_detected", "client_cancelled"]


class Response:
    """A response from ``created`` to ``done``; every method gives the events to send.

    ``log`` is the conversation its items belong to; None for one out of band.
    """

    def __init__(
        self,
        conversation_id: str,
        log: ItemLog | None,
        *,
        text_only: bool,
        metadata: dict[str, str] | None = None,
    ) -> None:
        self.id = new_id("resp")
        self.text_only = text_only
        self.over = False
        self.audio_frames = 0
        self.text_tokens: tuple[int, int] = (0, 0)
        """What an LLM said it read and wrote."""
        self._conversation_id = conversation_id if log is not None else None
        self._log = log
        self._metadata = metadata
        self._output: list[ConversationItem] = []
        self._message: RealtimeConversationItemAssistantMessage | None = None
        self._text = ""
        self._words = SpokenWords()
        self._started = 0.0

    @property
    def in_band(self) -> bool:
        """Whether it belongs to the conversation."""
        return self._log is not None

    @property
    def item_id(self) -> str:
        """Id of the message under way; empty if there is none."""
        return (self._message.id or "") if self._message is not None else ""

    def created(self) -> list[BaseModel]:
        """Announce it."""
        return [
            ResponseCreatedEvent(
                type="response.created", event_id=new_id("event"), response=self._resource(None)
            )
        ]

    # ---- what it says ------------------------------------------------------------------

    def audio(self, sound: bytes, words: Sequence[Word], time: float) -> list[BaseModel]:
        """Add a frame's sound (as the client wants it); ``time`` is the frame clock's."""
        events = self._open(time)
        fresh = [
            Word(w.text, max(0.0, w.start - self._started), max(0.0, w.end - self._started),
                 w.sentence_end)
            for w in words
        ]  # fmt: skip
        for word in fresh:
            delta = word.text if not self._text else f" {word.text}"
            self._text += delta
            self._words.words.append(word)
            events.append(
                self._at_content(
                    ResponseAudioTranscriptDeltaEvent,
                    "response.output_audio_transcript.delta",
                    delta=delta,
                )
            )
        if sound:
            events.append(
                self._at_content(
                    ResponseAudioDeltaEvent, "response.output_audio.delta", delta=audio_text(sound)
                )
            )
        self.audio_frames += 1
        return events

    def text(self, delta: str) -> list[BaseModel]:
        """Add written words."""
        events = self._open(0.0)
        self._text += delta
        events.append(
            self._at_content(ResponseTextDeltaEvent, "response.output_text.delta", delta=delta)
        )
        return events

    def call(self, call: ToolCall) -> list[BaseModel]:
        """Ask the client to run one of its tools."""
        events = self._close_message("completed")
        arguments = call.malformed or json.dumps(dict(call.arguments))
        item = RealtimeConversationItemFunctionCall(
            id=new_id("item"),
            object="realtime.item",
            type="function_call",
            status="in_progress",
            call_id=call.call_id or new_id("call"),
            name=call.name,
            arguments="",
        )
        events += self._item_added(item)
        events.append(
            ResponseFunctionCallArgumentsDeltaEvent(
                type="response.function_call_arguments.delta",
                event_id=new_id("event"),
                response_id=self.id,
                item_id=item.id or "",
                output_index=self._index,
                call_id=item.call_id or "",
                delta=arguments,
            )
        )
        events.append(
            ResponseFunctionCallArgumentsDoneEvent(
                type="response.function_call_arguments.done",
                event_id=new_id("event"),
                response_id=self.id,
                item_id=item.id or "",
                output_index=self._index,
                call_id=item.call_id or "",
                name=call.name,
                arguments=arguments,
            )
        )
        item.arguments, item.status = arguments, "completed"
        return events + self._item_done(item)

    def done(
        self,
        status: Status = "completed",
        *,
        reason: Reason | None = None,
        error: tuple[str, str] | None = None,
        input_frames: int = 0,
    ) -> list[BaseModel]:
        """End it; the second time gives nothing. ``error``: a code and a message."""
        if self.over:
            return []
        self.over = True
        events = self._close_message("completed" if status == "completed" else "incomplete")
        details = None
        if status != "completed":
            details = RealtimeResponseStatus(type=status)
            if reason is not None:
                details.reason = reason
            if error is not None:
                details.error = StatusError(code=error[0], type="server_error", message=error[1])
        events.append(
            ResponseDoneEvent(
                type="response.done",
                event_id=new_id("event"),
                response=self._resource(status, details, input_frames),
            )
        )
        return events

    def forgo(self) -> None:
        """End it untold: nothing of it was sent, and nothing will be."""
        self.over = True

    # ---- its parts ---------------------------------------------------------------------

    @property
    def _index(self) -> int:
        return len(self._output) - 1

    def _open(self, time: float) -> list[BaseModel]:
        if self._message is not None:
            return []
        self._started, self._text, self._words = time, "", SpokenWords()
        self._message = item = RealtimeConversationItemAssistantMessage(
            id=new_id("item"),
            object="realtime.item",
            type="message",
            role="assistant",
            status="in_progress",
            content=[],
        )
        events = self._item_added(item)
        if self._log is not None and not self.text_only:
            self._log.spoken(self.item_id, self._words)
        part = AddedPart(type="text", text="") if self.text_only else AddedPart(
            type="audio", transcript=""
        )  # fmt: skip
        events.append(
            self._at_content(
                ResponseContentPartAddedEvent, "response.content_part.added", part=part
            )
        )
        # In the log the item has its content from now on: it can be truncated while it is spoken.
        item.content = [self._content()]
        return events

    def _at_content(self, kind: type[BaseModel], name: str, **fields: object) -> BaseModel:
        """Make an event about the message's only content."""
        place = {
            "type": name,
            "event_id": new_id("event"),
            "response_id": self.id,
            "item_id": self.item_id,
            "output_index": self._index,
            "content_index": 0,
        }
        return kind.model_validate({**place, **fields})

    def _content(self) -> Content:
        if self.text_only:
            return Content(type="output_text", text=self._text)
        return Content(type="output_audio", transcript=self._text)

    def _close_message(self, status: Literal["completed", "incomplete"]) -> list[BaseModel]:
        item = self._message
        if item is None:
            return []
        events = (
            [self._at_content(ResponseTextDoneEvent, "response.output_text.done", text=self._text)]
            if self.text_only
            else [
                self._at_content(ResponseAudioDoneEvent, "response.output_audio.done"),
                self._at_content(
                    ResponseAudioTranscriptDoneEvent,
                    "response.output_audio_transcript.done",
                    transcript=self._text,
                ),
            ]
        )
        part = DonePart(type="text", text=self._text) if self.text_only else DonePart(
            type="audio", transcript=self._text
        )  # fmt: skip
        events.append(
            self._at_content(ResponseContentPartDoneEvent, "response.content_part.done", part=part)
        )
        item.status = status
        item.content = [self._content()]
        self._message = None
        return events + self._item_done(item)

    def _item_added(self, item: ConversationItem) -> list[BaseModel]:
        self._output.append(item)
        shown = item.model_copy(deep=True)
        events: list[BaseModel] = [
            ResponseOutputItemAddedEvent(
                type="response.output_item.added",
                event_id=new_id("event"),
                response_id=self.id,
                output_index=self._index,
                item=shown,
            )
        ]
        if self._log is not None:
            before = self._log.add(item)
            events.append(
                ConversationItemAdded(
                    type="conversation.item.added",
                    event_id=new_id("event"),
                    previous_item_id=before,
                    item=shown,
                )
            )
        return events

    def _item_done(self, item: ConversationItem) -> list[BaseModel]:
        shown = item.model_copy(deep=True)
        events: list[BaseModel] = []
        if self._log is not None:
            events.append(
                ConversationItemDone(
                    type="conversation.item.done", event_id=new_id("event"), item=shown
                )
            )
        events.append(
            ResponseOutputItemDoneEvent(
                type="response.output_item.done",
                event_id=new_id("event"),
                response_id=self.id,
                output_index=self._index,
                item=shown,
            )
        )
        return events

    def _resource(
        self,
        status: Status | None,
        details: RealtimeResponseStatus | None = None,
        input_frames: int = 0,
    ) -> RealtimeResponse:
        resource = RealtimeResponse(
            object="realtime.response",
            id=self.id,
            status=status or "in_progress",
            status_details=details,
            output=[item.model_copy(deep=True) for item in self._output],
            conversation_id=self._conversation_id,
            output_modalities=["text"] if self.text_only else ["audio"],
            metadata=self._metadata,
            usage=None,
        )
        if status is not None:
            read, written = self.text_tokens
            resource.usage = RealtimeResponseUsage(
                total_tokens=read + written + input_frames + self.audio_frames,
                input_tokens=read + input_frames,
                output_tokens=written + self.audio_frames,
                input_token_details=RealtimeResponseUsageInputTokenDetails(
                    text_tokens=read, audio_tokens=input_frames, cached_tokens=0
                ),
                output_token_details=RealtimeResponseUsageOutputTokenDetails(
                    text_tokens=written, audio_tokens=self.audio_frames
                ),
            )
        return resource
