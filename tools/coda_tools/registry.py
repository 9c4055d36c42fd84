"""Keep tools by name and run calls to them.

A call never raises: a wrong name, wrong arguments, a time that ran out and whatever the
tool raised are in its outcome, in words the LLM can act on. Results are cut to a size
that fits a prompt.
"""

from __future__ import annotations

import asyncio
import json
from collections import ChainMap
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from difflib import get_close_matches
from time import perf_counter
from typing import Protocol

from pydantic_core import to_jsonable_python

from coda_tools.threads import ThreadsBusyError
from coda_voice.errors import ValidationError
from coda_voice.protocols import ToolOutcome, ToolSpec


class ToolExitError(Exception):
    """A tool called ``sys.exit``: its own end, and nothing else's."""


class Tool(Protocol):
    """What the registry needs of a tool: a Python function, one of an MCP server, of Coda."""

    @property
    def spec(self) -> ToolSpec:
        """What the tool is."""

    def validate(self, arguments: Mapping[str, object]) -> dict[str, object]:
        """Give the arguments as the tool wants them, or raise ValidationError."""

    async def invoke(self, arguments: Mapping[str, object]) -> object:
        """Do it; anything may be raised."""


class ToolRegistry:
    """The tools of a program or of one conversation; a ToolBox and a Coda ToolManager.

    ``result_limit`` is in characters. ``shared``: a registry whose tools are offered here as
    well, those that join it later included; one of its own comes before one of the same name.
    ``add`` raises ValidationError for a name that is taken.
    """

    def __init__(
        self,
        tools: Iterable[Tool] = (),
        *,
        shared: ToolRegistry | None = None,
        result_limit: int = 4_000,
    ) -> None:
        self._own: dict[str, Tool] = {}
        self._tools = ChainMap(self._own, *([shared._own] if shared is not None else []))
        self._result_limit = result_limit
        for tool in tools:
            self.add(tool)

    def add(self, tool: Tool) -> None:
        """Offer ``tool`` from now on."""
        name = tool.spec.name
        if name in self._own:
            raise ValidationError(
                f"There is a tool {name!r} already; remove it first or name this one otherwise.",
                tool=name,
            )
        self._own[name] = tool

    def remove(self, name: str) -> None:
        """Offer the tool no longer; calls under way finish."""
        self._own.pop(name, None)

    def __contains__(self, name: str) -> bool:
        return name in self._tools

    def tools(self) -> Sequence[Tool]:
        """Give the tools in the order they were added, shared ones first."""
        return list(self._tools.values())

    def specs(self) -> Sequence[ToolSpec]:
        """List the tools in the order they were added, shared ones first."""
        return [tool.spec for tool in self._tools.values()]

    async def call(
        self, name: str, arguments: Mapping[str, object], call_id: str = ""
    ) -> ToolOutcome:
        """Run one call within the tool's own time limit."""
        started = perf_counter()
        outcome = await self._outcome(ToolOutcome(call_id, name), arguments)
        return replace(outcome, execution_time_ms=(perf_counter() - started) * 1_000)

    async def _outcome(self, blank: ToolOutcome, arguments: Mapping[str, object]) -> ToolOutcome:
        name = blank.tool_name
        tool = self._tools.get(name)
        if tool is None:
            near = get_close_matches(name, self._tools, 1)
            hint = f"Did you mean {near[0]!r}?" if near else f"There are: {', '.join(self._tools)}."
            return replace(blank, fault="unknown_tool", error=f"There is no tool {name!r}. {hint}")
        try:
            valid = tool.validate(arguments)
        except ValidationError as error:
            return replace(blank, fault="invalid_arguments", error=error.message)

        # A task of its own keeps whatever the tool raises, to be looked at instead of caught;
        # so also what its result raises while it is written down.
        task = asyncio.ensure_future(self._run(tool, valid))
        try:
            await asyncio.wait({task}, timeout=tool.spec.timeout)
        finally:
            task.cancel()
        if not task.done():
            return replace(
                blank,
                fault="timeout",
                error=f"{name} did not answer within {tool.spec.timeout:g} s and was given up.",
            )
        if task.cancelled():
            return replace(blank, fault="failed", error=f"{name} was cancelled from within.")
        raised = task.exception()
        if isinstance(raised, ThreadsBusyError):
            return replace(blank, fault="busy", error=f"{name} could not start: {raised}.")
        if raised is not None:
            reason = str(raised) or type(raised).__name__
            return replace(blank, fault="failed", error=f"{name} failed: {reason:.500}")
        return replace(blank, result=task.result())

    async def _run(self, tool: Tool, arguments: Mapping[str, object]) -> str:
        try:
            return self._text(await tool.invoke(arguments))
        except SystemExit as error:  # out of a task it would end the program's event loop
            raise ToolExitError(f"it wanted to end the program ({error})") from error

    def _text(self, result: object) -> str:
        """Write a result as text of bounded length, and say so where something was cut."""
        if result is None:
            text = "done"
        elif isinstance(result, str):
            text = result
        else:
            plain = to_jsonable_python(result, fallback=str)
            text = json.dumps(plain, ensure_ascii=False)
        if len(text) <= self._result_limit:
            return text
        kept = text[: self._result_limit]
        return f"{kept}… (cut: {self._result_limit} of {len(text)} characters)"

    def get_available_tools(self, context: object | None = None) -> list[dict[str, object]]:
        """List the tools as Coda does; ``context`` changes nothing."""
        return [
            {
                "name": spec.name,
                "description": spec.description,
                "parameters": dict(spec.parameters),
                "timeout_seconds": spec.timeout,
                "is_dangerous": spec.dangerous,
                "requires_auth": False,
            }
            for spec in self.specs()
        ]

    def get_function_schemas(self, context: object | None = None) -> list[dict[str, object]]:
        """List the tools as OpenAI-style function schemas; ``context`` changes nothing."""
        return [spec.function_schema() for spec in self.specs()]

    async def process_function_call(self, call: Mapping[str, object]) -> ToolOutcome:
        """Run a call as Coda hands it over, in OpenAI's shape or flat.

        ``arguments`` may be a mapping or the JSON of one.
        """
        inner = call.get("function", call)
        fields: Mapping[str, object] = inner if isinstance(inner, Mapping) else {}
        name = str(fields.get("name", fields.get("tool_name", "")))
        call_id = str(call.get("id", call.get("call_id", "")))
        arguments = fields.get("arguments", fields.get("parameters", {}))
        wrong = ""
        if isinstance(arguments, str):
            try:
                arguments = json.loads(arguments or "{}")
            except json.JSONDecodeError as error:
                wrong = f"{name}: the arguments are no JSON: {error}"
        if not wrong and not isinstance(arguments, Mapping):
            wrong = f"{name}: the arguments must be an object."
        if wrong or not isinstance(arguments, Mapping):
            return ToolOutcome(call_id, name, fault="invalid_arguments", error=wrong)
        return await self.call(name, arguments, call_id)
