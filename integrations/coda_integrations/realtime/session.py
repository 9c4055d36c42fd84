"""A Realtime session, without sockets: client events and the voice's frames in, events out.

The voice knows no turns. Here they are cut out of it: the voice detector's starts and stops
become the user's items, each stretch of the agent's speech becomes a response. What the
session cannot do itself it asks of its edge by the commands below.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from enum import Enum

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
from openai.types.realtime.realtime_response_create_params import RealtimeResponseCreateParams
from openai.types.realtime.realtime_server_event import ConversationItemRetrieved
from pydantic import BaseModel

from coda_integrations.realtime.codec import (
    ClientEvent,
    RealtimeProtocolError,
    audio_bytes,
    decode,
    new_id,
)
from coda_integrations.realtime.items import ItemLog, messages_of
from coda_integrations.realtime.response import Reason, Response
from coda_integrations.realtime.settings import SessionSettings, tool_specs
from coda_integrations.wire_audio import FromWire
from coda_voice.attendants import UserText
from coda_voice.audio.ingest import AudioSettings
from coda_voice.events import SpeechEnded, SpeechStarted
from coda_voice.heard import Heard
from coda_voice.hybrid.llm import Message, ToolCall
from coda_voice.moshi.frames import FRAME_SECONDS, Pcm
from coda_voice.protocols import ToolSpec

ANSWER_FRAMES = 100
"""So long a requested response waits for the agent to begin by itself."""
TAIL_FRAMES = 6
"""The sound of a script's last word comes after its text: so many frames at least."""
LEAD_FRAMES = 8
"""An onset is certain only some frames later: so many are remembered."""
MAX_BESIDE = 8
"""Responses out of band at once."""
SHORTEST_COMMIT_SECONDS = 0.1
OVERLAP_SECONDS = 0.24
"""A user who goes on for longer than this after the agent has begun interrupts it."""


@dataclass(frozen=True, slots=True)
class Hear:
    """Give this sound of the user to the voice."""

    pcm: Pcm


@dataclass(frozen=True, slots=True)
class Listen:
    """Listen with these settings from now on."""

    settings: AudioSettings


@dataclass(frozen=True, slots=True)
class Forget:
    """Drop the user's sound that has not been heard yet."""


@dataclass(frozen=True, slots=True)
class Instruct:
    """Tell the speech model who it is, if it takes prompts."""

    text: str


@dataclass(frozen=True, slots=True)
class Hush:
    """Stop saying what is being said, and thinking about it."""


@dataclass(frozen=True, slots=True)
class Think:
    """Ask the LLM, and tell what comes by ``thought…``; spoken unless it is a text response.

    ``tools_only``: the agent answers by itself, only tool calls are wanted.
    """

    response: Response
    messages: list[Message]
    tools: tuple[ToolSpec, ...]
    tools_only: bool = False


Command = Hear | Listen | Forget | Instruct | Hush | Think
Out = BaseModel | Command


class Script(Enum):
    """Where the words stand that the voice was given to say."""

    NONE = "none"
    WAITING = "waiting"
    SPEAKING = "speaking"
    OVER = "over"
    LOST = "lost"
    """Not begun, and never will be."""


class _Kind(Enum):
    NATIVE = "native"
    """The agent spoke by itself."""
    AWAITED = "awaited"
    """The client asked, and the agent has not begun yet."""
    SCRIPTED = "scripted"
    """An LLM's words, spoken by the voice."""
    WRITTEN = "written"
    """An LLM's words, as text."""
    CALLS = "calls"
    """Nothing but calls of the client's tools."""


class RealtimeSession:
    """One client's session; ``decode`` its messages with ``message``, its frames with ``heard``."""

    def __init__(self, model: str) -> None:
        self.id = new_id("sess")
        self.conversation_id = new_id("conv")
        self.settings = SessionSettings(model)
        self.items = ItemLog()
        self._from_wire = FromWire(self.settings.input_wire)
        self._outlet = self.settings.output_wire.outlet()
        self._buffered = 0.0
        """Seconds appended since the last commit."""
        self._user_item: str | None = None
        self._ended_early: float | None = None
        """When the agent took the turn, where the voice detector still waits for its end."""
        self._untranscribed: RealtimeConversationItemUserMessage | None = None
        self._active: Response | None = None
        self._kind = _Kind.NATIVE
        self._thinking = False
        self._begun = False
        self._waited = 0
        self._tail = 0
        self._gated = False
        self._beside: dict[str, Response] = {}
        self._tool_thought: Response | None = None
        """Thought about while the agent answers by itself; announced only if it calls a tool."""
        self._recent: deque[Heard] = deque(maxlen=LEAD_FRAMES)
        self._frames = 0
        self._frames_told = 0

    def opening(self) -> list[Out]:
        """What is sent and done before anything is received."""
        return [
            SessionCreatedEvent(
                type="session.created", event_id=new_id("event"), session=self.settings.request
            ),
            Listen(self.settings.audio),
        ]

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
                return self._create(event)
            case ResponseCancelEvent():
                return self._cancel_asked(event)
            case InputAudioBufferCommitEvent():
                return self._commit_asked()
            case InputAudioBufferClearEvent():
                self._buffered = 0.0
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
        self._buffered += len(data) / self.settings.input_wire.bytes_per_second
        pcm = self._from_wire.process(data)
        return [Hear(pcm)] if len(pcm) else []

    def _update(self, event: SessionUpdateEvent) -> list[Out]:
        was = self.settings
        before = (was.audio, was.input_wire, was.output_wire, was.instructions)
        self.settings.update(event)
        now = self.settings
        outs: list[Out] = [
            SessionUpdatedEvent(
                type="session.updated", event_id=new_id("event"), session=now.request
            )
        ]
        if now.input_wire != before[1]:
            self._from_wire = FromWire(now.input_wire)
        if now.output_wire != before[2]:
            self._outlet = now.output_wire.outlet()
        if now.audio != before[0]:
            outs.append(Listen(now.audio))
        if now.instructions != before[3]:
            outs.append(Instruct(now.instructions))
        return outs

    def _item_create(self, event: ConversationItemCreateEvent) -> list[Out]:
        before = self.items.accept(event.item, event.previous_item_id)
        return self._item_told(event.item, before)

    def _truncate(self, event: ConversationItemTruncateEvent) -> list[Out]:
        outs: list[Out] = []
        if self._active is not None and self._active.item_id == event.item_id:
            outs += self._end_active("client_cancelled")
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
        return self._commit(self._user_item or new_id("item"))

    # ---- responses asked for -------------------------------------------------------------

    def _create(self, event: ResponseCreateEvent) -> list[Out]:
        asked = event.response or RealtimeResponseCreateParams()
        beside = asked.conversation == "none"
        text_only = (
            self.settings.text_only
            if asked.output_modalities is None
            else asked.output_modalities == ["text"]
        )
        outs: list[Out] = []
        if not (beside and text_only):
            outs += self._make_room()
        elif len(self._beside) >= MAX_BESIDE:
            raise RealtimeProtocolError(
                f"{MAX_BESIDE} responses out of band are under way; wait for one to be done.",
                "conversation_already_has_active_response",
            )
        response = Response(
            self.conversation_id,
            None if beside else self.items,
            text_only=text_only,
            metadata=asked.metadata,
        )
        thought = self._thought_for(response, asked)
        outs += response.created()
        if beside and text_only:
            self._beside[response.id] = response
        elif thought is None:
            self._begin(response, _Kind.AWAITED)
        else:
            self._begin(response, _Kind.WRITTEN if text_only else _Kind.SCRIPTED)
        if thought is not None:
            outs.append(thought)
        return outs

    def _make_room(self) -> list[Out]:
        """End what the agent says by itself; a response that was asked for is not ended."""
        if self._active is None:
            return []
        if self._kind in (_Kind.NATIVE, _Kind.CALLS):
            return self._end_active("client_cancelled")
        raise RealtimeProtocolError(
            f"Conversation already has an active response in progress: {self._active.id}. Wait "
            "until the response is finished before creating a new one.",
            "conversation_already_has_active_response",
        )

    def _thought_for(self, response: Response, asked: RealtimeResponseCreateParams) -> Think | None:
        """What to ask the LLM; None where the voice answers by itself: to what it has heard."""
        last = self.items.last
        spoken_to = isinstance(last, RealtimeConversationItemUserMessage) and any(
            part.type == "input_audio" for part in last.content
        )
        by_itself = response.in_band and asked.instructions is None and asked.input is None
        if by_itself and (spoken_to or (last is None and not self.settings.instructions)):
            return None
        tools = (
            self.settings.tools
            if asked.tools is None
            else tool_specs(asked.tools) if asked.tool_choice != "none" else ()
        )  # fmt: skip
        heard = self.items.messages() if asked.input is None else messages_of(asked.input)
        return Think(response, self._with_instructions(heard, asked.instructions), tools)

    def _with_instructions(
        self, messages: list[Message], instructions: str | None = None
    ) -> list[Message]:
        text = instructions or self.settings.instructions
        return [Message("system", text), *messages] if text else messages

    def _begin(self, response: Response, kind: _Kind) -> None:
        self._active, self._kind = response, kind
        self._begun, self._waited, self._tail = False, 0, 0
        self._thinking = kind in (_Kind.SCRIPTED, _Kind.WRITTEN, _Kind.CALLS)
        self._outlet = self.settings.output_wire.outlet()

    def _cancel_asked(self, event: ResponseCancelEvent) -> list[Out]:
        beside = self._beside.pop(event.response_id or "", None)
        if beside is not None:
            return list(beside.done("cancelled", reason="client_cancelled"))
        if self._active is None or event.response_id not in (None, self._active.id):
            raise RealtimeProtocolError(
                "Cancellation failed: no active response found.", "response_cancel_not_active"
            )
        return self._end_active("client_cancelled")

    def _end_active(self, reason: Reason) -> list[Out]:
        """Cancel the response under way; what the agent is still saying is not sent on."""
        response, self._active = self._active, None
        if response is None:
            return []
        self._gated = self._kind is not _Kind.WRITTEN
        return [*response.done("cancelled", reason=reason, input_frames=self._new_frames()), Hush()]

    def _finish(self, *, error: tuple[str, str] | None = None) -> list[Out]:
        response, self._active = self._active, None
        if response is None:
            return []
        return list(
            response.done(
                "completed" if error is None else "failed",
                error=error,
                input_frames=self._new_frames(),
            )
        )

    def _new_frames(self) -> int:
        new, self._frames_told = self._frames - self._frames_told, self._frames
        return new

    # ---- thoughts ------------------------------------------------------------------------

    def _alive(self, response: Response) -> bool:
        return not response.over and (response is self._active or response.id in self._beside)

    def thought_text(self, response: Response, delta: str) -> list[Out]:
        """The LLM wrote more of a text response."""
        return list(response.text(delta)) if self._alive(response) and response.text_only else []

    def thought_calls(self, response: Response, calls: list[ToolCall]) -> list[Out]:
        """The LLM calls tools of the client."""
        if not calls:
            return []
        outs: list[Out] = []
        beside_the_voice = response is self._tool_thought
        if beside_the_voice:
            self._tool_thought = None
            if self._active is not None and self._kind is _Kind.AWAITED and not self._begun:
                response = self._active
            elif self._active is None or self._kind in (_Kind.NATIVE, _Kind.AWAITED):
                # The agent had begun to answer by itself: the calls come in its place.
                outs += self._end_active("client_cancelled")
                self._begin(response, _Kind.CALLS)
                outs += response.created()
        if not self._alive(response):
            return outs
        for call in calls:
            outs += response.call(call)
        return outs + self._finish() if beside_the_voice else outs

    def thought_over(
        self, response: Response, *, tokens: tuple[int, int] = (0, 0), spoken: bool = False
    ) -> list[Out]:
        """The LLM has ended; ``spoken``: the voice was given words that it may still be saying."""
        response.text_tokens = tokens
        if self._beside.pop(response.id, None) is not None:
            return list(response.done())
        if response is not self._active:
            return []
        self._thinking = False
        return [] if spoken and self._kind is _Kind.SCRIPTED else self._finish()

    def thought_failed(self, response: Response, code: str, message: str) -> list[Out]:
        """The LLM could not answer."""
        if self._beside.pop(response.id, None) is not None:
            return list(response.done("failed", error=(code, message)))
        return self._finish(error=(code, message)) if response is self._active else []

    # ---- the voice -----------------------------------------------------------------------

    def heard(self, heard: Heard, script: Script = Script.NONE) -> list[Out]:
        """Take the agent's next frame; ``script`` tells how far a given answer is spoken."""
        self._frames += 1
        outs: list[Out] = []
        for event in heard.events:
            match event:
                case SpeechStarted(speaker="user"):
                    outs += self._user_began(event.time)
                case SpeechEnded(speaker="user"):
                    self._ended_early = None
                    outs += self._user_stopped(event.time)
                case SpeechStarted(speaker="agent") if not self._gated:
                    outs += self._turn_taken(event.time)
                case _:
                    pass
        return outs + self._still_talking(heard) + self._agent_frame(heard, script)

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
        self._ended_early = None
        return self._user_began(heard.frame.time)

    def _user_began(self, time: float) -> list[Out]:
        self._user_item = new_id("item")
        self._tool_thought = self._ended_early = None
        detection = self.settings.turn_detection
        if detection is None:
            return []
        outs: list[Out] = [
            InputAudioBufferSpeechStartedEvent(
                type="input_audio_buffer.speech_started",
                event_id=new_id("event"),
                audio_start_ms=round(time * 1000),
                item_id=self._user_item,
            )
        ]
        if detection.interrupt_response and self._kind is not _Kind.WRITTEN:
            outs += self._end_active("turn_detected")
        return outs

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
        return [stopped, *self._commit(item_id)]

    def _commit(self, item_id: str) -> list[Out]:
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
        self._untranscribed = item
        committed = InputAudioBufferCommittedEvent(
            type="input_audio_buffer.committed",
            event_id=new_id("event"),
            item_id=item_id,
            previous_item_id=before,
        )
        return [committed, *self._item_told(item, before)]

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
        item = self._untranscribed
        if not said.final or said.typed or item is None or item.id is None:
            return []
        self._untranscribed = None
        item.content = [Content(type="input_audio", transcript=said.text)]
        outs: list[Out] = []
        if self.settings.transcribes:
            if said.text:
                outs.append(
                    ConversationItemInputAudioTranscriptionDeltaEvent(
                        type="conversation.item.input_audio_transcription.delta",
                        event_id=new_id("event"),
                        item_id=item.id,
                        content_index=0,
                        delta=said.text,
                    )
                )
            seconds = said.words[-1].end - said.words[0].start if said.words else 0.0
            outs.append(
                ConversationItemInputAudioTranscriptionCompletedEvent(
                    type="conversation.item.input_audio_transcription.completed",
                    event_id=new_id("event"),
                    item_id=item.id,
                    content_index=0,
                    transcript=said.text,
                    usage=UsageTranscriptTextUsageDuration(type="duration", seconds=seconds),
                )
            )
        detection = self.settings.turn_detection
        may = detection.create_response if detection else self._kind is _Kind.AWAITED
        if said.text and self.settings.tools and may:
            response = Response(self.conversation_id, self.items, text_only=self.settings.text_only)
            if self._active is None:
                self._kind = _Kind.CALLS
            messages = self._with_instructions(self.items.messages())
            outs.append(Think(response, messages, self.settings.tools, tools_only=True))
        return outs

    def _agent_frame(self, heard: Heard, script: Script) -> list[Out]:
        began = any(isinstance(e, SpeechStarted) and e.speaker == "agent" for e in heard.events)
        ended = any(isinstance(e, SpeechEnded) and e.speaker == "agent" for e in heard.events)
        self._recent.append(heard)
        if self._gated:
            self._gated = heard.agent_speaking and not began
            if self._gated:
                return []
        if self._active is None:
            detection = self.settings.turn_detection
            if not began or detection is None or not detection.create_response:
                return []
            response = Response(self.conversation_id, self.items, text_only=self.settings.text_only)
            self._begin(response, _Kind.NATIVE)
            return [*response.created(), *self._lead_in(heard)]
        if self._kind is _Kind.SCRIPTED:
            return self._scripted_frame(heard, script)
        if self._kind in (_Kind.WRITTEN, _Kind.CALLS):
            return []
        if not self._begun:
            if heard.agent_speaking:
                return self._lead_in(heard)
            self._waited += 1
            return self._finish() if self._waited >= ANSWER_FRAMES else []
        outs = self._sent(heard)
        return outs + self._finish() if ended else outs

    def _lead_in(self, heard: Heard) -> list[Out]:
        """Send the agent's first frames, from a frame before its onset."""
        self._begun = True
        onset = next(
            (e.time for e in heard.events if isinstance(e, SpeechStarted) and e.speaker == "agent"),
            heard.frame.time,
        )
        outs: list[Out] = []
        for frame in self._recent:
            if frame.frame.time >= onset - 1.5 * FRAME_SECONDS:
                outs += self._sent(frame)
        return outs

    def _scripted_frame(self, heard: Heard, script: Script) -> list[Out]:
        if script is Script.LOST:
            return self._finish(
                error=("not_spoken", "The answer could not be begun within 8 s of its request.")
            )
        if script in (Script.NONE, Script.WAITING):
            return []
        outs = self._sent(heard)
        if script is Script.OVER and not self._thinking:
            self._tail += 1
            if self._tail >= TAIL_FRAMES and not heard.agent_speaking:
                outs += self._finish()
        return outs

    def _sent(self, heard: Heard) -> list[Out]:
        response = self._active
        if response is None:
            return []
        if response.text_only:
            text = heard.text
            spaced = f" {text}" if response.item_id else text
            return list(response.text(spaced)) if text else []
        sound = self._outlet.push(heard.frame.pcm)
        return list(response.audio(sound, heard.frame.words, heard.frame.time))
