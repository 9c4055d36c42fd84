"""What the voice needs of a memory, a personality, a tool box and an LLM.

The other houses (``coda_memory``, ``coda_tools``, Coda's own managers) implement these
protocols by having the methods: nobody need import this module. Builds of Coda differ in
which methods are coroutines, so each method may return its value or an awaitable of it;
``settle`` takes both.
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, TypeVar, runtime_checkable

from coda_voice.config.mcp import McpServer
from coda_voice.errors import IntegrationError

T = TypeVar("T")


@runtime_checkable
class MemoryManager(Protocol):
    """Long-term memory: turns in, relevant memories out."""

    def add_turn(self, role: str, content: str) -> object:
        """Remember that ``role`` ("user" or "assistant") said ``content``."""

    def search_memories(
        self, query: str, limit: int = 5, min_relevance: float = 0.0
    ) -> Awaitable[Sequence[object]] | Sequence[object]:
        """Give the memories nearest to ``query``, best first."""

    def get_context(self, max_tokens: int = 800) -> Awaitable[object] | object:
        """Give the recent conversation, cut to ``max_tokens``."""


@runtime_checkable
class PersonalityManager(Protocol):
    """Who the agent is at the moment."""

    def get_personality_state(self) -> Awaitable[Mapping[str, object]] | Mapping[str, object]:
        """``{"parameters": {trait: {"value": …}}, …}``."""

    def enhance_prompt(self, prompt: str, context: str = "") -> Awaitable[str] | str:
        """``prompt`` with the personality worked into it."""


@runtime_checkable
class ToolManager(Protocol):
    """A tool box: function schemas out, calls in."""

    def get_function_schemas(
        self, context: object | None = None
    ) -> Awaitable[Sequence[Mapping[str, object]]] | Sequence[Mapping[str, object]]:
        """OpenAI-style function schemas."""

    def process_function_call(self, call: Mapping[str, object]) -> Awaitable[object] | object:
        """Run one call; the result has ``success``, ``result``, ``error``."""


@dataclass(frozen=True)
class ToolSpec:
    """What is known of a tool without running it.

    ``parameters`` is a JSON schema of type object. ``cancellable``: a call may be dropped
    when the user interrupts; False for side effects, which finish and are kept for the next
    turn. ``dangerous``: the user is asked aloud first, but where ``leave``, a regular
    expression, is found in what he has just said. ``timeout`` in seconds.
    ``speak_while_running``: a sentence for the user when the call takes long.
    """

    name: str
    description: str
    parameters: Mapping[str, object]
    cancellable: bool = True
    dangerous: bool = False
    leave: str = ""
    timeout: float = 10.0
    speak_while_running: str | None = None

    def function_schema(self) -> dict[str, object]:
        """The tool as OpenAI, Ollama and Coda are told of it."""
        return {
            "type": "function",
            "function": {
                "name": self.name,
                "description": self.description,
                "parameters": dict(self.parameters),
            },
        }


ToolFault = Literal["unknown_tool", "invalid_arguments", "timeout", "failed", "busy"]


@dataclass(frozen=True)
class ToolOutcome:
    """What came of one call: ``result`` is text for the LLM; ``fault`` is None on success.

    ``error`` says what to do about the fault; time is in milliseconds.
    """

    call_id: str
    tool_name: str
    result: str = ""
    fault: ToolFault | None = None
    error: str | None = None
    execution_time_ms: float = 0.0

    @property
    def success(self) -> bool:
        """Whether the tool did what it was asked."""
        return self.fault is None


@runtime_checkable
class ToolBox(Protocol):
    """The tools the reasoner may use."""

    def specs(self) -> Sequence[ToolSpec]:
        """Give the tools there are at the moment."""

    async def call(
        self, name: str, arguments: Mapping[str, object], call_id: str = ""
    ) -> ToolOutcome:
        """Run one call; every fault is in the outcome, only a cancellation is raised."""


Scheduling = Literal["interrupt", "when_idle", "silent"]
"""How a result that arrives by itself is told: at once, in the next pause, or not aloud."""


@dataclass(frozen=True)
class Announcement:
    """A result that arrives by itself: a timer that has run down, a job that is done."""

    text: str
    scheduling: Scheduling = "when_idle"
    tool_name: str = ""


@dataclass(frozen=True)
class ToolsWanted:
    """A conversation for which tools are wanted.

    ``announce`` says aloud what a tool reports by itself; ``memory`` is the user's
    long-term memory, if there is one.
    """

    conversation_id: str
    user_id: str | None
    announce: Callable[[Announcement], None]
    memory: object | None = None


@dataclass(frozen=True)
class ToolServerChange:
    """What became of a server of tools.

    ``ready``: its ``tools`` can be called; ``failed``: it did not start; ``gone``: it ended,
    and is started again. ``reason`` says why.
    """

    server: str
    state: Literal["ready", "failed", "gone"]
    tools: tuple[str, ...] = ()
    reason: str = ""


class ConversationTools(ToolBox, Protocol):
    """The tools of one conversation."""

    def close(self) -> None:
        """The conversation is over: stop what runs for it (timers) in silence."""


class ToolHouse(Protocol):
    """Where the conversations of a manager get their tools."""

    async def prepare(self, manager: object | None) -> None:
        """List the tools of the tool manager that was handed over, if one was."""

    async def connect(
        self, servers: Mapping[str, McpServer], report: Callable[[ToolServerChange], None]
    ) -> None:
        """Start what has not started of the MCP servers that are set; slow ones join later."""

    def tools_for(self, wanted: ToolsWanted) -> ConversationTools:
        """Give a conversation its tools."""

    async def close(self) -> None:
        """Close what conversations share."""


REQUIRED_METHODS: Mapping[str, tuple[str, ...]] = {
    "memory": ("add_turn", "search_memories", "get_context"),
    "personality": ("get_personality_state", "enhance_prompt"),
    "tool": ("get_function_schemas", "process_function_call"),
    "llm": (),
}
"""What each kind of manager must at least be able to do. An LLM manager is only kept for
Coda's sake, so nothing is asked of it."""


def require_methods(kind: str, manager: object) -> None:
    """Check that ``manager`` has the methods its kind needs.

    Raises IntegrationError naming the missing ones, so that a wrong object is refused when
    it is handed over and not in the middle of a conversation.
    """
    missing = [
        name for name in REQUIRED_METHODS[kind] if not callable(getattr(manager, name, None))
    ]
    if missing:
        raise IntegrationError(
            f"{type(manager).__name__} cannot serve as {kind} manager: it lacks "
            f"{', '.join(f'{name}()' for name in missing)}. "
            f"A {kind} manager needs {', '.join(REQUIRED_METHODS[kind])} (plain or async).",
            kind=kind,
            missing=missing,
        )


async def settle(value: Awaitable[T] | T) -> T:
    """``value`` itself, or what it resolves to when it is awaitable."""
    if inspect.isawaitable(value):
        resolved: T = await value
        return resolved
    return value
