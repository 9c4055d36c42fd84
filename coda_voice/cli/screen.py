"""The conversation on the screen: a live transcript with level meters, or plain lines.

``LiveScreen`` redraws a terminal in place; ``PlainScreen`` prints each line once, when it is
complete: for pipes, files and terminals that cannot be redrawn. Colours follow NO_COLOR.
"""

from __future__ import annotations

import time
from types import TracebackType
from typing import Self

from rich.console import Console, Group
from rich.live import Live
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from coda_voice.audio.features import level_dbfs
from coda_voice.cli.record import Line, Record
from coda_voice.moshi.frames import Pcm

COLOURS = {"user": "cyan", "agent": "green", "typed": "cyan", "heard": "blue", "llm": "magenta"}
SETTLED_SECONDS = 1.0
"""An agent's last word may become known so long after its sound has ended."""
_QUIETEST_DBFS = -60.0
_METER_CELLS = 24
_REDRAWS_A_SECOND = 12.0


class Screen:
    """Shows a record while it grows; use as a context manager."""

    def __init__(self, console: Console, record: Record) -> None:
        self.console = console
        self.record = record

    def frame(self, user: Pcm, agent: Pcm) -> None:
        """Show that 80 ms have passed."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Show what has not been shown yet."""


def open_screen(console: Console, record: Record) -> Screen:
    """Give the screen that suits the terminal."""
    return (LiveScreen if console.is_interactive else PlainScreen)(console, record)


class PlainScreen(Screen):
    """One line of text for each stretch of speech, in order."""

    def __init__(self, console: Console, record: Record) -> None:
        super().__init__(console, record)
        self._shown: tuple[float, str] = (-1.0, "")

    def frame(self, user: Pcm, agent: Pcm) -> None:
        """Print the lines that are complete."""
        self._show_until(self.record.seconds - SETTLED_SECONDS)

    def __exit__(self, *_: object) -> None:
        """Print the rest."""
        self._show_until(float("inf"))

    def _show_until(self, certain: float) -> None:
        for line in self.record.lines():
            if (line.start, line.speaker) <= self._shown:
                continue
            if certain != float("inf") and (line.end is None or line.end > certain):
                return
            self._shown = (line.start, line.speaker)
            self.console.print(transcript_line(line), soft_wrap=True)


class LiveScreen(Screen):
    """The last lines and a meter for each side, redrawn in place."""

    def __init__(self, console: Console, record: Record) -> None:
        super().__init__(console, record)
        self._live = Live(console=console, auto_refresh=False)
        self._levels = {"user": _QUIETEST_DBFS, "agent": _QUIETEST_DBFS}
        self._drawn = 0.0

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def frame(self, user: Pcm, agent: Pcm) -> None:
        """Redraw, a dozen times a second at most."""
        for speaker, pcm in (("user", user), ("agent", agent)):
            # Falls slowly, so that a meter can be read.
            self._levels[speaker] = max(level_dbfs(pcm), self._levels[speaker] - 6.0)
        now = time.monotonic()
        if now - self._drawn >= 1 / _REDRAWS_A_SECOND:
            self._drawn = now
            self._live.update(self._picture(), refresh=True)

    def __exit__(self, *_: object) -> None:
        """Leave the whole transcript on the screen, without the meters."""
        lines = [transcript_line(line) for line in self.record.lines()]
        self._live.update(Group(*lines), refresh=True)
        self._live.stop()

    def _picture(self) -> Group:
        room = max(4, self.console.height - 6)
        lines = [transcript_line(line) for line in self.record.lines()[-room:]]
        for line in lines:
            line.no_wrap, line.overflow = True, "ellipsis"
        meters = Table.grid(padding=(0, 1))
        for speaker, level in self._levels.items():
            meters.add_row("         ", speaker.ljust(5), meter(level, COLOURS[speaker]))
        clock = Text(f"{self.record.seconds:7.1f} s", style="dim")
        return Group(*lines, Text(), meters, clock)


def meter(level: float, colour: str) -> Text:
    """Draw a level in dBFS as a bar, −60 to 0."""
    share = min(1.0, max(0.0, 1 - level / _QUIETEST_DBFS))
    filled = round(share * _METER_CELLS)
    bar = Text("█" * filled, style=colour)
    bar.append("·" * (_METER_CELLS - filled), style="dim")
    bar.append(f" {level:4.0f} dB" if level > _QUIETEST_DBFS else "   quiet", style="dim")
    return bar


def transcript_line(line: Line) -> Text:
    """Draw one stretch of speech: when, who, what, and what is to be said about it."""
    text = line.text
    if not text:
        length = "" if line.end is None else f" for {line.end - line.start:.1f} s"
        text = f"(speaks{length})" if line.speaker == "user" else "(no words)"
    colour = COLOURS[line.speaker]
    shown = f"[dim]{line.start:7.1f} s[/]  [{colour}]{line.speaker:<5}[/]  {escape(text)}"
    if line.note:
        shown += f"   [dim]{escape(line.note)}[/]"
    return Text.from_markup(shown)
