"""A Live session, without sockets: client events and the voice's frames in, events out.

This protocol has our own shape: the voice owns mouth, ears and turn-taking, all of its sound
goes out, and what needs thought is delegated. What the session cannot do itself it asks of
its edge by the commands below.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
from openai.types.live import (
    CommentaryAppendedEvent,
    CommentaryAppendEvent,
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

from coda_integrations.live import settings
from coda_integrations.live.codec import ClientEvent, LiveProtocolError, audio_bytes, decode
from coda_integrations.live.commands import Close, Hear, Instruct, Out, Say
from coda_integrations.live.delegation import Delegations
from coda_integrations.realtime.codec import new_id
from coda_integrations.wire_audio import PCM_24K, FromWire
from coda_voice.attendants import UserText
from coda_voice.heard import Heard
from coda_voice.hybrid.llm import Message, ToolCall
from coda_voice.moshi.frames import FRAME_SECONDS

MAX_CONTENT_WORDS = 400
"""OpenAI's limit of 500 tokens, in words."""
CloseReason = Literal["close_requested", "expired", "remote_hangup", "connection_lost"]


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
        self._delegations = Delegations()

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
                self._need_responses()
                self._delegations.take(event)
                return []
            case ResponseCreateEvent():
                self._need_responses()
                return [self._delegations.thought(self._started(), None)]
            case SessionCloseEvent():
                return self.close("close_requested", event.event_id)

    def _start(self, event: SessionStartEvent) -> list[Out]:
        config = event.session
        if self._config is not None:
            raise LiveProtocolError("The session has started already.", "session_already_started")
        settings.check(config)
        wire = settings.wire_of(config)
        self._delegations.note(*settings.said_before(config))
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
        self._delegations.check(event.delegation_id)
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
                self._delegations.note(Message("system", event.content))
                told["type"] = "session.instructions.appended"
                return [InstructionsAppendedEvent.model_validate(told), Instruct(event.content)]
            case ThinkingAppendEvent():
                self._delegations.note(Message("system", event.content))
                told["type"] = "session.thinking.appended"
                return [ThinkingAppendedEvent.model_validate(told)]
            case CommentaryAppendEvent():
                told["type"] = "session.commentary.appended"
                return [CommentaryAppendedEvent.model_validate(told), Say(event.content)]

    def _update(self, event: SessionUpdateEvent) -> list[Out]:
        self._config = settings.updated(self._started(), event)
        return [
            SessionUpdatedEvent(
                type="session.updated",
                event_id=new_id("event"),
                session=self._resource(),
                client_event_id=event.event_id,
            )
        ]

    def _need_responses(self) -> None:
        if settings.backend_of(self._started()) != "responses":
            raise LiveProtocolError(
                "This needs a session with delegation of type 'responses'.", "invalid_delegation"
            )

    def _started(self) -> SessionConfig:
        if self._config is None:
            raise LiveProtocolError("The session has not started.", "session_not_started")
        return self._config

    # ---- delegation ----------------------------------------------------------------------

    def delegate(self) -> list[Out]:
        """The user's last words need thought: tell whoever thinks in this session."""
        if self._config is None:
            return []
        backend = settings.backend_of(self._config)
        delegation_id, created = self._delegations.begin(backend, self._now_ms)
        if backend == "client":
            return [created]
        return [created, self._delegations.thought(self._config, delegation_id)]

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
        self._delegations.called(calls)

    def said(self, text: str) -> None:
        """Note what was heard of the agent, for those who think."""
        self._delegations.note(Message("assistant", text))

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
        self._delegations.note(Message("user", said.text))
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
