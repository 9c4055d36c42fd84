"""A character as it is written down: one YAML file.

name: Nova
role: a voice assistant for a busy household
style: calm, plain words
traits: {verbosity: 0.3, humor: 0.4}      # 0 to 1; those not named are 0.5
bounds: {humor: [0.2, 0.7]}               # how far feedback may move one
backstory: ...
taboos: [medical advice]
greeting: Hello, I am Nova.
voice_prompt: nova.wav                    # beside the file; for checkpoints that take one
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import yaml
from pydantic import BaseModel, ConfigDict, Field, StringConstraints
from pydantic import ValidationError as ShapeError

from coda_memory.personality.traits import REACH, TRAITS, Bounds
from coda_voice.errors import ConfigurationError

_Share = Annotated[float, Field(ge=0, le=1)]
_Line = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=300)]
_HERE = Path(__file__).parent
FOLDERS = (_HERE / "characters", _HERE.parents[2] / "configs" / "personalities")
"""Where characters lie that are known by name: in the wheel, and in a checkout."""


class Character(BaseModel):
    """Who the agent is, before it has met anybody."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=40)]
    role: _Line = "a helpful voice assistant"
    style: _Line | None = None
    traits: dict[str, _Share] = Field(default_factory=dict)
    bounds: dict[str, tuple[_Share, _Share]] = Field(default_factory=dict)
    backstory: Annotated[str, StringConstraints(strip_whitespace=True, max_length=2_000)] = ""
    taboos: tuple[_Line, ...] = Field(default=(), max_length=20)
    greeting: _Line | None = None
    voice_prompt: _Line | None = None

    def default(self, trait: str) -> float:
        """The character's own value of a trait."""
        return self.traits.get(trait, 0.5)

    def bounds_of(self, trait: str) -> Bounds:
        """How far feedback may move a trait: as written, or by 0.5 either way."""
        own = self.default(trait)
        low, high = self.bounds.get(trait, (max(0.0, own - REACH), min(1.0, own + REACH)))
        return Bounds(min(low, own), max(high, own))


def load_character(name_or_file: str | os.PathLike[str]) -> Character:
    """Give the character of a name (``list_characters``) or of a YAML file.

    Raises ConfigurationError naming the file, the line, what is wrong and what is allowed.
    """
    path = Path(name_or_file)
    if path.suffix not in (".yaml", ".yml"):
        known = list_characters()
        if str(name_or_file) not in known:
            near = difflib.get_close_matches(str(name_or_file), known, 1)
            hint = f"did you mean {near[0]!r}? " if near else ""
            raise ConfigurationError(
                f"there is no character {str(name_or_file)!r}; {hint}known: {', '.join(known)}; "
                "or give the path of a YAML file.",
                "no_character",
            )
        path = known[str(name_or_file)]
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{path} cannot be read: {error}.", "no_character") from error
    return parse_character(text, path)


def list_characters() -> dict[str, Path]:
    """Characters known by name, and their files."""
    folder = next((folder for folder in FOLDERS if folder.is_dir()), None)
    return {} if folder is None else {f.stem: f for f in sorted(folder.glob("*.yaml"))}


def parse_character(text: str, path: Path) -> Character:
    """Read a character; ``path`` is named in errors, and where a voice prompt is looked for."""
    try:
        tree = yaml.compose(text, Loader=yaml.SafeLoader)
        values = yaml.safe_load(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"{path}, line {mark.line + 1}" if mark else str(path)
        problem = getattr(error, "problem", None) or str(error)
        raise ConfigurationError(f"{where}: this is no YAML: {problem}.", "bad_yaml") from error
    if not isinstance(values, Mapping) or tree is None:
        raise ConfigurationError(
            f"{path}: a character is a list of keys with values, `name:` among them.",
            "bad_character",
        )
    try:
        character = Character.model_validate(dict(values))
    except ShapeError as error:
        lines = [_problem(entry["loc"], entry, tree, path) for entry in error.errors()]
        raise ConfigurationError("\n".join(dict.fromkeys(lines)), "bad_character") from error
    _check_traits(character, tree, path)
    if character.voice_prompt is None:
        return character
    voice = path.parent / character.voice_prompt
    if not voice.is_file():
        raise ConfigurationError(
            f"{_at(('voice_prompt',), tree, path)}: there is no file {voice}; name a sound file "
            "that lies beside the character, or leave voice_prompt out.",
            "bad_character",
        )
    return character.model_copy(update={"voice_prompt": str(voice)})


def _check_traits(character: Character, tree: yaml.Node, path: Path) -> None:
    for section, named in (("traits", character.traits), ("bounds", character.bounds)):
        for trait in named:
            if trait not in TRAITS:
                near = difflib.get_close_matches(trait, TRAITS, 1)
                hint = f"did you mean {near[0]!r}? " if near else ""
                raise ConfigurationError(
                    f"{_at((section, trait), tree, path)}: {trait!r} is no trait; {hint}there "
                    f"are {', '.join(TRAITS)}.",
                    "bad_character",
                )
    for trait, (low, high) in character.bounds.items():
        if low > high:
            raise ConfigurationError(
                f"{_at(('bounds', trait), tree, path)}: the bounds of {trait} are [{low:g}, "
                f"{high:g}]; the lower one comes first.",
                "bad_character",
            )


def _problem(
    loc: tuple[int | str, ...], entry: Mapping[str, object], tree: yaml.Node, path: Path
) -> str:
    key = ".".join(str(part) for part in loc)
    where, kind = _at(loc, tree, path), str(entry["type"])
    if kind == "extra_forbidden":
        near = difflib.get_close_matches(str(loc[-1]), Character.model_fields, 1)
        hint = f"did you mean {near[0]!r}? " if near else ""
        return f"{where}: {key!r} is not known; {hint}keys: {', '.join(Character.model_fields)}."
    if kind == "missing":
        return f"{path}: {key!r} is missing; every character has one."
    if loc[0] in ("traits", "bounds") and len(loc) > 1:
        allowed = "a number from 0 to 1" if loc[0] == "traits" else "[low, high], each 0 to 1"
        return f"{where}: {key} is {entry['input']!r}, but must be {allowed}."
    return f"{where}: {key!r}: {entry['msg']}."


def _at(loc: tuple[int | str, ...], tree: yaml.Node, path: Path) -> str:
    """The place of a key in the file, as far as it can be found."""
    node, line = tree, tree.start_mark.line
    for part in loc:
        if isinstance(node, yaml.MappingNode):
            found = next(((k, v) for k, v in node.value if k.value == str(part)), None)
            if found is None:
                break
            line, node = found[0].start_mark.line, found[1]
        elif isinstance(node, yaml.SequenceNode) and isinstance(part, int):
            node = node.value[part]
            line = node.start_mark.line
    return f"{path}, line {line + 1}"
