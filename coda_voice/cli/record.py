"""What happened in a conversation, gathered while it runs: for the screen, picture and JSON.

A ``Record`` listens to the conversation's events and reads its turns; it adds nothing of
its own. Times are seconds on the frame clock.
"""

from __future__ import annotations

import statistics
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from pydantic import JsonValue

from coda_voice.audio.vad import VoiceActivityDetector
from coda_voice.cli.script import Said
from coda_voice.cli.thoughts import answered, count, end_of_turn, turns_by_llm, who_was_asked
from coda_voice.events import (
    AnswerLatency,
    BargeIn,
    Event,
    FramesDropped,
    ReasoningEnded,
    RouteDecided,
    ScriptEnded,
    SessionRenewed,
    ToolEnded,
    ToolStarted,
    Transcript,
    TurnLatency,
    WordSpoken,
)
from coda_voice.moshi.frames import FRAME_SAMPLES, FRAME_SECONDS, Pcm
from coda_voice.turns import Turn, TurnTracker

REMEMBERED = 100_000
"""Words and events of one conversation; hours of it."""


@dataclass(frozen=True, slots=True)
class Line:
    """A line of the transcript; ``end`` is None while it lasts.

    ``speaker`` is ``user`` or ``agent`` for a stretch of speech, ``typed`` for what was typed;
    ``heard`` says what the transcriber understood, ``llm`` what was thought and done.
    """

    speaker: Literal["user", "agent", "typed", "heard", "llm"]
    start: float
    end: float | None
    text: str
    note: str = ""


class Record:
    """One conversation's words, turns and latencies; with ``keep_audio`` its sound, too.

    ``script``: what a scripted user says, if the user's words are known at all.
    """

    def __init__(
        self,
        conversation_id: str,
        tracker: TurnTracker,
        script: Sequence[Said] | None = None,
        *,
        keep_audio: bool = True,
    ) -> None:
        self.words: deque[WordSpoken] = deque(maxlen=REMEMBERED)
        self.latencies: deque[TurnLatency] = deque(maxlen=REMEMBERED)
        self.barge_ins: deque[BargeIn] = deque(maxlen=REMEMBERED)
        self.renewals: deque[SessionRenewed] = deque(maxlen=REMEMBERED)
        self.events: deque[Event] = deque(maxlen=REMEMBERED)
        self.answers_timed: deque[AnswerLatency] = deque(maxlen=REMEMBERED)
        self.tools = 0
        """Calls of tools that did what they were asked."""
        self.frames = 0
        self.frames_dropped = 0
        self._thoughts: deque[Line] = deque(maxlen=REMEMBERED)
        self._id = conversation_id
        self._tracker = tracker
        self._script = script
        self._keep_audio = keep_audio
        self._user: list[Pcm] = []
        self._agent: list[Pcm] = []

    def event(self, event: Event) -> None:
        """Take in an event, if it is of this conversation."""
        if event.conversation_id != self._id:
            return
        self.events.append(event)
        match event:
            case WordSpoken(speaker="agent"):
                self.words.append(event)
            case AnswerLatency():
                self.answers_timed.append(event)
            case ToolEnded(outcome="done"):
                self.tools += 1
                self._think(event)
            case TurnLatency():
                self.latencies.append(event)
            case BargeIn():
                self.barge_ins.append(event)
            case SessionRenewed():
                self.renewals.append(event)
            case FramesDropped():
                self.frames_dropped += event.count
            case _:
                self._think(event)

    def _think(self, event: Event) -> None:
        """Keep a line for what was understood, decided, done and forced."""
        speaker: Literal["typed", "heard", "llm"] = "llm"
        match event:
            case Transcript(final=True, typed=typed, text=text) if text:
                speaker, shown = ("typed" if typed else "heard"), text
            case RouteDecided(partial=False):
                shown = f"{event.target}: {event.kind} ({', '.join(event.reasons)})"
            case ToolStarted():
                shown = f"calls {event.tool} {event.arguments}"
            case ToolEnded():
                shown = f"{event.tool}: {event.outcome}, {event.milliseconds:.0f} ms"
            case ReasoningEnded() if event.outcome != "interrupted":
                asked = who_was_asked(self.events).get(event.generation, answered(event))
                shown = end_of_turn(event, asked)
            case ScriptEnded() if event.heard or event.outcome != "cancelled":
                shown = f'has it say "{event.heard}" ({event.outcome})'
            case _:
                return
        # In the order in which they happened, also where the frame clock stood still meanwhile.
        start = event.time
        if self._thoughts:
            start = max(start, self._thoughts[-1].start + 1e-3)
        self._thoughts.append(Line(speaker, start, start, shown))

    def frame(self, user: Pcm, agent: Pcm) -> None:
        """Take in 80 ms of both sides."""
        self.frames += 1
        if self._keep_audio:
            self._user.append(user)
            self._agent.append(agent)

    @property
    def seconds(self) -> float:
        """How long the conversation has been."""
        return self.frames * FRAME_SECONDS

    @property
    def user(self) -> Pcm:
        """The user's sound, 24 kHz."""
        return np.concatenate(self._user) if self._user else np.zeros(0, dtype=np.float32)

    @property
    def agent(self) -> Pcm:
        """The agent's sound, 24 kHz."""
        return np.concatenate(self._agent) if self._agent else np.zeros(0, dtype=np.float32)

    @property
    def median_latency(self) -> float | None:
        """Seconds from the user's end of speech to the agent's first sound; None if never."""
        seconds = [event.seconds for event in self.latencies]
        return statistics.median(seconds) if seconds else None

    def answers(self) -> str:
        """Say how fast the agent answered."""
        seconds = sorted(event.seconds for event in self.latencies)
        if not seconds:
            return "none that could be timed"
        if len(seconds) == 1:
            return f"once, {seconds[0]:.2f} s after the user"
        return (
            f"{len(seconds)} times, {statistics.median(seconds):.2f} s after the user (median), "
            f"from {seconds[0]:.2f} to {seconds[-1]:.2f} s"
        )

    def thinking(self) -> str:
        """Say how much was thought, and how fast it was heard."""
        turns = turns_by_llm(self.events)
        if not turns:
            return "nothing: Moshi was alone"
        seconds = [event.seconds for event in self.answers_timed if event.kind == "answer"]
        timed = f", first word after {statistics.median(seconds):.2f} s (median)" if seconds else ""
        used = f"{count(self.tools, 'tool')} {'was' if self.tools == 1 else 'were'} used"
        return f"{turns}; {used}{timed}"

    @property
    def agent_turns(self) -> int:
        """Count the agent's stretches of speech."""
        return sum(turn.speaker == "agent" for turn in self._tracker.turns)

    def lines(self) -> list[Line]:
        """Give who said what, in the order in which they began."""
        lines = [self._agent_line(turn.start, turn.end, turn.text) for turn in self._agent_turns()]
        if self._script is not None:
            lines += [self._scripted_line(said) for said in self._script]
        else:
            lines += [
                Line("user", turn.start, turn.end, "", self._interruption(turn.start))
                for turn in self._tracker.turns
                if turn.speaker == "user"
            ]
        return sorted([*lines, *self._thoughts], key=lambda line: (line.start, line.speaker))

    def _agent_turns(self) -> list[Turn]:
        return [turn for turn in self._tracker.turns if turn.speaker == "agent"]

    def _agent_line(self, start: float, end: float | None, text: str) -> Line:
        seconds = next((e.seconds for e in self.latencies if e.time == start), None)
        note = "" if seconds is None else f"{seconds:.2f} s after the user"
        return Line("agent", start, end, text, note)

    def _scripted_line(self, said: Said) -> Line:
        note = self._interruption(said.start) if said.interrupting else ""
        end = said.end if said.end <= self.seconds else None
        return Line("user", said.start, end, said.text, note)

    def _interruption(self, start: float) -> str:
        """Say what became of an interruption that began about then."""
        found = next((b for b in self.barge_ins if abs(b.time - start) < 0.5), None)
        if found is None:
            return ""
        if found.silent_after is None:
            return "interrupts; the agent goes on"
        return f"interrupts; agent silent after {found.silent_after:.2f} s"

    def agent_speech_seconds(self) -> float:
        """Measure how long a voice can be heard in the agent's sound (Silero VAD)."""
        detector = VoiceActivityDetector()
        pcm = self.agent
        frames = (pcm[at : at + FRAME_SAMPLES] for at in range(0, len(pcm), FRAME_SAMPLES))
        return sum(detector.process(frame).is_speech for frame in frames) * FRAME_SECONDS

    def as_json(self) -> dict[str, JsonValue]:
        """Give everything but the sound."""
        silent_after: list[JsonValue] = [b.silent_after for b in self.barge_ins]
        turn_seconds: list[JsonValue] = [event.seconds for event in self.latencies]
        return {
            "seconds": round(self.seconds, 3),
            "frames": self.frames,
            "frames_dropped": self.frames_dropped,
            "user_words": "script" if self._script is not None else "unknown: no transcriber yet",
            "lines": [
                {
                    "speaker": line.speaker,
                    "start": round(line.start, 3),
                    "end": None if line.end is None else round(line.end, 3),
                    "text": line.text,
                }
                for line in self.lines()
            ],
            "words": [
                {"text": w.text, "start": round(w.start, 3), "end": round(w.end, 3)}
                for w in self.words
            ],
            "latencies": {
                "turn_seconds": turn_seconds,
                "turn_median_seconds": self.median_latency,
                "barge_in_silent_after_seconds": silent_after,
            },
            "events": [e.model_dump(mode="json", exclude={"id", "wall"}) for e in self.events],
        }
