"""Use the tools of a Coda tool manager as if they were ours.

Coda's builds differ in whether the methods are coroutines and whether results are objects
or mappings; both are taken.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Protocol

from coda_tools.registry import ToolRegistry
from coda_tools.remote_tool import RemoteTool
from coda_voice.errors import IntegrationError, ValidationError
from coda_voice.protocols import ToolManager, ToolSpec, settle


class _ListsTools(Protocol):
    def get_available_tools(
        self, context: object | None = None
    ) -> Awaitable[Sequence[object]] | Sequence[object]: ...


async def add_coda_tools(registry: ToolRegistry, manager: ToolManager) -> dict[str, str]:
    """Add the manager's tools to ``registry``; give those left out, and why.

    Raises IntegrationError if the manager fails to list them, or if its schemas have not the
    shape they should have.
    """
    details: dict[str, object] = {}
    if callable(getattr(manager, "get_available_tools", None)):
        lister: _ListsTools = manager  # type: ignore[assignment]
        for definition in await _listed(manager, "get_available_tools", lister.get_available_tools):
            details[str(_field(definition, "name", ""))] = definition
    left_out: dict[str, str] = {}
    schemas = await _listed(manager, "get_function_schemas", manager.get_function_schemas)
    for schema in schemas:
        function = schema.get("function", schema) if isinstance(schema, Mapping) else None
        if not isinstance(function, Mapping) or not isinstance(function.get("name"), str):
            raise IntegrationError(
                f"{type(manager).__name__}.get_function_schemas() gave {schema!r:.200}; a schema "
                "has name, description and parameters."
            )
        name = function["name"]
        try:
            registry.add(_tool(manager, function, details.get(name)))
        except ValidationError as error:
            left_out[name] = error.message
    return left_out


async def _listed(
    manager: ToolManager,
    method: str,
    ask: Callable[[], Awaitable[Sequence[object]] | Sequence[object]],
) -> Sequence[object]:
    """Give what the manager lists; whatever fails in it is told as a fault of the manager's."""
    try:
        return list(await settle(ask()))
    except IntegrationError:
        raise
    except Exception as error:  # the program's own code, of which nothing is known
        reason = str(error) or type(error).__name__
        raise IntegrationError(
            f"{type(manager).__name__}.{method}() did not list its tools: {reason:.500}"
        ) from error


def _tool(manager: ToolManager, function: Mapping[str, object], definition: object) -> RemoteTool:
    name = str(function["name"])
    parameters = function.get("parameters")
    dangerous = bool(_field(definition, "is_dangerous", False))
    timeout = _field(definition, "timeout_seconds", None)
    spec = ToolSpec(
        name=name,
        description=str(function.get("description", "")) or name,
        parameters=parameters if isinstance(parameters, Mapping) else {"type": "object"},
        # Coda does not say which calls have side effects: all are let finish.
        cancellable=False,
        dangerous=dangerous,
        timeout=float(timeout) if isinstance(timeout, (int, float)) and timeout > 0 else 10.0,
    )

    async def send(arguments: Mapping[str, object]) -> object:
        result = await settle(
            manager.process_function_call({"name": name, "arguments": dict(arguments)})
        )
        if not _field(result, "success", True):
            raise IntegrationError(str(_field(result, "error", "") or f"{name} failed"))
        return _field(result, "result", result)

    return RemoteTool(spec, send)


def _field(holder: object, name: str, default: object) -> object:
    """Read a field of an object or a mapping."""
    if isinstance(holder, Mapping):
        return holder.get(name, default)
    return getattr(holder, name, default)
