"""A report that grows while it is measured: a run that is cut off keeps what it has found.

The parts of an earlier run stay until they are measured again; each says when that was, and
with which weights of coda-tiny.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

import coda_voice

Row = dict[str, Any]


def weights() -> str:
    """Name the weights of coda-tiny by the beginning of their hash."""
    tiny = Path(coda_voice.__file__).parent / "tiny"
    digest = hashlib.sha256()
    for name in ("moshi.safetensors", "mimi.safetensors", "stt/model.safetensors"):
        digest.update((tiny / name).read_bytes())
    return digest.hexdigest()[:12]


@dataclass
class Report:
    """A JSON file of parts; each has its values and the bars they are held against."""

    path: Path
    parts: dict[str, Row] = field(default_factory=dict)

    @classmethod
    def at(cls, path: Path) -> Report:
        """Go on with what is in the file, if anything."""
        return cls(path, json.loads(path.read_text(encoding="utf-8")) if path.exists() else {})

    def put(self, part: str, values: object, bars: list[Row], *, complete: bool = True) -> None:
        """Write what a part has found so far; ``complete`` when it is measured to the end."""
        self.parts[part] = {
            "measured": datetime.now(UTC).isoformat(timespec="seconds"),
            "coda_tiny": weights(),
            "complete": complete,
            "bars": bars,
            "values": values,
        }
        self.path.parent.mkdir(parents=True, exist_ok=True)
        beside = self.path.with_suffix(".part")
        beside.write_text(json.dumps(self.parts, indent=1) + "\n", encoding="utf-8")
        beside.replace(self.path)

    def print_bars(self, console: Console) -> None:
        """Print a row for each bar: what was found, what is wanted, whether it holds."""
        shown = Table(title="Bars", title_justify="left")
        for column in ("part", "bar", "value", "wanted", "holds"):
            shown.add_column(column)
        for name, part in self.parts.items():
            for row in part["bars"]:
                none = "not measured" if row["value"] is None else ""
                holds = {True: "yes", False: "NO", None: none}[row["holds"]]
                shown.add_row(name, row["bar"], shortly(row["value"]), row["wanted"], holds)
        console.print(shown)


def bar(name: str, value: float | None, wanted: str, holds: bool) -> Row:
    """Make a row of a bar; one without a value was not measured, and neither holds nor fails."""
    return {
        "bar": name,
        "value": value,
        "wanted": wanted,
        "holds": None if value is None else bool(holds),
    }


def shortly(value: object) -> str:
    """Give a value as it is shown in a table."""
    if value is None:
        return "-"
    return f"{value:.2f}" if isinstance(value, float) else str(value)


def print_rows(console: Console, title: str, rows: list[Row]) -> None:
    """Print rows of plain values; lists in them are left to the JSON."""
    shown = Table(title=title, title_justify="left")
    keys = [key for key in rows[0] if not isinstance(rows[0][key], list)] if rows else []
    for key in keys:
        shown.add_column(key)
    for row in rows:
        shown.add_row(*(shortly(row[key]) for key in keys))
    console.print(shown)
