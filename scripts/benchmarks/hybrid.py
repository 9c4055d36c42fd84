"""What benchmark_hybrid measures: one question, one interruption, one stretch of frames."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass
from typing import Any

from coda_voice.events import (
    AnswerLatency,
    ReasoningEnded,
    ScriptEnded,
    SpeechEnded,
    ToolStarted,
    TurnLatency,
)
from coda_voice.hybrid.attendant import HybridAttendant
from coda_voice.moshi.frames import FRAME_SECONDS, Pcm
from coda_voice.scripted_voice import ScriptedVoice, Spoken
from coda_voice.turns import level_dbfs
from tests.integration.hybrid_talk import HybridTalk
from tests.integration.llm_server import calls, done, frame, text

READ = 1_500
"""Prompt tokens the stand-in says it read; fewer would look as if it had cut the prompt."""
ANSWER = "It is the seventh day of a long and rainy week in the north."
LONG_ANSWER = (
    "One two three four five six seven eight nine ten. Then we go on with more of them. "
    "There are many numbers, and all of them can be counted, one after the other."
)
SILENT_DBFS = -45.0
SILENT_FRAMES = 3
ALLOWED_SECONDS = 0.4


def answer_after(delay: float, words: str = ANSWER) -> Callable[[dict[str, Any]], list[Any]]:
    """Let the stand-in write ``words`` after ``delay`` seconds, for every request."""

    def answer(_: dict[str, Any]) -> list[Any]:
        return [delay, *text(*words.split(" ", 3), prompt_eval_count=READ)]

    return answer


def tool_then(words: str, delay: float) -> Callable[[dict[str, Any]], list[Any]]:
    """Let the stand-in call a tool first, then write ``words`` slowly."""

    def answer(request: dict[str, Any]) -> list[Any]:
        if request["messages"][-1]["role"] == "tool":
            pieces = [f"{word} " for word in words.split()]
            slow: list[Any] = []
            for piece in pieces:
                slow += [frame(content=piece), delay / 20]
            return [*slow, done(prompt_eval_count=READ)]
        call = frame(tool_calls=calls(("calculate", {"expression": "3+4"})))
        return [delay / 2, call, done(prompt_eval_count=READ)]

    return answer


def real_time() -> Callable[[], Awaitable[None]]:
    """Make a pace of 80 ms a frame."""
    due = time.perf_counter()

    async def pace() -> None:
        nonlocal due
        due = max(due + FRAME_SECONDS, time.perf_counter() - FRAME_SECONDS)
        await asyncio.sleep(max(0.0, due - time.perf_counter()))

    return pace


@dataclass(frozen=True)
class Asked:
    """One question: seconds on the frame clock from the end of the user's speech."""

    answer: float | None
    """To the first word of the LLM's answer; None if none was said."""
    filler: float | None
    moshi: float | None
    """To the agent's first sound, whoever made it."""
    said: str
    outcome: str

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


async def ask(talk: HybridTalk, pcm: Pcm, words: str, listen: float) -> Asked:
    """Ask one question and listen for ``listen`` seconds after it."""
    talk.events.clear()
    await talk.say(pcm, words)
    await talk.silence(round(listen / FRAME_SECONDS))
    latencies = talk.of(AnswerLatency)
    ended = [e for e in talk.of(ScriptEnded) if e.heard or e.outcome == "stale"]
    reasoned = [e.outcome for e in talk.of(ReasoningEnded) if e.outcome != "interrupted"]
    return Asked(
        answer=next((e.seconds for e in latencies if e.kind == "answer"), None),
        filler=next((e.seconds for e in latencies if e.kind == "filler"), None),
        moshi=next((e.seconds for e in talk.of(TurnLatency)), None),
        said=" | ".join(e.heard for e in ended if e.heard),
        outcome=", ".join([*reasoned, *(e.outcome for e in ended)]),
    )


@dataclass(frozen=True)
class Interrupted:
    """One interruption; ``during`` says what it fell into."""

    during: str
    spoke: bool
    """Whether the agent could be heard when it came."""
    silent_after: float | None
    late_words: int
    """Words of the old script that came when it should have been silent."""
    stale_tools: int
    history_true: bool

    @property
    def good(self) -> bool:
        """Whether everything was as it must be."""
        in_time = self.silent_after is not None and self.silent_after <= ALLOWED_SECONDS + 1e-6
        return (
            (in_time or not self.spoke)
            and not self.late_words
            and not self.stale_tools
            and self.history_true
        )

    def as_json(self) -> dict[str, Any]:
        return {**asdict(self), "good": self.good}


async def interrupt(
    talk: HybridTalk, question: Pcm, words: str, stop: Pcm, onset: float, chance: random.Random
) -> Interrupted:
    """Ask, and speak over the answer at a random moment; ``onset``: where ``stop`` has sound."""
    talk.events.clear()
    await talk.say(question, words)
    await talk.silence(chance.randint(0, 45))
    attendants = list(talk.conversation.attendants)
    voice = next(a for a in attendants if isinstance(a, ScriptedVoice))
    hybrid = next(a for a in attendants if isinstance(a, HybridAttendant))
    spoken = next(iter(voice.current()), None)
    during = _during(talk, spoken, hybrid)
    generation = talk.conversation.generation
    began = len(talk.heard)
    first = began + int(onset / FRAME_SECONDS)
    await talk.say(stop, "stop talking")
    await talk.silence(6)
    after = talk.heard[first:]
    loud = [level_dbfs(heard.frame.pcm) > SILENT_DBFS for heard in after]
    spoke = any(
        level_dbfs(h.frame.pcm) > SILENT_DBFS for h in talk.heard[max(0, first - 2) : first]
    )
    quiet = next((i for i in range(len(loud)) if not any(loud[i : i + SILENT_FRAMES])), None)
    silent_after = None if quiet is None else first * FRAME_SECONDS + quiet * FRAME_SECONDS
    limit = began * FRAME_SECONDS + onset + ALLOWED_SECONDS
    late = 0
    true = True
    if spoken is not None:
        told = [e for e in talk.of(ScriptEnded) if e.generation == spoken.generation]
        muted = {h.frame.frame for h in talk.heard if h.frame.muted}
        late = sum(
            w.step * FRAME_SECONDS > limit and w.step not in muted for w in spoken.script.said
        )
        heard = " ".join(spoken.heard).split()
        true = not told or told[-1].heard.split() == heard
        true = true and not any(w.step in muted for w in spoken.script.said[: len(heard)])
    stale = sum(
        event.generation <= generation and event.time > limit for event in talk.of(ToolStarted)
    )
    return Interrupted(
        during=during,
        spoke=spoke,
        silent_after=None
        if silent_after is None
        else max(0.0, silent_after - began * FRAME_SECONDS - onset),
        late_words=late,
        stale_tools=stale,
        history_true=true,
    )


def _during(talk: HybridTalk, spoken: Spoken | None, hybrid: HybridAttendant) -> str:
    if spoken is not None:
        return "script" if spoken.script.said else "lead"
    if talk.of(ToolStarted) and hybrid.thinking:
        return "tool or stream"
    if hybrid.thinking:
        return "stream"
    return "after" if talk.of(SpeechEnded) else "before"


def model_milliseconds(talk: HybridTalk, since: int) -> list[float]:
    """What the frames from number ``since`` on took in the engine."""
    return [
        1e3 * (t.encode + t.model + t.decode + t.transcribe)
        for t in (heard.frame.times for heard in talk.heard[since:])
    ]
