"""A picture of a conversation: who spoke when, which words, how fast, and who interrupted.

Drawn like a score: the time runs in systems of some ten seconds from top to bottom, each
with the user's sound above and the agent's below, at the same scale.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from coda_voice.cli.record import Line, Record
from coda_voice.errors import AudioProcessingError
from coda_voice.events import BargeIn, SessionRenewed, TurnLatency, WordSpoken
from coda_voice.moshi.frames import SAMPLE_RATE, Pcm

SYSTEM_SECONDS = 11.0
"""The longest system; one may end earlier, in a pause, rather than cut through speech."""
LONGEST_SECONDS = 300.0
"""Of a longer conversation only the beginning is drawn."""

USER, AGENT, ALERT, FAINT, INK = "#1f77b4", "#2a9d5c", "#c8372d", "#8a8f98", "#22262b"
USER_LANE, AGENT_LANE, HALF_LANE = 1.0, -1.0, 0.62
_INCHES_PER_SECOND = 1.22
_SYSTEM_INCHES = 1.95
_CHARACTER_SECONDS = 0.074
"""Width of a letter of a word, in seconds of the time axis."""
_WORD_ROWS = (-1.98, -2.36, -2.74)
_COLUMN_SECONDS = 0.012


@dataclass(frozen=True, slots=True)
class System:
    """One strip of the picture: from ``start`` to ``end`` seconds."""

    start: float
    end: float

    def holds(self, time: float) -> bool:
        """Whether ``time`` falls into it."""
        return self.start <= time < self.end


def draw_timeline(record: Record, target: Path, title: str, subtitle: str = "") -> None:
    """Write the picture of ``record`` (which kept its audio) as a PNG.

    Raises AudioProcessingError when the file cannot be written.
    """
    seconds = max(1.0, min(record.seconds, LONGEST_SECONDS))
    lines = [line for line in record.lines() if line.speaker in ("user", "agent")]
    systems = cut_into_systems(lines, seconds)
    head = 1.15
    height = head + _SYSTEM_INCHES * len(systems) + 0.3
    width = SYSTEM_SECONDS * _INCHES_PER_SECOND + 1.0
    figure = Figure(figsize=(width, height), facecolor="white")
    FigureCanvasAgg(figure)
    left = 0.75 / width
    figure.text(left, 1 - 0.38 / height, title, fontsize=17, weight="bold", color=INK)
    figure.text(left, 1 - 0.66 / height, subtitle, fontsize=10, color=FAINT)
    _legend(figure, left, 1 - 0.92 / height, width)
    loudest = max(_peak(record.user), 1e-3), max(_peak(record.agent), 1e-3)
    for index, system in enumerate(systems):
        top = head + index * _SYSTEM_INCHES
        box = (
            left,
            1 - (top + _SYSTEM_INCHES * 0.94) / height,
            (system.end - system.start) * _INCHES_PER_SECOND / width,
            _SYSTEM_INCHES * 0.88 / height,
        )
        axes = figure.add_axes(box)
        _frame(axes, system)
        _sound(axes, system, record.user, USER_LANE, USER, loudest[0])
        _sound(axes, system, record.agent, AGENT_LANE, AGENT, loudest[1])
        _spans(axes, system, lines)
        _user_texts(axes, system, lines)
        _words(axes, system, list(record.words))
        for latency in record.latencies:
            _latency(axes, system, latency)
        for barge_in in record.barge_ins:
            _barge_in(axes, system, barge_in)
        for renewal in record.renewals:
            if system.holds(renewal.time):
                _renewal(axes, renewal)
    try:
        figure.savefig(target, dpi=110, metadata={"Software": "coda-voice"})
    except OSError as error:
        raise AudioProcessingError(
            f"{target} cannot be written: {error.strerror}. Check the folder and the disk.",
            path=str(target),
        ) from error


def cut_into_systems(lines: list[Line], seconds: float) -> list[System]:
    """Cut the time into systems, in a pause where there is one in their last third."""
    busy = [(line.start, seconds if line.end is None else line.end) for line in lines]
    cuts = [0.0]
    while (rest := seconds - cuts[-1]) > SYSTEM_SECONDS:
        # About equally long ones, so that no stub of a second is left at the end.
        latest = cuts[-1] + min(SYSTEM_SECONDS, rest / np.ceil(rest / SYSTEM_SECONDS) + 1.0)
        candidates = np.arange(latest, latest - SYSTEM_SECONDS / 2, -0.1)
        free = (
            t for t in candidates if not any(begin - 0.3 < t < end + 0.3 for begin, end in busy)
        )
        cuts.append(float(next(free, latest)))
    return [System(a, b) for a, b in zip(cuts, [*cuts[1:], seconds], strict=True)]


def _peak(pcm: Pcm) -> float:
    return float(np.abs(pcm).max()) if len(pcm) else 0.0


def _legend(figure: Figure, left: float, y: float, width: float) -> None:
    entries = [
        ("user", USER),
        ("agent, with the words of its inner monologue", AGENT),
        ("from the user's last sound to the agent's first", INK),
        ("interruption, until the agent is silent", ALERT),
    ]
    x = left
    for text, colour in entries:
        figure.text(x, y, "■", fontsize=9, color=colour)
        figure.text(x + 0.17 / width, y, text, fontsize=9, color=INK)
        x += (0.45 + 0.071 * len(text)) / width


def _frame(axes: Axes, system: System) -> None:
    axes.set_xlim(system.start, system.end)
    axes.set_ylim(-3.0, 2.6)
    for side in ("top", "left", "right"):
        axes.spines[side].set_visible(False)
    axes.spines["bottom"].set_color("#d5d8dc")
    axes.set_yticks([])
    ticks = np.arange(np.ceil(system.start), system.end, 1.0)
    axes.set_xticks(ticks)
    axes.set_xticklabels([f"{t:.0f} s" for t in ticks])
    axes.tick_params(axis="x", colors=FAINT, labelsize=7.5, length=2, pad=2)
    for lane, name, colour in ((USER_LANE, "user", USER), (AGENT_LANE, "agent", AGENT)):
        axes.axhline(lane, color=colour, lw=0.6, alpha=0.35)
        axes.annotate(
            name, (0, lane), (-6, 0), xycoords=("axes fraction", "data"),
            textcoords="offset points", ha="right", va="center", size=9.5, color=colour,
            weight="bold",
        )  # fmt: skip


def _sound(axes: Axes, system: System, pcm: Pcm, lane: float, colour: str, loudest: float) -> None:
    part = pcm[int(system.start * SAMPLE_RATE) : int(system.end * SAMPLE_RATE)]
    step = int(_COLUMN_SECONDS * SAMPLE_RATE)
    whole = len(part) // step
    if not whole:
        return
    peaks = np.abs(part[: whole * step]).reshape(whole, step).max(axis=1) / loudest * HALF_LANE
    time = system.start + (np.arange(whole) + 0.5) * _COLUMN_SECONDS
    axes.fill_between(time, lane - peaks, lane + peaks, color=colour, lw=0)


def _spans(axes: Axes, system: System, lines: list[Line]) -> None:
    for line in lines:
        end = system.end if line.end is None else min(line.end, system.end)
        start = max(line.start, system.start)
        if end > start:
            lane, colour = (USER_LANE, USER) if line.speaker == "user" else (AGENT_LANE, AGENT)
            axes.fill_between([start, end], lane - 0.7, lane + 0.7, color=colour, alpha=0.09, lw=0)


def _user_texts(axes: Axes, system: System, lines: list[Line]) -> None:
    free_from = [system.start, system.start]
    for line in lines:
        if line.speaker != "user" or not line.text or not system.holds(line.start):
            continue
        row = 0 if line.start >= free_from[0] else 1
        free_from[row] = line.start + (len(line.text) + 10) * _CHARACTER_SECONDS * 1.1
        y = 1.92 + 0.42 * row
        said = axes.text(line.start, y, line.text, size=9.5, color=USER, va="center")
        axes.annotate(
            "  script", (1, 0.5), xycoords=said, size=7, color=FAINT, va="center", style="italic"
        )


def _words(axes: Axes, system: System, words: list[WordSpoken]) -> None:
    free_from = [system.start] * len(_WORD_ROWS)
    for word in words:
        if not system.holds(word.start):
            continue
        fits = [row for row, free in enumerate(free_from) if word.start >= free]
        row = fits[0] if fits else int(np.argmin(free_from))
        length = len(word.text) * _CHARACTER_SECONDS + 0.06
        free_from[row] = word.start + length
        x = min(word.start, system.end - length)
        axes.plot([word.start] * 2, [-1.64, _WORD_ROWS[row] + 0.17], color=AGENT, lw=0.6, alpha=0.5)
        axes.text(x, _WORD_ROWS[row], word.text, size=9, color=INK, va="center")


def _latency(axes: Axes, system: System, latency: TurnLatency) -> None:
    begin, end = latency.time - latency.seconds, latency.time
    if not (system.holds(begin) or system.holds(end)):
        return
    shown = [max(begin, system.start), min(end, system.end)]
    axes.plot(shown, [0.0, 0.0], color=INK, lw=1.0)
    for cap in (begin, end):
        if system.holds(cap):
            axes.plot([cap] * 2, [-0.13, 0.13], color=INK, lw=1.0)
    if system.holds(end):
        axes.text(end + 0.06, 0.02, f"{latency.seconds:.2f} s", size=8.5, color=INK, va="center")


def _barge_in(axes: Axes, system: System, barge_in: BargeIn) -> None:
    if not system.holds(barge_in.time):
        return
    axes.plot([barge_in.time] * 2, [-1.7, 1.7], color=ALERT, lw=1.2, ls=(0, (3, 2)))
    text = "interrupted"
    right = barge_in.time
    if barge_in.silent_after is not None:
        right = min(barge_in.time + barge_in.silent_after, system.end)
        axes.fill_between([barge_in.time, right], -1.7, 1.7, color=ALERT, alpha=0.10, lw=0)
        text = f"interrupted, silent after {barge_in.silent_after:.2f} s"
    axes.text(right + 0.06, 0.02, text, size=8.5, color=ALERT, va="center")


def _renewal(axes: Axes, renewal: SessionRenewed) -> None:
    axes.plot([renewal.time], [-2.93], marker="^", ms=4, color=FAINT, clip_on=False)
    axes.text(renewal.time + 0.06, -2.8, "context renewed", size=7, color=FAINT, va="center")
