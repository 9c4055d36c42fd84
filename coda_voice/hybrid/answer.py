"""What goes into the reasoner and comes out of it: a turn, its limits, its sentences."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from coda_voice.hybrid.llm import Message
from coda_voice.hybrid.reasoning_prompt import SPEAKING_STYLE

Kind = Literal["answer", "filler", "question", "apology"]
"""Filler: said while waiting; question: asks leave for a dangerous tool."""

MAX_SENTENCES = 256
MAX_CALLS = 8
"""Twice what runs beside each other: more than a question to a voice wants."""


@dataclass(frozen=True)
class ReasonerSettings:
    """Limits of a turn; times in seconds."""

    first_timeout: float = 12.0
    """Until the first chunk of an answer."""
    stall_timeout: float = 6.0
    """Between two chunks."""
    turn_timeout: float = 60.0
    max_rounds: int = 4
    """Rounds of tool calls before the LLM must answer without."""
    max_calls: int = MAX_CALLS
    """Tool calls in one message of the LLM that are run; the others are given back to it."""
    max_words: int = 150
    """Words of an answer that are spoken."""
    filler_after: float = 2.0
    waiting_phrases: tuple[str, ...] = ("Let me think about that.", "One moment.")
    """Said by turns when nothing else is ready after ``filler_after``; may be empty."""
    style: str = SPEAKING_STYLE


@dataclass(frozen=True)
class Turn:
    """What the user said, and what is known: ``history`` holds only what was heard.

    ``context``: what is known of the user and the talk, or what gives it for the turn's text.
    ``time`` is seconds on the frame clock, for the events. ``confirmed``: the user has said
    all of it; what is thought on half a turn calls no tool with side effects before
    ``Answer.confirm``. ``moshi_heard``: Moshi heard it too, and may answer by itself what
    the offline brain cannot. ``deep``: it wants the larger model, where there are two.
    ``stand_in``: the fallback answers, and no LLM is asked.
    ``aloud``: the sentences are spoken, which takes its time and may be cut off, so that who
    speaks tells by ``Answer.heard`` and ``Answer.question_heard`` what was heard; else what is
    taken from the answer has been read.
    """

    generation: int
    text: str
    history: Sequence[Message] = ()
    context: str | Callable[[str], Awaitable[str]] = ""
    time: float = 0.0
    confirmed: bool = True
    moshi_heard: bool = False
    deep: bool = False
    stand_in: bool = False
    aloud: bool = False


@dataclass(frozen=True)
class Sentence:
    """One sentence to be spoken."""

    text: str
    generation: int
    kind: Kind = "answer"
    offline: bool = False


class Answer:
    """The sentences of one turn, as they become ready; iterate once."""

    def __init__(self, generation: int, confirmed: bool = True, aloud: bool = False) -> None:
        self.generation = generation
        self._aloud = aloud
        self.confirmed = asyncio.Event()
        """Set when the user has said all of the turn."""
        if confirmed:
            self.confirmed.set()
        self.acted = False
        """Whether a tool with side effects has been called, or one that leave was given for."""
        self.spoken = 0
        """Sentences so far that are no filler."""
        self.heard = False
        """Whether the user has heard, or read, anything of it but fillers."""
        self.question_heard_at: float | None = None
        """When the user had heard all of a question for leave, by the event loop's clock."""
        self._sentences: deque[Sentence] = deque(maxlen=MAX_SENTENCES)
        self._changed = asyncio.Event()
        self._ended = False

    def confirm(self) -> None:
        """Say that the turn was all the user said: tools may act."""
        self.confirmed.set()

    def question_heard(self) -> None:
        """Say that the user has heard the question for leave, all of it: he may reply."""
        self.question_heard_at = asyncio.get_running_loop().time()

    def _read(self, sentence: Sentence) -> None:
        self.heard = self.heard or sentence.kind != "filler"
        if sentence.kind == "question":
            self.question_heard()

    def add(self, sentence: Sentence) -> None:
        """Append a sentence; none is taken once the answer has ended."""
        if self._ended:
            return
        self.spoken += sentence.kind != "filler"
        self._sentences.append(sentence)
        self._changed.set()

    def end(self) -> None:
        """Say that no more will come."""
        self._ended = True
        self._changed.set()

    def drop(self) -> None:
        """Forget what has not been taken yet, and end."""
        self._sentences.clear()
        self.end()

    async def __aiter__(self) -> AsyncIterator[Sentence]:
        while True:
            self._changed.clear()
            while self._sentences:
                sentence = self._sentences.popleft()
                if not self._aloud:
                    self._read(sentence)
                yield sentence
            if self._ended:
                return
            await self._changed.wait()
