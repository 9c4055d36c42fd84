"""Make a tool of a typed Python function with a docstring.

The JSON schema comes from the type hints, the descriptions from the docstring: its first
paragraph says what the tool does, lines ``name: text`` (or Google's ``Args:``) say what a
parameter means. Arguments are validated against the same hints before the function runs.
"""

from __future__ import annotations

import inspect
import re
import typing
from collections.abc import Awaitable, Callable, Mapping
from typing import Generic, ParamSpec, TypeVar, overload

from pydantic import BaseModel, ConfigDict, PydanticSchemaGenerationError, create_model
from pydantic import ValidationError as PydanticValidationError
from pydantic.fields import FieldInfo

from coda_tools.threads import call_in_thread
from coda_voice.errors import ValidationError
from coda_voice.protocols import ToolSpec

P = ParamSpec("P")
R = TypeVar("R")

NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,63}")
"""What OpenAI-compatible servers accept as the name of a function."""

_PARAMETER_LINE = re.compile(r"^\s*:?(?:param\s+)?(\w+)(?:\s*\([^)]*\))?\s*:\s+(.+)$")


class FunctionTool(Generic[P, R]):
    """A function that can be called as itself, and offered to an LLM.

    Raises ValidationError where it is made if a hint or the docstring is missing, and from
    ``validate`` if the arguments do not fit.
    """

    def __init__(
        self, function: Callable[P, R], spec: ToolSpec, arguments: type[BaseModel]
    ) -> None:
        self.function = function
        self.spec = spec
        self._arguments = arguments
        self.__name__ = spec.name
        self.__doc__ = function.__doc__

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        return self.function(*args, **kwargs)

    def validate(self, arguments: Mapping[str, object]) -> dict[str, object]:
        """Give the arguments as the function wants them; "3" serves as 3."""
        try:
            model = self._arguments.model_validate(dict(arguments))
        except PydanticValidationError as error:
            raise ValidationError(
                f"{self.spec.name}: {_in_words(error)}", tool=self.spec.name
            ) from error
        return {name: getattr(model, name) for name in self._arguments.model_fields}

    async def invoke(self, arguments: Mapping[str, object]) -> object:
        """Run the function; a plain one runs in a thread, so that nothing waits for it."""
        call = typing.cast("Callable[..., object]", self.function)
        if inspect.iscoroutinefunction(call):
            return await call(**arguments)
        result = await call_in_thread(lambda: call(**arguments))
        if inspect.isawaitable(result):
            return await typing.cast("Awaitable[object]", result)
        return result


@overload
def tool(function: Callable[P, R], /) -> FunctionTool[P, R]: ...


@overload
def tool(
    *,
    name: str | None = None,
    description: str | None = None,
    cancellable: bool = True,
    dangerous: bool = False,
    leave: str = "",
    timeout: float = 10.0,
    speak_while_running: str | None = None,
) -> Callable[[Callable[P, R]], FunctionTool[P, R]]: ...


def tool(
    function: Callable[P, R] | None = None,
    /,
    *,
    name: str | None = None,
    description: str | None = None,
    cancellable: bool = True,
    dangerous: bool = False,
    leave: str = "",
    timeout: float = 10.0,
    speak_while_running: str | None = None,
) -> FunctionTool[P, R] | Callable[[Callable[P, R]], FunctionTool[P, R]]:
    """Make a tool of the function below it; what the flags mean is told by ToolSpec."""

    def make(function: Callable[P, R]) -> FunctionTool[P, R]:
        tool_name = name or function.__name__
        summary, notes = _docstring(function)
        about = description or summary
        if not about:
            raise ValidationError(
                f"{tool_name} cannot be a tool: it has no docstring. Its first paragraph is "
                "what the LLM is told of it."
            )
        if not NAME.fullmatch(tool_name):
            raise ValidationError(
                f"{tool_name!r} cannot name a tool: letters, digits, _ and -, at most 64, and "
                "a letter first."
            )
        if timeout <= 0:
            raise ValidationError(f"{tool_name}: a timeout is more than 0 s, not {timeout}.")
        arguments = _arguments_model(tool_name, function, notes)
        spec = ToolSpec(
            name=tool_name,
            description=about,
            parameters=plain_schema(arguments.model_json_schema()),
            cancellable=cancellable,
            dangerous=dangerous,
            leave=leave,
            timeout=timeout,
            speak_while_running=speak_while_running,
        )
        return FunctionTool(function, spec, arguments)

    return make if function is None else make(function)


def _docstring(function: Callable[..., object]) -> tuple[str, dict[str, str]]:
    """Split a docstring into its first paragraph and what it says of parameters."""
    text = inspect.getdoc(function) or ""
    first, _, rest = text.partition("\n\n")
    parameters = set(inspect.signature(function).parameters)
    notes: dict[str, str] = {}
    latest = ""
    for line in rest.splitlines():
        found = _PARAMETER_LINE.match(line)
        if found and found[1] in parameters:
            latest = found[1]
            notes[latest] = found[2].strip()
        elif latest and line.startswith("  ") and line.strip():
            notes[latest] += " " + line.strip()
        else:
            latest = ""
    return " ".join(first.split()), notes


def _arguments_model(
    tool_name: str, function: Callable[..., object], notes: Mapping[str, str]
) -> type[BaseModel]:
    try:
        hints = typing.get_type_hints(function, include_extras=True)
    except NameError as error:
        raise ValidationError(f"{tool_name} cannot be a tool: {error} in its hints.") from error
    fields: dict[str, tuple[object, FieldInfo]] = {}
    for parameter in inspect.signature(function).parameters.values():
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            raise ValidationError(
                f"{tool_name} cannot be a tool: *{parameter.name} has no schema. Name each "
                "parameter."
            )
        if parameter.kind is parameter.POSITIONAL_ONLY or parameter.name not in hints:
            raise ValidationError(
                f"{tool_name} cannot be a tool: its parameter {parameter.name!r} needs a type "
                "hint and must be callable by name."
            )
        default = ... if parameter.default is parameter.empty else parameter.default
        field = FieldInfo(default=default, description=notes.get(parameter.name))
        fields[parameter.name] = (hints[parameter.name], field)
    try:
        model: type[BaseModel] = create_model(  # type: ignore[call-overload]
            tool_name, __config__=ConfigDict(extra="forbid"), **fields
        )
    except PydanticSchemaGenerationError as error:
        raise ValidationError(
            f"{tool_name} cannot be a tool: {error.message.splitlines()[0]}"
        ) from error
    return model


def plain_schema(schema: Mapping[str, object]) -> dict[str, object]:
    """Write a schema without titles, references and null branches.

    Servers differ in how much of JSON schema they read; this much all of them do.
    """
    definitions = typing.cast("Mapping[str, object]", schema.get("$defs", {}))

    def plain(value: object, depth: int = 0) -> object:
        if isinstance(value, list):
            return [plain(item, depth) for item in value]
        if not isinstance(value, Mapping):
            return value
        if "$ref" in value and depth < 8:
            target = definitions.get(str(value["$ref"]).rpartition("/")[2], {})
            beside = {k: v for k, v in value.items() if k != "$ref"}
            return plain({**typing.cast("dict[str, object]", target), **beside}, depth + 1)
        branches = value.get("anyOf")
        if isinstance(branches, list):
            real = [b for b in branches if b != {"type": "null"}]
            if len(real) == 1:
                beside = {k: v for k, v in value.items() if k != "anyOf"}
                return plain({**real[0], **beside}, depth)
        return {
            k: {n: plain(s, depth) for n, s in v.items()} if k == "properties" else plain(v, depth)
            for k, v in value.items()
            if not (k == "title" and isinstance(v, str)) and k != "$defs"
        }

    found = typing.cast("dict[str, object]", plain(schema))
    found.setdefault("type", "object")
    found.setdefault("properties", {})
    return found


def _in_words(error: PydanticValidationError) -> str:
    """Say each wrong argument in words an LLM can act on."""
    return "; ".join(
        f"{'.'.join(str(part) for part in fault['loc'])}: {fault['msg']}"
        + ("" if fault["type"] == "missing" else f", given {fault['input']!r:.80}")
        for fault in error.errors()
    )
