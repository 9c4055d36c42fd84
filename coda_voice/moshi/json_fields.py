"""A checkpoint's JSON files, read with a clear error for every value that cannot be."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from coda_voice.errors import ModelLoadingError


def read_json(path: Path) -> Mapping[str, object] | None:
    """Give the object in ``path``; None where there is no such file.

    Raises ModelLoadingError for what is no JSON object.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise ModelLoadingError(
            f"{path} cannot be read as JSON ({error}); fetch the checkpoint again",
            path=str(path),
        ) from error
    if not isinstance(content, dict):
        raise ModelLoadingError(f"{path} must hold a JSON object", path=str(path))
    return content


@dataclass(frozen=True, slots=True)
class Fields:
    """A JSON object whose values are checked as they are read."""

    path: Path
    values: Mapping[str, object]

    def _wrong(self, key: str, allowed: str) -> ModelLoadingError:
        return ModelLoadingError(
            f"{self.path}: {key!r} is {self.values[key]!r}, but must be {allowed}",
            path=str(self.path),
            key=key,
        )

    def integer(self, key: str, default: int) -> int:
        value = self.values.get(key, default)
        if isinstance(value, bool) or not isinstance(value, int) or value < 0:
            raise self._wrong(key, "a whole number, 0 or more")
        return value

    def flag(self, key: str, default: bool) -> bool:
        value = self.values.get(key, default)
        if not isinstance(value, bool):
            raise self._wrong(key, "true or false")
        return value

    def choice(self, key: str, allowed: tuple[str, ...], default: str) -> str:
        value = self.values.get(key, default)
        if value not in allowed or not isinstance(value, str):
            raise self._wrong(key, "one of " + ", ".join(allowed))
        return value

    def text(self, key: str, default: str) -> str:
        value = self.values.get(key, default)
        if not isinstance(value, str):
            raise self._wrong(key, "a text")
        return value

    def codes(self, key: str, default: tuple[int, ...] | None) -> tuple[int, ...] | None:
        value = self.values.get(key)
        if value is None:
            return default
        if not isinstance(value, list) or not all(type(v) is int and v >= 0 for v in value):
            raise self._wrong(key, "a list of codes")
        return tuple(value)

    def section(self, key: str) -> Fields:
        value = self.values.get(key, {})
        if not isinstance(value, dict):
            raise self._wrong(key, "an object")
        return Fields(self.path, value)
