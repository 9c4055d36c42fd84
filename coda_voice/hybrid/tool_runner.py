"""Run the tool calls of a turn, and do right by those whose turn is over.

A stale call that has not started never starts; a running one that may be cancelled is;
one with side effects finishes, and its outcome is kept for the next turn.
"""

from __future__ import annotations

import asyncio
import json
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import NamedTuple

from coda_voice.events import Event, ToolEnded, ToolStarted
from coda_voice.hybrid.llm import ToolCall
from coda_voice.protocols import ToolBox, ToolOutcome, ToolSpec

MAX_PARALLEL = 4
MAX_KEPT = 16


class _Turn(NamedTuple):
    """Whose calls they are."""

    generation: int
    offline: bool
    """Whether the offline brain made them."""


class ToolRunner:
    """The tool calls of one conversation; at most four run at once.

    ``kept`` holds outcomes that came after their turn was over, oldest dropped first.
    """

    def __init__(
        self, tools: ToolBox | None, publish: Callable[[Event], None], conversation_id: str
    ) -> None:
        self._tools = tools
        self._publish = publish
        self._conversation_id = conversation_id
        self._places = asyncio.Semaphore(MAX_PARALLEL)
        self._detached: dict[asyncio.Task[ToolOutcome], tuple[ToolCall, _Turn]] = {}
        """Those that finish although their turn is over."""
        self._running: dict[asyncio.Task[ToolOutcome], ToolSpec] = {}
        self.kept: deque[ToolOutcome] = deque(maxlen=MAX_KEPT)

    def specs(self) -> Sequence[ToolSpec]:
        """List the tools there are at the moment."""
        return self._tools.specs() if self._tools else ()

    def running(self) -> Sequence[ToolSpec]:
        """List the tools at work for the turn that is under way."""
        return list(self._running.values())

    def take_kept(self) -> list[ToolOutcome]:
        """Give the outcomes that came too late for their turn, once."""
        kept = list(self.kept)
        self.kept.clear()
        return kept

    def keep(self, outcomes: Sequence[ToolOutcome]) -> None:
        """Put outcomes back for the next turn, before those that came since."""
        self.kept.extendleft(reversed(outcomes))

    async def run(
        self, calls: Sequence[ToolCall], generation: int, *, offline: bool = False
    ) -> list[ToolOutcome]:
        """Run ``calls`` beside each other; outcomes in the order of the calls.

        When cancelled, calls are dropped or left to finish as the module says.
        """
        turn = _Turn(generation, offline)
        specs = {spec.name: spec for spec in self.specs()}
        started: set[str] = set()
        tasks = [
            (call, asyncio.create_task(self._one(call, specs.get(call.name), turn, started)))
            for call in calls
        ]
        try:
            await asyncio.wait([task for _, task in tasks])
        except asyncio.CancelledError:
            for call, task in tasks:
                self._abandon(call, task, specs.get(call.name), call.call_id in started, turn)
            raise
        return [task.result() for _, task in tasks]

    async def _one(
        self, call: ToolCall, spec: ToolSpec | None, turn: _Turn, started: set[str]
    ) -> ToolOutcome:
        async with self._places:
            tools = self._tools
            if tools is None or call.malformed is not None or call.beyond is not None:
                refused = refused_call(call)
                self._ended(call, "never_started" if call.beyond else "failed", turn, refused)
                return refused
            task = asyncio.current_task()
            started.add(call.call_id)
            self._tell(
                ToolStarted(
                    conversation_id=self._conversation_id,
                    generation=turn.generation,
                    call_id=call.call_id,
                    tool=call.name,
                    arguments=json.dumps(call.arguments, ensure_ascii=False, default=str),
                    offline=turn.offline,
                )
            )
            if task is not None and spec is not None:
                self._running[task] = spec
            try:
                outcome = await tools.call(call.name, call.arguments, call.call_id)
            finally:
                if task is not None:
                    self._running.pop(task, None)
            if task in self._detached:
                del self._detached[task]
                self.kept.append(outcome)
                self._ended(call, "kept", turn, outcome)
            else:
                self._ended(call, "done" if outcome.success else "failed", turn, outcome)
            return outcome

    def _abandon(
        self,
        call: ToolCall,
        task: asyncio.Task[ToolOutcome],
        spec: ToolSpec | None,
        started: bool,
        turn: _Turn,
    ) -> None:
        if task.done():
            outcome = task.result()
            if spec is not None and not spec.cancellable:
                self.kept.append(outcome)
        elif not started:
            task.cancel()
            self._ended(call, "never_started", turn)
        elif spec is None or spec.cancellable:
            task.cancel()
            self._ended(call, "cancelled", turn)
        else:
            self._running.pop(task, None)
            self._detached[task] = call, turn

    def _ended(
        self, call: ToolCall, how: str, turn: _Turn, outcome: ToolOutcome | None = None
    ) -> None:
        self._tell(
            ToolEnded.model_validate(
                {
                    "conversation_id": self._conversation_id,
                    "generation": turn.generation,
                    "call_id": call.call_id,
                    "tool": call.name,
                    "outcome": how,
                    "milliseconds": outcome.execution_time_ms if outcome else 0.0,
                    "error": outcome.error if outcome else None,
                    "offline": turn.offline,
                }
            )
        )

    def _tell(self, event: Event) -> None:
        self._publish(event)

    async def close(self) -> None:
        """Stop what is still running, and tell of it: it may have done half of what it does."""
        for task in self._detached:
            task.cancel()
        if self._detached:
            await asyncio.wait(set(self._detached))
        while self._detached:  # without those that were just done, and have told so
            _, (call, turn) = self._detached.popitem()
            self._ended(call, "cancelled", turn)


def within(calls: Sequence[ToolCall], allowed: int) -> list[ToolCall]:
    """Mark those ``beyond`` the ``allowed`` ones, which are not run; each says how many there were.

    Of a runaway message's hundreds twice the allowed ones are left, so that the LLM's next prompt
    still fits its context.
    """
    if len(calls) <= allowed:
        return [*calls]
    why = (
        f"Not run: {allowed} tool calls in one message are allowed, and these were {len(calls)}. "
        f"The first {allowed} were run; ask for what else you need in another message."
    )
    others = calls[allowed : 2 * allowed]
    return [*calls[:allowed], *(replace(call, beyond=why) for call in others)]


def refused_call(call: ToolCall) -> ToolOutcome:
    """Give the outcome of a call that cannot even start.

    It is one too many, cannot be read, or is of a tool that is not offered.
    """
    if call.beyond is not None:
        return ToolOutcome(call.call_id, call.name, fault="busy", error=call.beyond)
    if call.malformed is None:
        error = f"There is no tool {call.name!r} here."
        return ToolOutcome(call.call_id, call.name, fault="unknown_tool", error=error)
    error = f"{call.name}: the arguments are no JSON object: {call.malformed:.200}"
    return ToolOutcome(call.call_id, call.name, fault="invalid_arguments", error=error)
