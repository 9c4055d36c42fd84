"""The state of one turn's thinking, and the events that tell of it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

from coda_voice.errors import LlmError
from coda_voice.events import Event, ReasoningEnded, ReasoningStarted, SentenceReady
from coda_voice.hybrid.answer import Answer, Kind, Sentence, Turn
from coda_voice.hybrid.llm import LlmClient, Message
from coda_voice.protocols import ToolOutcome

Outcome = Literal["answered", "failed", "interrupted", "asked"]


@dataclass
class Thinking:
    """The state of one turn's thinking."""

    turn: Turn
    answer: Answer
    started: float
    client: LlmClient
    rounds: int = 0
    words: int = 0
    bad_rounds: int = 0
    tools_ran: bool = False
    first_text: float | None = None
    detail: str | None = None
    messages: list[Message] = field(default_factory=list)
    kept: list[ToolOutcome] = field(default_factory=list)
    """Late results of earlier turns that this one's prompt tells of."""
    told: set[str] = field(default_factory=set)
    """What tools have had said while they ran."""


async def context_of(state: Thinking) -> str:
    """Ask what is known of the user and the talk; the offline brain does not."""
    context = state.turn.context
    if isinstance(context, str):
        return context
    return "" if state.client.offline else await context(state.turn.text)


class ThinkingEvents:
    """Publishes what is thought in one conversation."""

    def __init__(self, publish: Callable[[Event], None], conversation_id: str) -> None:
        self._publish = publish
        self._conversation_id = conversation_id

    def start(self, state: Thinking) -> None:
        """Tell that the LLM has been asked."""
        self._publish(
            ReasoningStarted(
                conversation_id=self._conversation_id,
                time=state.turn.time,
                generation=state.turn.generation,
                llm=state.client.name,
                offline=state.client.offline,
            )
        )

    def say(self, state: Thinking, text: str, kind: Kind) -> None:
        """Add a sentence to the answer."""
        turn, offline = state.turn, state.client.offline
        state.answer.add(Sentence(text, turn.generation, kind, offline))
        self._publish(
            SentenceReady(
                conversation_id=self._conversation_id,
                time=turn.time,
                generation=turn.generation,
                text=text,
                kind=kind,
                seconds=now() - state.started,
                offline=offline,
            )
        )

    def end(self, state: Thinking, outcome: Outcome, error: LlmError | None = None) -> None:
        """Tell what became of it."""
        self._publish(
            ReasoningEnded(
                conversation_id=self._conversation_id,
                time=state.turn.time,
                generation=state.turn.generation,
                outcome=outcome,
                llm=state.client.name,
                offline=state.client.offline,
                rounds=state.rounds,
                seconds=now() - state.started,
                first_text=state.first_text,
                code=error.error_code if error else None,
                detail=error.message if error else state.detail,
            )
        )


def now() -> float:
    """Seconds on the event loop's clock."""
    return asyncio.get_running_loop().time()
