"""One interruption at a random moment, and everything that must be true of it afterwards.

What must be true is read off the sound: when it fell silent, that no word of the old script
came afterwards, and how many of its words can be heard. For the last an independent recogniser
says which beginning of the script fits what it hears best; how well it counts is measured on
an answer that nobody interrupted, cut after as many words.
"""

from __future__ import annotations

import random
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from coda_voice.audio.features import level_dbfs
from coda_voice.events import ScriptEnded, SpeechEnded, ToolEnded, ToolStarted
from coda_voice.hybrid.attendant import HybridAttendant
from coda_voice.moshi.frames import FRAME_SECONDS, Pcm
from coda_voice.moshi.script import SOUNDING_FRAMES, SaidWord
from coda_voice.scripted_voice import Spoken
from scripts.benchmarks.hybrid import LONG_ANSWER, SOUND_DBFS, Scripts
from scripts.train_tiny.judge import Judge, write_language_model
from tests.integration.hybrid_talk import HybridTalk

ALLOWED_SECONDS = 0.4
AFTERWARDS = 15
"""Frames listened to after the user has spoken: the voice is let on again within them."""
COUNTED_MOMENTS = ("lead", "script", "tool", "stream")
"""What an interruption must fall into to count: before and after, there is nothing to end."""


def plain(words: str) -> list[str]:
    """Give words as a recogniser writes them."""
    return [word for word in (w.strip(".,!?").lower() for w in words.split()) if word]


class Ear:
    """Counts the words of a script that can be heard: of which beginning the sound tells."""

    def __init__(self, script: str = LONG_ANSWER) -> None:
        self.words = plain(script)
        texts = [" ".join(self.words[:count]) for count in range(1, len(self.words) + 1)]
        with tempfile.TemporaryDirectory() as folder:
            model = Path(folder) / "script.arpa"
            write_language_model(model, texts)
            self._judge = Judge(model)

    def count(self, pcm: Pcm) -> int:
        """Give how many words of the script fit what is heard in ``pcm`` best."""
        heard = self._judge.recognise(pcm).split() if len(pcm) else []
        errors = _errors(heard, self.words)
        return min(range(len(errors)), key=lambda count: (errors[count], abs(count - len(heard))))


def _errors(heard: list[str], words: list[str]) -> list[int]:
    """Give the word errors (Levenshtein) of ``heard`` against each beginning of ``words``."""
    row = list(range(len(words) + 1))
    for word in heard:
        above, row = row, [row[0] + 1]
        for count, other in enumerate(words, 1):
            row.append(min(above[count] + 1, row[-1] + 1, above[count - 1] + (word != other)))
    return row


@dataclass(frozen=True)
class Interrupted:
    """One interruption; ``during`` says what it fell into."""

    during: str
    spoke: bool
    """Whether the agent could be heard when it came."""
    silent_after: float | None
    """Seconds from the user's onset until nothing is heard any more while the user speaks."""
    late_words: int
    """Words of old scripts that came when it should have been silent."""
    went_on: bool
    """Whether the monologue itself went on with the script's next word later."""
    stale_tools: int
    history_wrong: str
    """In what the history differs from the words that sounded; empty where it is true."""
    history_words: int
    ear_words: int | None
    """Words of the script that the recogniser hears; None where none was said, or none listens."""

    @property
    def silent(self) -> bool:
        """Whether it was silent in time."""
        return self.silent_after is not None and self.silent_after <= ALLOWED_SECONDS + 1e-6

    @property
    def history_true(self) -> bool:
        """Whether the history holds the words that sounded, each with sound, and no other."""
        return not self.history_wrong

    def as_json(self) -> dict[str, Any]:
        return {**asdict(self), "silent": self.silent, "history_true": self.history_true}


async def interrupt(
    talk: HybridTalk,
    question: tuple[Pcm, str],
    stop: Pcm,
    facts: dict[str, float],
    chance: random.Random,
    ear: Ear | None = None,
) -> Interrupted:
    """Ask, and speak over the answer at a random moment.

    ``question``: its sound and its words; ``facts``: ``onset`` and ``offset`` of ``stop``.
    """
    talk.events.clear()
    pace = talk.pace
    scripts = Scripts(talk)
    await talk.say(*question)
    await talk.silence(chance.randint(0, 45))
    hybrid = next(a for a in talk.conversation.attendants if isinstance(a, HybridAttendant))
    during = _during(talk, next(iter(scripts.voice.current()), None), hybrid)
    generation = talk.conversation.generation
    began = len(talk.heard)
    onset, offset = (began * FRAME_SECONDS + facts[edge] for edge in ("onset", "offset"))
    limit = onset + ALLOWED_SECONDS
    await talk.say(stop, "stop talking")
    await talk.silence(AFTERWARDS)
    talk.pace = pace
    first, last = int(onset / FRAME_SECONDS), int(offset / FRAME_SECONDS)
    muted = {h.frame.frame for h in talk.heard if h.frame.muted}
    old = [s for s in scripts.seen if s.generation <= generation and s.script.said]
    said = [word for spoken in old for word in spoken.script.said]
    heard = [word for spoken in old for word in spoken.heard]
    script = [word for spoken in old for word in spoken.text.split()]
    return Interrupted(
        during=during,
        spoke=any(_loud(talk, n) for n in range(max(0, first - 2), first)),
        silent_after=_silent_after(talk, first, last, onset),
        late_words=sum(w.step * FRAME_SECONDS > limit and w.step not in muted for w in said),
        went_on=_went_on(talk, script, heard, limit),
        stale_tools=sum(
            e.generation <= generation and e.time > limit for e in talk.of(ToolStarted)
        ),
        history_wrong=_history_wrong(talk, hybrid, said, heard, muted, generation),
        history_words=len(heard),
        ear_words=_by_ear(talk, ear, said, muted) if said and ear is not None else None,
    )


def _loud(talk: HybridTalk, number: int) -> bool:
    return level_dbfs(talk.heard[number].frame.pcm) > SOUND_DBFS


def _silent_after(talk: HybridTalk, first: int, last: int, onset: float) -> float | None:
    """Give when the sound was over for as long as the user spoke; None if it was not."""
    sounding = [number for number in range(first, last + 1) if _loud(talk, number)]
    if sounding and sounding[-1] == last:
        return None
    return max(0.0, (sounding[-1] + 1) * FRAME_SECONDS - onset) if sounding else 0.0


def _went_on(talk: HybridTalk, script: list[str], heard: list[str], limit: float) -> bool:
    left = plain(" ".join(script))[len(heard) :]
    later = [w.text for h in talk.heard for w in h.frame.words if w.start > limit]
    spoken = plain(" ".join(later))
    return bool(left and spoken) and spoken[0] == left[0]


def _history_wrong(
    talk: HybridTalk,
    hybrid: HybridAttendant,
    said: list[SaidWord],
    heard: list[str],
    muted: set[int],
    generation: int,
) -> str:
    """Compare the LLM's history, word by word, with the frames in which each word sounded."""
    told = [e.heard for e in talk.of(ScriptEnded) if e.generation <= generation and e.heard]
    known = [m.content for m in hybrid.history.before(10**9) if m.role == "assistant"]
    if " ".join(told).split() != heard:
        return f"told were {told}, heard {heard}"
    if missing := [text for text in told if text not in known]:
        return f"{missing} not in the history, which ends with {known[-2:]}"
    for number, word in enumerate(said):
        upto = said[number + 1].step if number + 1 < len(said) else word.step + SOUNDING_FRAMES
        audible = sum(n not in muted for n in range(word.step, upto))
        if number < len(heard):
            around = range(word.step, min(word.step + 2 * SOUNDING_FRAMES, len(talk.heard)))
            if not audible or not any(_loud(talk, n) for n in around):
                return f"{word} is in it and had {audible} audible frames, none of them loud"
        elif audible > SOUNDING_FRAMES:
            return f"{word} is not in it and could be heard for {audible} frames"
    return ""


def _by_ear(talk: HybridTalk, ear: Ear, said: list[SaidWord], muted: set[int]) -> int:
    """Count the words from the first one's lead to where the sound was cut, or it had faded."""
    first, last = said[0].step - 1, said[-1].step + 3 * SOUNDING_FRAMES
    cut = next((n for n in range(first, last) if n in muted), last)
    return ear.count(_sound(talk, first, cut)) if cut > first else 0


def _sound(talk: HybridTalk, first: int, last: int) -> Pcm:
    return np.concatenate([heard.frame.pcm for heard in talk.heard[first:last]])


@dataclass(frozen=True)
class Whole:
    """An answer that was spoken to its end: the measure of how well the recogniser counts."""

    talk: HybridTalk
    said: list[SaidWord]
    ear: Ear

    def error(self, count: int) -> int:
        """Give how many words it is off where ``count`` words are to be heard."""
        following = self.said[count:] or [SaidWord("", self.said[-1].step + SOUNDING_FRAMES)]
        cut = following[0].step + SOUNDING_FRAMES - 1
        return abs(self.ear.count(_sound(self.talk, self.said[0].step - 1, cut)) - count)


async def whole_answer(talk: HybridTalk, question: tuple[Pcm, str], ear: Ear) -> Whole:
    """Ask, and hear the answer to its end."""
    pace = talk.pace
    scripts = Scripts(talk)
    await talk.say(*question)
    await talk.until(lambda: any(len(s.script.said) == len(ear.words) for s in scripts.seen), 900)
    await talk.silence(AFTERWARDS)
    talk.pace = pace
    said = next(s.script.said for s in scripts.seen if len(s.script.said) == len(ear.words))
    return Whole(talk, list(said), ear)


def _during(talk: HybridTalk, spoken: Spoken | None, hybrid: HybridAttendant) -> str:
    if spoken is not None:
        return "script" if spoken.script.said else "lead"
    if not hybrid.thinking:
        return "after" if talk.of(SpeechEnded) else "before"
    if len(talk.of(ToolStarted)) > len(talk.of(ToolEnded)):
        return "tool"
    return "stream"
