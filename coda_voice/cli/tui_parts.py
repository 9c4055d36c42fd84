"""Parts of the terminal UI: a list to choose from, and which events are worth a line."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.screen import ModalScreen
from textual.widgets import OptionList

Fields = Mapping[str, object]


class Choice(ModalScreen[str | None]):
    """A list to choose one from; None when nothing is chosen."""

    CSS = """
    Choice { align: center middle; }
    Choice OptionList { width: 40; max-height: 80%; border: round $primary; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape", "dismiss", "Back")]

    def __init__(self, title: str, names: list[str]) -> None:
        super().__init__()
        self._title, self._names = title, names

    def compose(self) -> ComposeResult:
        """Show the list."""
        options = OptionList(*self._names)
        options.border_title = self._title
        yield options

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        """Give the chosen one back."""
        self.dismiss(self._names[event.option_index])


def thought(event: Fields) -> tuple[str, str, str] | None:
    """Give who, what and its style for an event worth a line; None for the rest."""
    match event.get("type"):
        case "route_decided" if not event.get("partial"):
            return "route", f"{event.get('target')}: {_listed(event.get('reasons'))}", "green"
        case "reasoning_started":
            return "asks", f"{event.get('llm')}", "blue"
        case "reasoning_ended" if event.get("code"):
            return _reasoning_failed(event)
        case "sentence_ready":
            return "says", f"{event.get('text')}{_offline(event)}", "blue"
        case "tool_started":
            return (
                "tool",
                f"{event.get('tool')} {event.get('arguments')}{_offline(event)}",
                "magenta",
            )
        case "tool_ended":
            return (
                "tool",
                f"{event.get('tool')}: {event.get('outcome')}{_offline(event)}",
                "magenta",
            )
        case "memory" if event.get("injected"):
            return "remembers", _listed(event.get("injected")), "yellow"
        case "barge_in":
            return "interrupted", "", "red"
        case "mode_changed":
            return "mode", f"{event.get('mode')}", "white"
        case "attendant_failed" | "error" | "no_transcript":
            return "fault", f"{event.get('message') or event.get('reason')}", "red"
    return None


def _reasoning_failed(event: Fields) -> tuple[str, str, str]:
    """Whom was asked first could not answer: who did in its place, if anybody, and why."""
    if event.get("outcome") == "failed":
        return "fault", f"{event.get('llm')}: {event.get('detail')}", "red"
    return "answers", f"{event.get('llm')} instead: {event.get('detail')}", "yellow"


def _offline(event: Fields) -> str:
    return " (offline)" if event.get("offline") else ""


def _listed(values: object) -> str:
    return "; ".join(map(str, values)) if isinstance(values, (list, tuple)) else ""
