"""A Live session, without sockets: client events and the voice's frames in, events out.

This protocol has our own shape: the voice owns mouth, ears and turn-taking, all of its sound
goes out, and what needs thought is delegated. What the session cannot do itself it asks of
its edge by the commands below.
"""

from __future__ import annotations

import base64
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from openai.types.live import (
    CommentaryAppendedEvent,
    CommentaryAppendEvent,
    DelegationCreatedEvent,
    InputAudioAppendEvent,
    InputAudioMutedEvent,
    InputAudioMuteEvent,
    InputAudioUnmutedEvent,
    InputAudioUnmuteEvent,
    InputTranscriptDeltaEvent,
    InstructionsAppendedEvent,
    InstructionsAppendEvent,
    OutputAudioDeltaEvent,
    OutputTranscriptDeltaEvent,
    ResponseCreateEvent,
    ResponseEvent,
    ResponseItemCreateEvent,
    SessionClosedEvent,
    SessionCloseEvent,
    SessionConfig,
    SessionResource,
    SessionStartedEvent,
    SessionStartEvent,
    SessionUpdatedEvent,
    SessionUpdateEvent,
    SessionUsage,
    ThinkingAppendedEvent,
    ThinkingAppendEvent,
)
from openai.types.live.audio_format import AudioPCM, AudioPCMA, AudioPCMU
from openai.types.live.delegation_created_event import Delegation
from pydantic import BaseModel

from coda_integrations.live.codec import ClientEvent, LiveProtocolError, audio_bytes, decode
from coda_integrations.realtime.codec import new_id
from coda_integrations.wire_audio import ALAW_8K, MULAW_8K, PCM_24K, FromWire, WireFormat
from coda_voice.attendants import UserText
from coda_voice.heard import Heard
from coda_voice.hybrid.llm import Message, ToolCall
from coda_voice.moshi.frames import FRAME_SECONDS, Pcm
from coda_voice.protocols import ToolSpec

MAX_HISTORY = 256
MAX_INITIAL = 128
MAX_CONTENT_WORDS = 400
"""OpenAI's limit of 500 tokens, in words."""
MAX_OPEN_DELEGATIONS = 64
CloseReason = Literal["close_requested", "expired", "remote_hangup", "connection_lost"]


@dataclass(frozen=True, slots=True)
class Hear:
    """Give this sound of the user to the voice."""

    pcm: Pcm


@dataclass(frozen=True, slots=True)
class Instruct:
    """Tell the speech model who it is, if it takes prompts."""

    text: str


@dataclass(frozen=True, slots=True)
class Say:
    """Have the voice say this, in the next pause."""

    text: str


@dataclass(frozen=True, slots=True)
class Think:
    """Ask the LLM in the place of OpenAI's Responses; what comes is told by ``thought…``."""

    delegation_id: str | None
    messages: list[Message]
    tools: tuple[ToolSpec, ...]


@dataclass(frozen=True, slots=True)
class Close:
    """The session is over."""


Command = Hear | Instruct | Say | Think | Close
Out = BaseModel | Command


class LiveSession:
    """One client's session."""

    def __init__(self, expires_at: int) -> None:
        self.id = new_id("sess")
        self._expires_at = expires_at
        self._config: SessionConfig | None = None
        self._from_wire = FromWire(PCM_24K)
        self._outlet = PCM_24K.outlet()
        self._muted = False
        self._seconds = 0.0
        self._history: deque[Message] = deque(maxlen=MAX_HISTORY)
        self._agent_words: deque[str] = deque(maxlen=512)
        self._delegations: deque[str] = deque(maxlen=MAX_OPEN_DELEGATIONS)
        self._calls: dict[str, ToolCall] = {}

    # ---- the client --------------------------------------------------------------------

    def message(self, text: str | bytes) -> list[Out]:
        """Take one message of the client; an error is an event like others."""
        try:
            event = decode(text)
        except LiveProtocolError as error:
            return [error.event()]
        try:
            return self._receive(event)
        except LiveProtocolError as error:
            error.event_id = error.event_id or event.event_id
            return [error.event()]

    def _receive(self, event: ClientEvent) -> list[Out]:
        if isinstance(event, SessionStartEvent):
            return self._start(event)
        if self._config is None:
            raise LiveProtocolError(
                "Send session.start first, and wait for session.started.", "session_not_started"
            )
        match event:
            case InputAudioAppendEvent():
                pcm = self._from_wire.process(audio_bytes(event))
                if self._muted:
                    pcm = np.zeros_like(pcm)
                return [Hear(pcm)] if len(pcm) else []
            case InputAudioMuteEvent() | InputAudioUnmuteEvent():
                return self._mute(event)
            case InstructionsAppendEvent() | ThinkingAppendEvent() | CommentaryAppendEvent():
                return self._append(event)
            case SessionUpdateEvent():
                return self._update(event)
            case ResponseItemCreateEvent():
                return self._item(event)
            case ResponseCreateEvent():
                self._need_responses()
                return [self._thought(None)]
            case SessionCloseEvent():
                return self.close("close_requested", event.event_id)

    def _start(self, event: SessionStartEvent) -> list[Out]:
        config = event.session
        if self._config is not None:
            raise LiveProtocolError("The session has started already.", "session_already_started")
        unknown = sorted(config.model_extra or {})
        if unknown:
            raise LiveProtocolError(
                f"Unknown session field {unknown[0]!r}.",
                "unknown_parameter",
                param=f"session.{unknown[0]}",
            )
        if config.delegation is not None and config.delegation.type == "decisions":
            raise LiveProtocolError(
                "Decisions are not served here; delegate to 'client' or 'responses'.",
                param="session.delegation.type",
            )
        wire = _wire(config)
        initial = config.input or []
        if len(initial) > MAX_INITIAL:
            raise LiveProtocolError(
                f"session.input has {len(initial)} messages; at most {MAX_INITIAL} are taken.",
                param="session.input",
            )
        for item in initial:
            role: Literal["system", "user", "assistant"] = (
                "system" if item.role == "developer" else item.role
            )
            self._history.append(Message(role, " ".join(part.text for part in item.content)))
        self._config = config
        self._from_wire, self._outlet = FromWire(wire), wire.outlet()
        outs: list[Out] = [
            SessionStartedEvent(
                type="session.started",
                event_id=new_id("event"),
                session=self._resource(),
                client_event_id=event.event_id,
            )
        ]
        if config.instructions:
            outs.append(Instruct(config.instructions))
        return outs

    def _mute(self, event: InputAudioMuteEvent | InputAudioUnmuteEvent) -> list[Out]:
        self._muted = isinstance(event, InputAudioMuteEvent)
        if self._muted:
            return [
                InputAudioMutedEvent(
                    type="session.input_audio.muted",
                    event_id=new_id("event"),
                    client_event_id=event.event_id,
                )
            ]
        return [
            InputAudioUnmutedEvent(
                type="session.input_audio.unmuted",
                event_id=new_id("event"),
                client_event_id=event.event_id,
            )
        ]

    def _append(
        self, event: InstructionsAppendEvent | ThinkingAppendEvent | CommentaryAppendEvent
    ) -> list[Out]:
        if event.delegation_id is not None and event.delegation_id not in self._delegations:
            raise LiveProtocolError(
                f"There is no delegation {event.delegation_id[:80]!r}.", param="delegation_id"
            )
        words = len(event.content.split())
        if words > MAX_CONTENT_WORDS:
            raise LiveProtocolError(
                f"The content has {words} words; at most {MAX_CONTENT_WORDS} are taken.",
                "content_too_long",
                param="content",
            )
        told: dict[str, object] = {
            "event_id": new_id("event"),
            "client_event_id": event.event_id,
            "start_ms": self._now_ms,
            "end_ms": self._now_ms,
        }
        match event:
            case InstructionsAppendEvent():
                self._history.append(Message("system", event.content))
                told["type"] = "session.instructions.appended"
                return [InstructionsAppendedEvent.model_validate(told), Instruct(event.content)]
            case ThinkingAppendEvent():
                self._history.append(Message("system", event.content))
                told["type"] = "session.thinking.appended"
                return [ThinkingAppendedEvent.model_validate(told)]
            case CommentaryAppendEvent():
                told["type"] = "session.commentary.appended"
                return [CommentaryAppendedEvent.model_validate(told), Say(event.content)]

    def _update(self, event: SessionUpdateEvent) -> list[Out]:
        config, given = self._started(), event.session.delegation
        old = config.delegation
        if given is not None:
            if given.type != (old.type if old is not None else "client"):
                raise LiveProtocolError(
                    "A session's delegation cannot change its type.",
                    param="session.delegation.type",
                )
            merged = {
                **(old.model_dump(exclude_unset=True) if old is not None else {}),
                **given.model_dump(exclude_unset=True),
            }
            before = getattr(old, "responses", None)
            if isinstance(before, BaseModel) and isinstance(merged.get("responses"), dict):
                merged["responses"] = {
                    **before.model_dump(exclude_unset=True),
                    **merged["responses"],
                }
            self._config = SessionConfig.model_validate(
                {**config.model_dump(exclude_unset=True), "delegation": merged}
            )
        return [
            SessionUpdatedEvent(
                type="session.updated",
                event_id=new_id("event"),
                session=self._resource(),
                client_event_id=event.event_id,
            )
        ]

    def _item(self, event: ResponseItemCreateEvent) -> list[Out]:
        self._need_responses()
        item = event.item
        fields = item if isinstance(item, Mapping) else item.model_dump(exclude_unset=True)
        if fields.get("type") == "function_call_output":
            call = self._calls.pop(str(fields.get("call_id")), None)
            if call is None:
                raise LiveProtocolError("No such call was made.", param="item.call_id")
            self._history.append(Message("assistant", "", (call,)))
            self._history.append(
                Message(
                    "tool",
                    str(fields.get("output", "")),
                    tool_call_id=call.call_id,
                    tool_name=call.name,
                )
            )
            return []
        role, text = fields.get("role"), _text_of(fields.get("content"))
        if role not in ("user", "assistant", "system", "developer") or not text:
            raise LiveProtocolError(
                "Items are messages with text, or function_call_output.", param="item"
            )
        shown: Literal["user", "assistant", "system"] = (
            "user" if role == "user" else "assistant" if role == "assistant" else "system"
        )
        self._history.append(Message(shown, text))
        return []

    def _need_responses(self) -> None:
        if self._backend != "responses":
            raise LiveProtocolError(
                "This needs a session with delegation of type 'responses'.", "invalid_delegation"
            )

    @property
    def _backend(self) -> Literal["client", "responses"]:
        config = self._started()
        chosen = config.delegation
        return "responses" if chosen is not None and chosen.type == "responses" else "client"

    def _started(self) -> SessionConfig:
        if self._config is None:
            raise LiveProtocolError("The session has not started.", "session_not_started")
        return self._config

    # ---- delegation ----------------------------------------------------------------------

    def delegate(self) -> list[Out]:
        """The user's last words need thought: tell whoever thinks in this session."""
        if self._config is None:
            return []
        delegation_id = new_id("del")
        self._delegations.append(delegation_id)
        outs: list[Out] = [
            DelegationCreatedEvent(
                type="session.delegation.created",
                event_id=new_id("event"),
                offset_ms=self._now_ms,
                delegation=Delegation(id=delegation_id, target=self._backend, type="delegation"),
            )
        ]
        if self._backend == "responses":
            outs.append(self._thought(delegation_id))
        return outs

    def _thought(self, delegation_id: str | None) -> Think:
        config = self._started()
        responses = getattr(config.delegation, "responses", None)
        instructions = getattr(responses, "instructions", None) or config.instructions
        messages = list(self._history)
        if instructions:
            messages.insert(0, Message("system", str(instructions)))
        tools = tuple(
            ToolSpec(tool.name, tool.description or "", _schema(tool.parameters))
            for tool in getattr(responses, "tools", None) or ()
            if tool.type == "function"
        )
        return Think(delegation_id, messages, tools)

    def thought(self, delegation_id: str | None, event: Mapping[str, object]) -> list[Out]:
        """Pass an event of the thinking on, in the words of OpenAI's Responses."""
        return [
            ResponseEvent(
                type="response.event",
                event_id=new_id("event"),
                delegation_id=delegation_id,
                event=dict(event),
            )
        ]

    def thought_calls(self, calls: Sequence[ToolCall]) -> None:
        """Remember calls of the client's tools, whose results it will send."""
        for call in calls[-MAX_OPEN_DELEGATIONS:]:
            self._calls[call.call_id] = call

    def said(self, text: str) -> None:
        """Note what was heard of the agent, for those who think."""
        self._history.append(Message("assistant", text))

    # ---- the voice -----------------------------------------------------------------------

    @property
    def _now_ms(self) -> int:
        return round(self._seconds * 1000)

    def heard(self, heard: Heard) -> list[Out]:
        """Take the agent's next frame: all of its sound goes out, and its words."""
        self._seconds = heard.frame.time + FRAME_SECONDS
        if self._config is None:
            return []
        outs: list[Out] = []
        sound = self._outlet.push(heard.frame.pcm)
        if sound:
            outs.append(
                OutputAudioDeltaEvent(
                    type="session.output_audio.delta",
                    delta=base64.b64encode(sound).decode("ascii"),
                )
            )
        words = [
            OutputTranscriptDeltaEvent(
                type="session.output_transcript.delta",
                event_id=new_id("event"),
                delta=f"{word.text} ",
                start_ms=round(word.start * 1000),
                end_ms=round(word.end * 1000),
            )
            for word in heard.frame.words
        ]
        return [*outs, *words]

    def user_text(self, said: UserText) -> list[Out]:
        """Take in the user's words; those of a turn are told when they are certain."""
        if self._config is None or not said.final or not said.text:
            return []
        self._history.append(Message("user", said.text))
        spans = [(w.text, w.start, w.end) for w in said.words] or [
            (said.text, said.time, said.time)
        ]
        return [
            InputTranscriptDeltaEvent(
                type="session.input_transcript.delta",
                event_id=new_id("event"),
                delta=f"{text} ",
                start_ms=round(start * 1000),
                end_ms=round(end * 1000),
            )
            for text, start, end in spans
        ]

    def close(self, reason: CloseReason, client_event_id: str | None = None) -> list[Out]:
        """End the session, saying why."""
        if self._config is None:
            return [Close()]
        return [
            SessionClosedEvent(
                type="session.closed",
                event_id=new_id("event"),
                reason=reason,
                session=self._resource(),
                usage=SessionUsage(seconds=round(self._seconds, 3)),
                client_event_id=client_event_id,
            ),
            Close(),
        ]

    def _resource(self) -> SessionResource:
        config = self._started().model_dump(exclude_unset=True)
        return SessionResource.model_validate(
            {**config, "id": self.id, "status": "active", "expires_at": self._expires_at}
        )


def _wire(config: SessionConfig) -> WireFormat:
    match config.audio.format if config.audio is not None else None:
        case None:
            return PCM_24K
        case AudioPCM(rate=rate):
            return WireFormat("int16", rate)
        case AudioPCMU(rate=8_000):
            return MULAW_8K
        case AudioPCMA(rate=8_000):
            return ALAW_8K
        case _:
            raise LiveProtocolError("G.711 has 8000 Hz.", param="session.audio.format.rate")


def _text_of(content: object) -> str:
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        return ""
    texts = [part.get("text") for part in content if isinstance(part, dict)]
    return " ".join(text for text in texts if isinstance(text, str))


def _schema(parameters: object) -> Mapping[str, object]:
    return parameters if isinstance(parameters, dict) else {"type": "object", "properties": {}}
