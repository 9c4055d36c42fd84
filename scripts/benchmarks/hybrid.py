"""What benchmark_hybrid measures: questions, and what frames cost while they are thought about.

The user's speech ends where the recording's does, not where the voice detector found its end:
its estimate would flatter.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from coda_tools import tool

from coda_voice.audio.features import level_dbfs
from coda_voice.events import ReasoningEnded, ScriptEnded
from coda_voice.moshi.frames import FRAME_SECONDS, Pcm
from coda_voice.scripted_voice import ScriptedVoice, Spoken
from coda_voice.turns import AGENT_ONSET_FRAMES
from tests.integration.hybrid_talk import HybridTalk
from tests.integration.llm_server import calls, done, frame, text

READ = 1_500
"""Prompt tokens the stand-in says it read; fewer would look as if it had cut the prompt."""
ANSWER = "It is the seventh day of a long and rainy week in the north."
LONG_ANSWER = (
    "One two three four five six seven eight nine ten. Then we go on with more of them. "
    "There are many numbers, and all of them can be counted, one after the other."
)
TOOL_SECONDS = 0.6
SOUND_DBFS = -45.0
_SOUND_WITHIN = 6
"""Frames after a word's token in which its sound must begin to be its sound."""


def answer_after(delay: float, words: str = ANSWER) -> Callable[[dict[str, Any]], list[Any]]:
    """Let the stand-in write ``words`` after ``delay`` seconds, for every request."""

    def answer(_: dict[str, Any]) -> list[Any]:
        pieces = [f"{word} " for word in words.split()]
        return [delay, *text(*pieces, prompt_eval_count=READ)]

    return answer


@tool
async def look_up(what: str) -> str:
    """Look something up, which takes its time.

    Args:
        what: What to look up.

    """
    await asyncio.sleep(TOOL_SECONDS)
    return f"There is nothing new about {what}."


def tool_then(words: str, delay: float) -> Callable[[dict[str, Any]], list[Any]]:
    """Let the stand-in call ``look_up`` first, then write ``words`` slowly."""

    def answer(request: dict[str, Any]) -> list[Any]:
        if request["messages"][-1]["role"] == "tool":
            pieces = [f"{word} " for word in words.split()]
            slow: list[Any] = []
            for piece in pieces:
                slow += [frame(content=piece), delay / 20]
            return [*slow, done(prompt_eval_count=READ)]
        call = frame(tool_calls=calls(("look_up", {"what": "numbers"})))
        return [delay / 2, call, done(prompt_eval_count=READ)]

    return answer


class RealTime:
    """A pace of 80 ms a frame; ``late`` counts frames for which the machine took longer."""

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        self.frames = self.late = 0
        self._clock = clock
        self._due = clock()

    async def __call__(self) -> None:
        """Wait until the next frame is due."""
        now = self._clock()
        self._due += FRAME_SECONDS
        self.frames += 1
        if now > self._due + FRAME_SECONDS:  # one frame behind can be made good
            self.late += 1
            self._due = now
        await asyncio.sleep(max(0.0, self._due - now))


class Scripts:
    """Every script of a talk, also those that are over; looks once a frame, as its pace."""

    def __init__(self, talk: HybridTalk) -> None:
        self.voice = next(a for a in talk.conversation.attendants if isinstance(a, ScriptedVoice))
        self.seen: list[Spoken] = []
        self._pace = talk.pace
        talk.pace = self._look

    async def _look(self) -> None:
        self.seen += [spoken for spoken in self.voice.current() if spoken not in self.seen]
        if self._pace is not None:
            await self._pace()


@dataclass(frozen=True)
class Asked:
    """One question: seconds on the frame clock from the end of the user's speech."""

    answer: float | None
    """To the first word of the LLM's answer in the monologue; None if none was said."""
    answer_sound: float | None
    """To that word's sound; None where the agent was sounding already, or never did."""
    filler: float | None
    moshi: float | None
    """To the agent's first sound, where that was Moshi's own."""
    said: str
    outcome: str

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


async def ask(talk: HybridTalk, pcm: Pcm, words: str, listen: float, offset: float) -> Asked:
    """Ask one question, whose sound ends at ``offset``, and listen for ``listen`` seconds."""
    talk.events.clear()
    scripts = Scripts(talk)
    first = len(talk.heard)
    end = await talk.say(pcm, words) + offset
    await talk.silence(round(listen / FRAME_SECONDS))
    loud = {
        heard.frame.frame: level_dbfs(heard.frame.pcm) > SOUND_DBFS for heard in talk.heard[first:]
    }
    answer = filler = sound = None
    began: int | None = None
    """The step in which the first script began."""
    for spoken in scripts.seen:
        steps = [word.step for word in spoken.script.said]
        if not steps:
            continue
        began = min(began or steps[0], steps[0])
        at = spoken.answer_from
        if at != 0 and filler is None:
            filler = steps[0] * FRAME_SECONDS - end
        if at is not None and len(steps) > at and answer is None:
            answer = steps[at] * FRAME_SECONDS - end
            sound = _sound_after(loud, steps[at], end)
    ended = [e for e in talk.of(ScriptEnded) if e.heard or e.outcome == "stale"]
    reasoned = [e.outcome for e in talk.of(ReasoningEnded) if e.outcome != "interrupted"]
    return Asked(
        answer=answer,
        answer_sound=sound,
        filler=filler,
        moshi=_own_sound(loud, end, began),
        said=" | ".join(e.heard for e in ended if e.heard),
        outcome=", ".join([*reasoned, *(e.outcome for e in ended)]),
    )


def _sound_after(loud: dict[int, bool], step: int, end: float) -> float | None:
    if loud.get(step - 1, False):
        return None
    found = next((n for n in range(step, step + _SOUND_WITHIN) if loud.get(n, False)), None)
    return None if found is None else found * FRAME_SECONDS - end


def _own_sound(loud: dict[int, bool], end: float, began: int | None) -> float | None:
    """Give when Moshi was first heard by itself after the user; None if it was not."""
    number = int(end / FRAME_SECONDS) + 1
    while number in loud and (began is None or number < began):
        if all(loud.get(number + more, False) for more in range(AGENT_ONSET_FRAMES)):
            return number * FRAME_SECONDS - end
        number += 1
    return None


def engine_milliseconds(talk: HybridTalk, since: int) -> tuple[list[float], list[float]]:
    """Give what each frame from ``since`` on took in the models, and from arrival to the end."""
    times = [heard.frame.times for heard in talk.heard[since:]]
    models = [1e3 * (t.encode + t.model + t.decode + t.transcribe) for t in times]
    return models, [1e3 * t.total for t in times]
