"""Read a set of labelled utterances, and part it into what is learnt from and what is held out.

The format: ``[kind]`` opens a kind, each line is an utterance, ``A | B`` is B said after A
was answered, ``#`` a remark. Every fifth utterance of a kind is held out.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple, cast

from coda_voice.errors import ValidationError
from coda_voice.hybrid.route_rules import KINDS, Kind


class Utterance(NamedTuple):
    """What was said, after what (None: after nothing), and its right kind."""

    text: str
    previous: str | None
    kind: Kind
    held_out: bool
    idea: int
    """Phrasings of one idea share this number."""


def read_utterances(path: Path) -> list[Utterance]:
    """Read all utterances of ``path``. Raises ValidationError for a kind that is unknown."""
    found: list[Utterance] = []
    kind: Kind | None = None
    count = idea = 0
    for line in path.read_text("utf-8").splitlines():
        line = line.strip()
        if line.startswith("["):
            if line[1:-1] not in KINDS:
                raise ValidationError(f"{path.name}: {line} is no kind; there are {KINDS}.")
            kind, count = cast(Kind, line[1:-1]), 0
        elif not line:
            idea += 1
        elif not line.startswith("#"):
            if kind is None:
                raise ValidationError(f"{path.name}: {line!r} stands before the first [kind].")
            before, _, text = line.rpartition(" | ")
            count += 1
            found.append(Utterance(text, before or None, kind, count % 5 == 0, idea))
    return found
