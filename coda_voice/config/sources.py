"""Where settings come from: YAML files, the environment, dicts and keyword arguments.

Each source becomes a list of ``Setting``: a key of the one model, a value, and where it
was written. The shapes that Coda and its documents use are told apart here and nowhere
else: ``voice:`` and ``voice_processing:`` are transparent wrappers, and a few keys have a
second name (``ALIASES``).
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import yaml

from coda_voice.errors import ConfigurationError

SERVER_URL = "MOSHI_SERVER_URL"
ENVIRONMENT_PREFIX = "CODA_VOICE__"
WRAPPERS = ("voice", "voice_processing")
"""Sections whose content counts as if it stood at the top."""
_DEEPEST = 8
OPEN = ("integration.mcp_servers",)
"""Settings that are sections with names of the user's own below them."""
ALIASES = {
    "moshi.model_path": "moshi.checkpoint",
    "model": "moshi.checkpoint",
    "max_steps": "moshi.max_steps",
    "sample_rate": "moshi.sample_rate",
    "memory_integration_enabled": "integration.memory_enabled",
    "personality_integration_enabled": "integration.personality_enabled",
    "tools_integration_enabled": "integration.tools_enabled",
    "websocket_events_enabled": "integration.websocket_events",
}
"""Other names that settings go by in Coda's YAML, and the name they have here."""


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a setting was written: a file and its line, a variable, a keyword argument."""

    source: str
    line: int | None = None

    def __str__(self) -> str:
        return self.source if self.line is None else f"{self.source}:{self.line}"


@dataclass(frozen=True, slots=True)
class Setting:
    """One value for one key of the model, and where and under which name it was written."""

    key: str
    value: object
    origin: Origin
    written: str
    overrules: tuple[Setting, ...] = ()
    """The same setting under more general names in the same source, with other values."""


@dataclass(frozen=True, slots=True)
class _Written:
    """A key as it was written, before anyone knows whether there is such a setting."""

    path: tuple[str, ...]
    value: object
    origin: Origin


def from_yaml(path: Path, known: Sequence[str]) -> list[Setting]:
    """Read the settings in a YAML file. Raises ConfigurationError with file and line."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(
            f"{path}: cannot be read ({error}); give the path of a YAML file", file=str(path)
        ) from error
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
        if root is None:
            return []
        if not isinstance(root, yaml.MappingNode):
            raise ConfigurationError(
                f"{path}:1: a configuration is a mapping of settings, such as 'mode: moshi_only'",
                file=str(path),
                line=1,
            )
        written = list(_walk_yaml(root, str(path), (), yaml.SafeLoader("")))
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        origin = Origin(str(path), None if mark is None else mark.line + 1)
        problem = getattr(error, "problem", None) or str(error)
        raise ConfigurationError(
            f"{origin}: not valid YAML: {problem}", file=str(path), line=origin.line
        ) from error
    return _settings(written, known)


def from_environment(env: Mapping[str, str], known: Sequence[str]) -> list[Setting]:
    """Read ``CODA_VOICE__SECTION__KEY`` variables; values as YAML, an empty one is unset.

    ``MOSHI_SERVER_URL`` stands for ``CODA_VOICE__ENDPOINT`` where that is not set.
    """
    written = []
    address = env.get(SERVER_URL, "").strip()
    if address and not env.get(f"{ENVIRONMENT_PREFIX}ENDPOINT", "").strip():
        written.append(
            _Written(("endpoint",), address, Origin(f"environment variable {SERVER_URL}"))
        )
    for name, text in sorted(env.items()):
        if not name.startswith(ENVIRONMENT_PREFIX) or not text.strip():
            continue
        path = tuple(name.removeprefix(ENVIRONMENT_PREFIX).lower().split("__"))
        try:
            value = yaml.safe_load(text)
        except yaml.YAMLError:
            value = text  # a bare word that only looks like YAML, such as "*important*"
        written.append(_Written(path, value, Origin(f"environment variable {name}")))
    return _settings(_flatten(written), known)


def from_mapping(data: Mapping[str, object], known: Sequence[str], source: str) -> list[Setting]:
    """Take settings from nested dicts; a key may also join levels with ``__``."""
    origin = Origin(source)
    top = [_Written(tuple(str(k).split("__")), v, origin) for k, v in data.items()]
    return _settings(_flatten(top), known)


def nested(settings: Mapping[str, Setting]) -> dict[str, object]:
    """Put dotted keys back into nested dicts."""
    tree: dict[str, object] = {}
    for key, setting in settings.items():
        *sections, leaf = key.split(".")
        branch = tree
        for section in sections:
            child = branch.setdefault(section, {})
            if not isinstance(child, dict):
                raise ConfigurationError(
                    f"{setting.origin}: {setting.written!r} stands below {section!r}, which is set "
                    f"to {child!r} elsewhere; keep one of the two",
                    error_code="contradicting_settings",
                    key=key,
                )
            branch = child
        branch[leaf] = setting.value
    return tree


def _walk_yaml(
    node: yaml.MappingNode, file: str, path: tuple[str, ...], loader: yaml.SafeLoader
) -> Iterator[_Written]:
    seen: dict[str, int] = {}
    for key_node, _ in node.value:
        name, line = str(key_node.value), key_node.start_mark.line + 1
        if name in seen:
            raise ConfigurationError(
                f"{file}:{line}: {'.'.join((*path, name))!r} is already set in line "
                f"{seen[name]}; keep one of the two",
                file=file,
                line=line,
                key=name,
            )
        seen[name] = line
    loader.flatten_mapping(node)  # resolves "<<: *anchor"; what is written here comes last
    for name, (key_node, value_node) in {str(k.value): (k, v) for k, v in node.value}.items():
        origin = Origin(file, key_node.start_mark.line + 1)
        if isinstance(value_node, yaml.MappingNode):
            if len(path) > _DEEPEST:  # also what an anchor inside itself comes to
                raise ConfigurationError(f"{origin}: {name!r} is nested too deep", file=file)
            yield from _walk_yaml(value_node, file, (*path, name), loader)
        else:
            yield _Written((*path, name), loader.construct_object(value_node, deep=True), origin)


def _flatten(written: Sequence[_Written]) -> Iterator[_Written]:
    for item in written:
        if isinstance(item.value, Mapping):
            deeper = [_Written((*item.path, str(k)), v, item.origin) for k, v in item.value.items()]
            yield from _flatten(deeper)
        else:
            yield item


def _settings(written: Iterable[_Written], known: Sequence[str]) -> list[Setting]:
    """Give each written key its name in the model.

    Where one source makes a setting twice, the name inside a section overrules the one at
    the top (``moshi.model_path`` over ``model``). Raises ConfigurationError for unknown
    keys, all of them at once, and for a setting made twice with different values under
    names of the same rank. A key without a value is not set.
    """
    sections = {key.rsplit(".", 1)[0] for key in known if "." in key} | set(OPEN)
    found: dict[str, list[tuple[int, Setting]]] = {}
    unknown: list[_Written] = []
    for item in written:
        path = item.path[1:] if item.path[0] in WRAPPERS and len(item.path) > 1 else item.path
        name = ".".join(path)
        key = ALIASES.get(name, name)
        ours = any(key.startswith(f"{section}.") for section in OPEN)
        if item.value is None and (ours or key in known or key in sections or key in WRAPPERS):
            continue
        if not ours and (key not in known or key in OPEN):
            unknown.append(item)
            continue
        setting = Setting(key, item.value, item.origin, ".".join(item.path))
        found.setdefault(key, []).append((len(path), setting))
    if unknown:
        raise _unknown_keys(unknown, known, sections)
    return [_most_specific(candidates) for candidates in found.values()]


def _most_specific(candidates: Sequence[tuple[int, Setting]]) -> Setting:
    """Choose among the ways one setting was made: (depth of its name, setting) each."""
    deepest = max(depth for depth, _ in candidates)
    first, *others = [setting for depth, setting in candidates if depth == deepest]
    for other in others:
        if other.value != first.value:
            raise ConfigurationError(
                f"{other.origin}: {other.written!r} is {other.value!r}, but {first.written!r} "
                f"({first.origin}) is the same setting and says {first.value!r}; keep one of "
                "the two",
                error_code="contradicting_settings",
                key=other.key,
                file=other.origin.source,
                line=other.origin.line,
            )
    overruled = [s for depth, s in candidates if depth < deepest and s.value != first.value]
    return replace(first, overrules=tuple(overruled))


def _unknown_keys(
    unknown: Sequence[_Written], known: Sequence[str], sections: set[str]
) -> ConfigurationError:
    lines = []
    for item in unknown:
        name = ".".join(item.path)
        if name in sections | set(WRAPPERS):
            lines.append(f"{item.origin}: {name!r} is a section and needs settings below it")
            continue
        near = nearest(name, known)
        hint = f"; did you mean {near!r}?" if near else ""
        lines.append(f"{item.origin}: unknown setting {name!r}{hint}")
    first = unknown[0]
    return ConfigurationError(
        "\n".join(lines),
        error_code="unknown_setting",
        key=".".join(first.path),
        nearest=nearest(".".join(first.path), known),
        file=first.origin.source,
        line=first.origin.line,
    )


def nearest(name: str, known: Sequence[str]) -> str | None:
    """Find the setting that ``name`` most likely means, as it may be written there.

    A setting of the same section comes first, then one of the same last name elsewhere,
    then whatever looks alike as a whole.
    """
    *prefix, leaf = name.split(".")
    wrapper = f"{prefix.pop(0)}." if prefix and prefix[0] in WRAPPERS else ""
    candidates = [*known, *ALIASES]
    section = "".join(f"{p}." for p in prefix)
    siblings = [c for c in candidates if c.startswith(section)]
    by_leaf = {c.removeprefix(section): c for c in siblings if "." not in c.removeprefix(section)}
    for match in difflib.get_close_matches(leaf, by_leaf, n=1, cutoff=0.7):
        return wrapper + by_leaf[match]
    elsewhere = {c.rsplit(".", 1)[-1]: c for c in reversed(candidates)}
    for match in difflib.get_close_matches(leaf, elsewhere, n=1, cutoff=0.85):
        return wrapper + elsewhere[match]
    whole = difflib.get_close_matches(section + leaf, candidates, n=1, cutoff=0.5)
    if whole:
        return wrapper + whole[0]
    # A misspelt section with nothing telling below it: the section itself.
    tops = {c.split(".", 1)[0] for c in candidates} | (set() if wrapper else set(WRAPPERS))
    top = difflib.get_close_matches((prefix or [leaf])[0], sorted(tops), n=1, cutoff=0.6)
    return wrapper + top[0] if top else None
