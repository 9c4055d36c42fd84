"""A Realtime session, without sockets: client events and the voice's frames in, events out.

The voice knows no turns. Here they are cut out of it: the voice detector's starts and stops
become the user's items, each stretch of the agent's speech becomes a response. What the
session cannot do itself it asks of its edge by the commands below.
"""

from __future__ import annotations

import math

from openai.types.realtime import (
    ConversationItemAdded,
    ConversationItemCreateEvent,
    ConversationItemDeletedEvent,
    ConversationItemDeleteEvent,
    ConversationItemDone,
    ConversationItemInputAudioTranscriptionCompletedEvent,
    ConversationItemInputAudioTranscriptionDeltaEvent,
    ConversationItemRetrieveEvent,
    ConversationItemTruncatedEvent,
    ConversationItemTruncateEvent,
    InputAudioBufferAppendEvent,
    InputAudioBufferClearedEvent,
    InputAudioBufferClearEvent,
    InputAudioBufferCommitEvent,
    InputAudioBufferCommittedEvent,
    InputAudioBufferSpeechStartedEvent,
    InputAudioBufferSpeechStoppedEvent,
    OutputAudioBufferClearEvent,
    RealtimeConversationItemUserMessage,
    RealtimeSessionCreateRequest,
    ResponseCancelEvent,
    ResponseCreateEvent,
    SessionCreatedEvent,
    SessionUpdatedEvent,
    SessionUpdateEvent,
)
from openai.types.realtime.conversation_item_input_audio_transcription_completed_event import (
    UsageTranscriptTextUsageDuration,
)
from openai.types.realtime.realtime_conversation_item_user_message import Content
from openai.types.realtime.realtime_server_event import ConversationItemRetrieved

from coda_integrations.realtime.codec import (
    ClientEvent,
    RealtimeProtocolError,
    audio_bytes,
    decode,
    new_id,
)
from coda_integrations.realtime.commands import Forget, Hear, Instruct, Listen, Out, Script
from coda_integrations.realtime.committed import CommittedWords, Understood
from coda_integrations.realtime.detected import DetectedWords
from coda_integrations.realtime.items import ItemLog
from coda_integrations.realtime.responses import Responses
from coda_integrations.realtime.settings import SessionSettings
from coda_integrations.wire_audio import FromWire
from coda_voice.attendants import UserText
from coda_voice.events import SpeechEnded, SpeechStarted
from coda_voice.heard import Heard

SHORTEST_COMMIT_SECONDS = 0.1
OVERLAP_SECONDS = 0.24
"""A user who goes on for longer than this after the agent has begun interrupts it."""


class RealtimeSession:
    """One client's session; ``decode`` its messages with ``message``, its frames with ``heard``."""

    def __init__(self, model: str) -> None:
        self.id = new_id("sess")
        self.conversation_id = new_id("conv")
        self.settings = SessionSettings(model)
        self.items = ItemLog()
        self._from_wire = FromWire(self.settings.input_wire)
        self.responses = Responses(self.conversation_id, self.settings, self.items)
        """What the LLM says is told to it by ``thought…``."""
        self._buffered = 0.0
        """Seconds appended since the last commit."""
        self._user_item: str | None = None
        self._ended_early: float | None = None
        """When the agent took the turn, where the voice detector still waits for its end."""
        self._detected = DetectedWords()
        """The words of turns that are detected."""
        self._committed = CommittedWords()
        """The words of turns that the client commits by itself."""

    def opening(self) -> list[Out]:
        """What is sent and done before anything is received."""
        return [
            SessionCreatedEvent(
                type="session.created", event_id=new_id("event"), session=self._shown()
            ),
            Listen(self.settings.audio),
        ]

    def _shown(self) -> RealtimeSessionCreateRequest:
        """Give the settings in force with the id, which the package's type has no field for."""
        named = {"id": self.id, "object": "realtime.session"}
        return self.settings.request.model_copy(update=named)

    @property
    def needs_words(self) -> bool:
        """Whether the user's words are to be written down: for the client, or to call tools."""
        settings = self.settings
        return settings.transcribes or bool(settings.tools) or self.responses.own_tools

    # ---- the client --------------------------------------------------------------------

    def message(self, text: str | bytes) -> list[Out]:
        """Take one message of the client; an error is an event like others."""
        try:
            event = decode(text)
        except RealtimeProtocolError as error:
            return [error.event()]
        try:
            return self._receive(event)
        except RealtimeProtocolError as error:
            error.event_id = error.event_id or event.event_id
            return [error.event()]

    def _receive(self, event: ClientEvent) -> list[Out]:
        match event:
            case InputAudioBufferAppendEvent():
                return self._append(event)
            case SessionUpdateEvent():
                return self._update(event)
            case ResponseCreateEvent():
                return self.responses.create(event)
            case ResponseCancelEvent():
                return self.responses.cancel(event)
            case InputAudioBufferCommitEvent():
                return self._commit_asked()
            case InputAudioBufferClearEvent():
                self._buffered = 0.0
                self._committed.cleared()
                cleared = InputAudioBufferClearedEvent(
                    type="input_audio_buffer.cleared", event_id=new_id("event")
                )
                return [Forget(), cleared]
            case OutputAudioBufferClearEvent():
                raise RealtimeProtocolError(
                    "output_audio_buffer.clear is for WebRTC; over a WebSocket send "
                    "response.cancel and drop what you have not played.",
                    param="type",
                )
            case ConversationItemCreateEvent():
                return self._item_create(event)
            case ConversationItemDeleteEvent():
                self.items.delete(event.item_id)
                return [
                    ConversationItemDeletedEvent(
                        type="conversation.item.deleted",
                        event_id=new_id("event"),
                        item_id=event.item_id,
                    )
                ]
            case ConversationItemRetrieveEvent():
                item = self.items.get(event.item_id, "item_retrieve_invalid_item_id")
                return [
                    ConversationItemRetrieved(
                        type="conversation.item.retrieved", event_id=new_id("event"), item=item
                    )
                ]
            case ConversationItemTruncateEvent():
                return self._truncate(event)

    def _append(self, event: InputAudioBufferAppendEvent) -> list[Out]:
        data = audio_bytes(event.audio, event_id=event.event_id)
        seconds = len(data) / self.settings.input_wire.bytes_per_second
        self._buffered += seconds
        self._committed.appended(seconds)
        pcm = self._from_wire.process(data)
        return [Hear(pcm)] if len(pcm) else []

    def _update(self, event: SessionUpdateEvent) -> list[Out]:
        was = self.settings
        before = (was.audio, was.input_wire, was.output_wire, was.instructions)
        self.settings.update(event)
        now = self.settings
        outs: list[Out] = [
            SessionUpdatedEvent(
                type="session.updated", event_id=new_id("event"), session=self._shown()
            )
        ]
        if now.input_wire != before[1]:
            self._from_wire = FromWire(now.input_wire)
        if now.output_wire != before[2]:
            self.responses.encode_anew()
        if now.audio != before[0]:
            outs.append(Listen(now.audio))
        if now.instructions != before[3]:
            outs.append(Instruct(now.instructions))
        return outs

    def _item_create(self, event: ConversationItemCreateEvent) -> list[Out]:
        before = self.items.accept(event.item, event.previous_item_id)
        return self._item_told(event.item, before)

    def _truncate(self, event: ConversationItemTruncateEvent) -> list[Out]:
        self.items.truncatable(event.item_id, event.audio_end_ms)  # what is refused ends nothing
        outs = self.responses.cut_off(event.item_id)
        self.items.truncate(event.item_id, event.audio_end_ms)
        outs.append(
            ConversationItemTruncatedEvent(
                type="conversation.item.truncated",
                event_id=new_id("event"),
                item_id=event.item_id,
                content_index=event.content_index,
                audio_end_ms=event.audio_end_ms,
            )
        )
        return outs

    def _commit_asked(self) -> list[Out]:
        detected = self.settings.turn_detection is not None
        if (detected and self._user_item is None) or self._buffered < SHORTEST_COMMIT_SECONDS:
            raise RealtimeProtocolError(
                f"The input buffer holds {self._buffered * 1000:.0f} ms of uncommitted audio"
                + (", and no speech is going on" if detected else "")
                + "; append at least 100 ms first.",
                "input_audio_buffer_commit_empty",
            )
        return self._commit(self._user_item or new_id("item"), math.inf)

    # ---- the voice -----------------------------------------------------------------------

    def heard(self, heard: Heard, script: Script = Script.NONE) -> list[Out]:
        """Take the agent's next frame; ``script`` tells how far a given answer is spoken."""
        outs = self._transcribed(self._committed.heard(heard))
        for event in heard.events:
            match event:
                case SpeechStarted(speaker="user"):
                    self._detected.began()
                    outs += self._user_began(event.time)
                case SpeechEnded(speaker="user"):
                    self._ended_early = None
                    outs += self._user_stopped(event.time)
                case SpeechStarted(speaker="agent") if self.responses.audible:
                    outs += self._turn_taken(event.time)
                case _:
                    pass
        return outs + self._still_talking(heard) + self.responses.heard(heard, script)

    def _turn_taken(self, time: float) -> list[Out]:
        """The agent answers before the voice detector is sure that the user has ended.

        A full-duplex model needs no silence to know it. For the client the user's turn must
        come to its end before the answer begins.
        """
        if self.settings.turn_detection is None or self._user_item is None:
            return []
        self._ended_early = time
        return self._user_stopped(time)

    def _still_talking(self, heard: Heard) -> list[Out]:
        """The user was not done after all: that is an interruption."""
        detection, since = self.settings.turn_detection, self._ended_early
        if detection is None or since is None or not heard.user_speaking:
            return []
        if heard.frame.time - since < detection.silence_ms / 1000 + OVERLAP_SECONDS:
            return []
        return self._user_began(since)

    def _user_began(self, time: float) -> list[Out]:
        interruption = self.responses.interrupted()
        if self.settings.turn_detection is None:
            return interruption
        self._user_item = new_id("item")
        self._ended_early = None
        return [
            InputAudioBufferSpeechStartedEvent(
                type="input_audio_buffer.speech_started",
                event_id=new_id("event"),
                audio_start_ms=round(time * 1000),
                item_id=self._user_item,
            ),
            *interruption,
        ]

    def _user_stopped(self, time: float) -> list[Out]:
        item_id = self._user_item
        if self.settings.turn_detection is None or item_id is None:
            return []
        stopped = InputAudioBufferSpeechStoppedEvent(
            type="input_audio_buffer.speech_stopped",
            event_id=new_id("event"),
            audio_end_ms=round(time * 1000),
            item_id=item_id,
        )
        return [stopped, *self._commit(item_id, time)]

    def _commit(self, item_id: str, end: float) -> list[Out]:
        self._user_item, self._buffered = None, 0.0
        item = RealtimeConversationItemUserMessage(
            id=item_id,
            object="realtime.item",
            type="message",
            role="user",
            status="completed",
            content=[Content(type="input_audio", transcript=None)],
        )
        before = self.items.add(item)
        committed = InputAudioBufferCommittedEvent(
            type="input_audio_buffer.committed",
            event_id=new_id("event"),
            item_id=item_id,
            previous_item_id=before,
        )
        told: list[Out] = [committed, *self._item_told(item, before)]
        if self.settings.turn_detection is None:
            # An LLM may be asked at once; the client is told when it is certain.
            known = self._committed.committed(item)
            item.content = [Content(type="input_audio", transcript=known)]
            return told
        self._detected.committed(item, end)
        return told + self._transcribed(self._detected.take())

    def _item_told(self, item: object, before: str | None) -> list[Out]:
        shown = {"event_id": new_id("event"), "previous_item_id": before, "item": item}
        return [
            ConversationItemAdded.model_validate({"type": "conversation.item.added", **shown}),
            ConversationItemDone.model_validate(
                {"type": "conversation.item.done", **shown, "event_id": new_id("event")}
            ),
        ]

    def user_text(self, said: UserText) -> list[Out]:
        """Take in what the transcriber understood of the user's turn."""
        if not said.final or said.typed:
            return []
        if self.settings.turn_detection is None:
            self._committed.understood(said)
            return []
        self._detected.understood(said)
        return [] if self._user_item is not None else self._transcribed(self._detected.take())

    def _transcribed(self, understood: list[Understood]) -> list[Out]:
        """Tell of the words of the user's items; an LLM may want to call tools on them."""
        outs: list[Out] = []
        for item, said in understood:
            outs += self._transcript_told(item, said)
        if any(said.text for _, said in understood):
            outs += self.responses.words_known(understood[-1][0].id or "")
        return outs

    def _transcript_told(
        self, item: RealtimeConversationItemUserMessage, said: UserText
    ) -> list[Out]:
        item_id = item.id or ""
        item.content = [Content(type="input_audio", transcript=said.text)]
        outs: list[Out] = []
        if self.settings.transcribes:
            if said.text:
                outs.append(
                    ConversationItemInputAudioTranscriptionDeltaEvent(
                        type="conversation.item.input_audio_transcription.delta",
                        event_id=new_id("event"),
                        item_id=item_id,
                        content_index=0,
                        delta=said.text,
                    )
                )
            seconds = said.words[-1].end - said.words[0].start if said.words else 0.0
            outs.append(
                ConversationItemInputAudioTranscriptionCompletedEvent(
                    type="conversation.item.input_audio_transcription.completed",
                    event_id=new_id("event"),
                    item_id=item_id,
                    content_index=0,
                    transcript=said.text,
                    usage=UsageTranscriptTextUsageDuration(type="duration", seconds=seconds),
                )
            )
        return outs
