"""What is wrong with a value, in words: where it stands, what it is, what is allowed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from coda_voice.config.sources import Setting
from coda_voice.errors import ConfigurationError

_DEVICES = "auto, cpu, cuda, cuda:N, mlx or cloud"
_KINDS = {
    "bool_type": "true or false",
    "int_type": "a whole number",
    "float_type": "a number",
    "string_type": "text",
    "model_type": "a section with settings below it",
    "dict_type": "a section with settings below it",
    "finite_number": "a finite number",
    "extra_forbidden": "left out: there is no such setting",
    "list_type": "a list",
}


def problems_of(error: ValidationError, settings: Mapping[str, Setting]) -> ConfigurationError:
    """Turn pydantic's error into one of ours, with a line for each wrong value."""
    lines: list[str] = []
    first: tuple[str, Setting | None] | None = None
    for problem in error.errors():
        key = _key(problem["loc"], settings)
        setting = settings.get(key)
        below = next((s for k, s in settings.items() if k.startswith(f"{key}.")), None)
        written = key if setting is None else setting.written
        where = setting or below
        origin = "" if where is None else f"{where.origin}: "
        given = problem["input"] if setting is None else setting.value
        lines.append(f"{origin}{written!r} is {given!r}, but must be {_allowed(problem)}")
        first = first or (key, where)
    assert first is not None
    key, setting = first
    return ConfigurationError(
        "\n".join(dict.fromkeys(lines)),
        error_code="invalid_setting",
        key=key,
        file=None if setting is None else setting.origin.source,
        line=None if setting is None else setting.origin.line,
    )


def contradiction(one: Setting, other: Setting) -> ConfigurationError:
    """Make the error for two settings that cannot both hold."""
    return ConfigurationError(
        f"{other.origin}: {other.written!r} is {other.value!r}, which contradicts "
        f"{one.written!r}: {one.value!r} ({one.origin}); keep one of the two",
        error_code="contradicting_settings",
        key=other.key,
        file=other.origin.source,
        line=other.origin.line,
    )


def _key(loc: tuple[int | str, ...], settings: Mapping[str, Setting]) -> str:
    # pydantic adds parts for the branches of a union: the key is the longest known prefix.
    for end in range(len(loc), 0, -1):
        key = ".".join(str(part) for part in loc[:end])
        if key in settings:
            return key
    return ".".join(str(part) for part in loc)


def _allowed(problem: Any) -> str:  # noqa: ANN401  pydantic_core.ErrorDetails, a TypedDict
    kind: str = problem["type"]
    context: dict[str, object] = problem.get("ctx", {})
    if kind == "literal_error":
        return f"one of {str(context['expected']).replace(' or ', ', ')}"
    if kind == "string_pattern_mismatch":
        return _DEVICES
    if kind == "string_too_short":
        return "some text"
    if kind in _KINDS:
        return _KINDS[kind]
    if kind == "value_error":
        return str(problem["msg"]).removeprefix("Value error, must be ")
    for sign, words in (("ge", "at least"), ("le", "at most"), ("gt", "more than")):
        if sign in context:
            return f"{words} {context[sign]}"
    return str(problem["msg"]).removeprefix("Input should be ")
