"""The table of events in docs/reference/events.md, made of the types: ``python -m`` this module."""

from __future__ import annotations

import inspect

from coda_voice.events import EVENT_TYPES, Event

COMMON = tuple(Event.model_fields)


def table() -> str:
    """Give the table in Markdown: type, when it comes, its own fields."""
    lines = ["| type | when | fields |", "|---|---|---|"]
    for kind in EVENT_TYPES:
        name = kind.model_fields["type"].default
        when = inspect.cleandoc(kind.__doc__ or "").split("\n\n")[0].replace("\n", " ")
        fields = ", ".join(
            f"`{field}`: {_shown(info.annotation)}"
            for field, info in kind.model_fields.items()
            if field not in COMMON
        )
        lines.append(f"| `{name}` | {_cell(when)} | {_cell(fields)} |")
    return "\n".join(lines) + "\n"


def _shown(annotation: object) -> str:
    text = inspect.formatannotation(annotation)
    return text.replace("coda_voice.events.", "").replace("typing.", "")


def _cell(text: str) -> str:
    return text.replace("``", "`").replace("|", "\\|")


if __name__ == "__main__":
    print(table(), end="")
