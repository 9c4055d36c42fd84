"""Parts of the terminal UI: a list to choose from."""

from __future__ import annotations

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.screen import ModalScreen
from textual.widgets import OptionList


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
