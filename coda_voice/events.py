"""What happened, as typed values: every step of a conversation publishes one (``event_bus``)."""

from __future__ import annotations

import itertools
from time import time as unix_time
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

Speaker = Literal["user", "agent"]
next_event_id = itertools.count(1).__next__
"""Gives the next id of an event, rising in this process."""


class Event(BaseModel):
    """Base of all events.

    ``time`` is seconds on the conversation's frame clock; ``wall`` is Unix time;
    ``generation`` is the user turn the event belongs to.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    type: str
    conversation_id: str
    time: float = 0.0
    generation: int = 0
    wall: float = Field(default_factory=unix_time)
    id: int = Field(default_factory=next_event_id)


class ConversationStarted(Event):
    """A conversation got its slot; its first frame may be sent."""

    type: Literal["conversation_started"] = "conversation_started"
    user_id: str | None = None
    mode: str = "moshi_only"
    checkpoint: str = ""


class ConversationEnded(Event):
    """A conversation gave its slot back; nothing more is told of it."""

    type: Literal["conversation_ended"] = "conversation_ended"
    reason: str = "ended"
    frames: int = 0
    frames_dropped: int = 0


class SpeechStarted(Event):
    """Somebody began to speak (VAD for the user, monologue and level for the agent)."""

    type: Literal["speech_started"] = "speech_started"
    speaker: Speaker


class SpeechEnded(Event):
    """Somebody stopped speaking; ``duration`` in seconds."""

    type: Literal["speech_ended"] = "speech_ended"
    speaker: Speaker
    duration: float


class WordSpoken(Event):
    """One word, with its times in the audio of its speaker."""

    type: Literal["word"] = "word"
    speaker: Speaker
    text: str
    start: float
    end: float
    sentence_end: bool = False


class TurnLatency(Event):
    """End of the user's speech to the agent's first audio, seconds on the frame clock."""

    type: Literal["turn_latency"] = "turn_latency"
    seconds: float


class BargeIn(Event):
    """The user spoke over the agent; ``silent_after`` seconds later the agent was silent."""

    type: Literal["barge_in"] = "barge_in"
    silent_after: float | None = None


class FramesDropped(Event):
    """A bounded mailbox was full and lost its oldest frames."""

    type: Literal["frames_dropped"] = "frames_dropped"
    where: Literal["inbox", "outbox"]
    count: int


class SessionRenewed(Event):
    """The slot reached the context length and was rebuilt beside the running one."""

    type: Literal["session_renewed"] = "session_renewed"
    kept_frames: int
    prompt_frames: int


class SettingWithoutEffect(Event):
    """A setting was accepted but does nothing here, and why."""

    type: Literal["setting_without_effect"] = "setting_without_effect"
    setting: str
    reason: str


class RouteDecided(Event):
    """The router chose who answers, on a partial or a final transcript.

    ``milliseconds`` is what the decision took; ``reasons`` name the rules and scores.
    """

    type: Literal["route_decided"] = "route_decided"
    text: str
    partial: bool
    target: Literal["moshi", "llm", "stop", "wait"]
    kind: str
    confidence: float
    reasons: tuple[str, ...]
    milliseconds: float


class ReasoningStarted(Event):
    """An LLM, or the offline brain in its place, was asked."""

    type: Literal["reasoning_started"] = "reasoning_started"
    llm: str
    offline: bool


class SentenceReady(Event):
    """A sentence is ready to be spoken, ``seconds`` after its reasoning started.

    ``kind`` filler: said while a tool runs; question: asks leave for a dangerous tool;
    apology: says that something went wrong.
    """

    type: Literal["sentence_ready"] = "sentence_ready"
    text: str
    kind: Literal["answer", "filler", "question", "apology"]
    seconds: float
    offline: bool


class ReasoningEnded(Event):
    """The reasoning is over; ``code`` and ``detail`` say what went wrong, if something did.

    ``first_text`` is seconds from the start to the LLM's first text; ``offline`` tells
    whether the offline brain gave the answer.
    """

    type: Literal["reasoning_ended"] = "reasoning_ended"
    outcome: Literal["answered", "failed", "interrupted", "asked"]
    llm: str
    offline: bool
    rounds: int
    seconds: float
    first_text: float | None = None
    code: str | None = None
    detail: str | None = None


class ToolStarted(Event):
    """A tool call began; ``offline``: the offline brain asked for it."""

    type: Literal["tool_started"] = "tool_started"
    call_id: str
    tool: str
    arguments: str
    offline: bool = False


class ToolEnded(Event):
    """A tool call is over, or will never start.

    ``kept``: it ended after its turn had been interrupted, and is told in the next one.
    """

    type: Literal["tool_ended"] = "tool_ended"
    call_id: str
    tool: str
    outcome: Literal["done", "failed", "cancelled", "never_started", "kept"]
    milliseconds: float = 0.0
    error: str | None = None
    offline: bool = False


class ConversationFailed(Event):
    """Something went wrong in one conversation; the others go on."""

    type: Literal["error"] = "error"
    code: str
    message: str


class TranscriptWord(BaseModel):
    """A word of a transcript; times in seconds on the frame clock."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    text: str
    start: float
    end: float


class ToolServerChanged(Event):
    """A server of tools (MCP) answers, did not start, or has gone; the rest goes on.

    ``reason``: why its ``tools`` cannot be used. One that has gone is started again; one that
    did not start, by a conversation that begins half a minute later.
    """

    type: Literal["tool_server"] = "tool_server"
    server: str
    state: Literal["ready", "failed", "gone"]
    tools: tuple[str, ...] = ()
    reason: str = ""


class Transcript(Event):
    """What the user has said in this turn, so far or (``final``) in all of it.

    ``words`` are those that are complete; a typed turn has none.
    """

    type: Literal["transcript"] = "transcript"
    speaker: Speaker = "user"
    text: str
    final: bool
    words: tuple[TranscriptWord, ...] = ()
    typed: bool = False


class NoTranscript(Event):
    """An LLM is to be asked, but nobody writes down what the user says: typing only."""

    type: Literal["no_transcript"] = "no_transcript"
    reason: str


class ModeChanged(Event):
    """Who answers from now on, Moshi alone or an LLM beside it, and whose voice is heard."""

    type: Literal["mode_changed"] = "mode_changed"
    mode: Literal["moshi_only", "hybrid", "adaptive"]
    voice: Literal["moshi_and_llm", "llm_only"] = "moshi_and_llm"


class ScriptStarted(Event):
    """A script begins to be spoken in Moshi's voice; ``text`` is what there is of it so far."""

    type: Literal["script_started"] = "script_started"
    origin: Literal["answer", "filler", "announcement", "greeting", "say"]
    text: str
    offline: bool = False


class ScriptEnded(Event):
    """A script is over, or was never begun (stale, replaced, cancelled, refused).

    ``heard``: its words that could be heard; ``unsaid``: how many could not.
    """

    type: Literal["script_ended"] = "script_ended"
    origin: Literal["answer", "filler", "announcement", "greeting", "say"]
    outcome: Literal["done", "interrupted", "stale", "replaced", "cancelled", "refused"]
    heard: str
    unsaid: int
    detail: str | None = None
    offline: bool = False


class VoiceFellBack(Event):
    """The other voice was too slow for a script, or is gone: Moshi's own says what is left of it.

    Told once in a conversation, though it may hold for all scripts that follow; ``slow`` once
    more where the voice had meanwhile read a script to its end.
    """

    type: Literal["voice_fell_back"] = "voice_fell_back"
    voice: str
    reason: Literal["slow", "failed"]
    detail: str


class AnswerLatency(Event):
    """End of the user's speech to the first word of the LLM's answer, on the frame clock.

    ``kind`` tells whether that word was of the answer itself or of a filler.
    """

    type: Literal["answer_latency"] = "answer_latency"
    seconds: float
    kind: Literal["answer", "filler"]
    offline: bool


class AttendantFailed(Event):
    """A companion of a conversation (LLM, memory, …) failed and is switched off in it."""

    type: Literal["attendant_failed"] = "attendant_failed"
    attendant: str
    message: str


class RefusedMemory(BaseModel):
    """A memory that came to mind and was not told, and why."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    text: str
    reason: str


class MemoryInjected(Event):
    """Memories were told to the model, or came to mind and were not.

    ``channel`` and ``frame`` say how and from which frame on (None: nothing was told);
    ``refused`` holds what the thinking filter or the conditioning left out; ``skipped`` why
    memory was left aside for this turn altogether. ``said`` is what the user was saying;
    empty for what lasts. ``milliseconds``: from the user's words to the decision, which was
    taken by rules, or by an LLM where they were not sure (``by``).
    """

    type: Literal["memory"] = "memory"
    injected: tuple[str, ...] = ()
    channel: Literal["frame_sum", "prompt", "speaking", "none"] = "none"
    frame: int | None = None
    refused: tuple[RefusedMemory, ...] = ()
    said: str = ""
    skipped: str | None = None
    milliseconds: float = 0.0
    by: Literal["rules", "llm"] = "rules"


class MemoryStored(Event):
    """What the user said is safely stored, and the facts found in it.

    ``by``: who found them; ``refused``: what an LLM took for facts and was not said; ``why_not``:
    why the rules had to do where there is an LLM; ``taken_back``: facts of the turn before that
    hold no longer, for this one takes it back ("just kidding").
    """

    type: Literal["memory_stored"] = "memory_stored"
    text: str
    facts: tuple[str, ...] = ()
    by: Literal["rules", "llm"] = "rules"
    refused: tuple[RefusedMemory, ...] = ()
    why_not: str | None = None
    taken_back: tuple[str, ...] = ()


class PersonalityAdapted(Event):
    """The user asked for another manner: a trait (0 to 1) moved, for this user."""

    type: Literal["personality_adapted"] = "personality_adapted"
    trait: str
    before: float
    after: float
    because: str


EVENT_TYPES: tuple[type[Event], ...] = (
    ConversationStarted,
    ConversationEnded,
    SpeechStarted,
    SpeechEnded,
    WordSpoken,
    TurnLatency,
    BargeIn,
    FramesDropped,
    SessionRenewed,
    SettingWithoutEffect,
    RouteDecided,
    ReasoningStarted,
    SentenceReady,
    ReasoningEnded,
    ToolStarted,
    ToolEnded,
    ToolServerChanged,
    Transcript,
    NoTranscript,
    ModeChanged,
    ScriptStarted,
    ScriptEnded,
    VoiceFellBack,
    AnswerLatency,
    ConversationFailed,
    AttendantFailed,
    MemoryInjected,
    MemoryStored,
    PersonalityAdapted,
)
"""All event classes, for documentation and codecs."""
