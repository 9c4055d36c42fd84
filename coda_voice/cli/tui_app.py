"""The terminal UI: who speaks, both transcripts, what was routed and why, how fast it answers."""

from __future__ import annotations

import asyncio
import statistics
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
from rich.text import Text
from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.widgets import Footer, Header, Input, RichLog, Sparkline, Static

from coda_voice.audio.features import level_dbfs
from coda_voice.cli.tui_parts import Choice
from coda_voice.cli.tui_thoughts import Fields, thought
from coda_voice.errors import MoshiConnectionError, VoiceProcessingError
from coda_voice.moshi.frames import Pcm
from coda_voice.remote import RemoteConversation, RemoteFrame, RemoteMessage

FIRST_PAUSE_SECONDS, LAST_PAUSE_SECONDS = 0.25, 4.0
"""Between two tries to connect again; each is twice the one before."""
LATENCIES = 60
LINES = 2_000
FLOOR_DBFS = -60.0
METER_CELLS = 24
NEXT_MODE = {"moshi_only": "hybrid", "hybrid": "adaptive", "adaptive": "moshi_only"}


@dataclass(frozen=True, slots=True)
class Conversation:
    """A conversation on a server, the user's sound into it, and where the agent's goes.

    ``personalities``: the names of those whom the agent can be.
    """

    remote: RemoteConversation
    microphone: AsyncIterator[Pcm]
    play: Callable[[Pcm], None]
    personalities: list[str] = field(default_factory=list)


class VoiceApp(App[None]):
    """Shows one conversation, and says what the user types."""

    TITLE = "Coda Voice"
    CSS = """
    #desk { height: 1fr; }
    #said { width: 3fr; border: round $primary; padding: 0 1; }
    #side { width: 2fr; }
    #thoughts { border: round $primary; padding: 0 1; }
    #latency { height: 6; border: round $primary; padding: 0 1; }
    #partial { height: 1; color: $text-muted; padding: 0 2; }
    #meters { height: 1; padding: 0 2; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("ctrl+q", "quit", "End"),
        Binding("f2", "mute", "Mute"),
        Binding("f3", "interrupt", "Interrupt"),
        Binding("f4", "mode", "Mode"),
        Binding("f5", "personality", "Personality"),
    ]

    def __init__(self, conversation: Conversation) -> None:
        super().__init__()
        self.talk = conversation
        self.muted = False
        self.frames = 0
        ready = conversation.remote.ready
        self.mode = ready.text("mode") if ready is not None else "moshi_only"
        self.personality = ready.text("personality") if ready is not None else ""
        self.dropped = {"output": 0, "input": 0}
        """Frames of the agent that came too late for this line; frames of the user's likewise."""
        self._server_ends: float | None = None
        self._over = False
        self._ended = ""
        self._latencies: deque[float] = deque(maxlen=LATENCIES)
        self._llm_seconds: float | None = None
        """From the end of the user's speech to the first word of the LLM's last answer."""
        self._sentence: list[str] = []
        self._levels = {"user": FLOOR_DBFS, "agent": FLOOR_DBFS}
        self._speaking = {"user": False, "agent": False}

    def compose(self) -> ComposeResult:
        """Lay the parts out."""
        yield Header()
        with Horizontal(id="desk"):
            yield RichLog(id="said", wrap=True, max_lines=LINES)
            with Vertical(id="side"):
                yield RichLog(id="thoughts", wrap=True, max_lines=LINES)
                with Vertical(id="latency"):
                    yield Static("no answer yet", id="latency_text")
                    yield Sparkline([], id="latency_plot")
        yield Static("", id="partial")
        yield Static("", id="meters")
        yield Input(placeholder="Write instead of speaking", max_length=2_000)
        yield Footer()

    def on_mount(self) -> None:
        """Name the parts, and let the conversation run."""
        self.query_one("#said").border_title = "What was said"
        self.query_one("#thoughts").border_title = "What it thinks"
        self.query_one("#latency").border_title = "Latency"
        self._show_state()
        self.run_worker(self._speak(), name="microphone", exit_on_error=False)
        self.run_worker(self._listen(), name="server", exit_on_error=False)
        self.set_interval(0.1, self._show_meters)
        self.set_interval(1.0, self._show_state)

    # ---- both ways ------------------------------------------------------------------------

    async def _speak(self) -> None:
        async for pcm in self.talk.microphone:
            heard = np.zeros_like(pcm) if self.muted else pcm
            self._levels["user"] = level_dbfs(heard)
            try:
                await self.talk.remote.send(heard)
            except MoshiConnectionError:
                if self._over:  # otherwise what is said meanwhile goes unheard, as on any line
                    return

    async def _listen(self) -> None:
        try:
            while True:
                try:
                    await self._hear()
                    why = f": {self._ended}" if self._ended else ""
                    self.notify(f"The conversation has ended{why}.")
                    return
                except MoshiConnectionError as error:
                    if self._ended:  # and the server has hung up
                        self.notify(f"The conversation has ended: {self._ended}.")
                        return
                    if error.error_code != "lost":
                        raise
                await self._take_up()
        except VoiceProcessingError as error:
            self.notify(error.message, severity="error", timeout=30)
        finally:
            self._over = True

    async def _hear(self) -> None:
        async for message in self.talk.remote.messages():
            if isinstance(message, RemoteFrame):
                self.frames += 1
                self._levels["agent"] = level_dbfs(message.pcm)
                self.talk.play(message.pcm)
            else:
                self._show(message)

    async def _take_up(self) -> None:
        """Connect to the conversation again, for as long as the server keeps it."""
        remote, clock = self.talk.remote, asyncio.get_running_loop()
        kept = remote.ready.number("resume_seconds") if remote.ready is not None else 0.0
        self._line("thoughts", "connection", "lost; taking the conversation up again", "red")
        until, pause = clock.time() + kept, FIRST_PAUSE_SECONDS
        while True:
            try:
                await remote.resume()
            except VoiceProcessingError as error:  # one of them: no room for a moment
                if error.error_code == "resume_unknown" or clock.time() + pause > until:
                    raise
            else:
                missed = remote.ready is not None and remote.ready.fields.get("missed") is True
                lost = "; some of what happened meanwhile is lost" if missed else ""
                self._line("thoughts", "connection", f"there again{lost}", "green")
                return
            await asyncio.sleep(pause)
            pause = min(2 * pause, LAST_PAUSE_SECONDS)

    async def _tell(self, kind: str, **fields: object) -> None:
        try:
            await self.talk.remote.tell(kind, **fields)
        except VoiceProcessingError as error:
            self.notify(error.message, severity="error")

    # ---- what the user does ---------------------------------------------------------------

    async def on_input_submitted(self, event: Input.Submitted) -> None:
        """Say what was typed."""
        text = event.value.strip()
        event.input.clear()
        if text:
            await self._tell("text", text=text)

    def action_mute(self) -> None:
        """Send silence, or the microphone again."""
        self.muted = not self.muted

    async def action_interrupt(self) -> None:
        """Have the agent stop speaking."""
        await self._tell("interrupt")

    async def action_mode(self) -> None:
        """Go on in the next mode."""
        await self._tell("mode", mode=NEXT_MODE.get(self.mode, "moshi_only"))

    def action_personality(self) -> None:
        """Choose who the agent is."""
        if self.talk.personalities:
            self.push_screen(Choice("Who it is", self.talk.personalities), self._become)
        else:
            self.notify("This server has no personalities to choose from.")

    def _become(self, name: str | None) -> None:
        if name is not None:
            self.run_worker(self._tell("personality", name=name))

    # ---- what is shown --------------------------------------------------------------------

    def _show(self, message: RemoteMessage) -> None:
        if message.type == "transcript":
            self._transcript(message)
        elif message.type == "speech":
            self._speaking[message.text("speaker")] = message.fields.get("speaking") is True
            if message.text("speaker") == "agent" and not message.fields.get("speaking"):
                self._end_sentence()
        elif message.text("status") == "ended":
            self._ended = message.text("reason").replace("_", " ") or "by the server"
        elif message.text("status") == "personality":
            who = message.fields.get("personality")
            self.personality = str(who.get("name") or "") if isinstance(who, Mapping) else ""
            self._show_state()
        elif message.text("status") == "draining":
            self._draining(message.number("seconds"))
        elif message.text("status") == "dropped":
            self._lost(message.text("where"), message.fields.get("frames"))
        elif message.type == "error":
            self.notify(message.text("message"), severity="warning")
        elif message.type == "event":
            event = message.fields.get("event")
            if isinstance(event, Mapping):
                self._event(event)

    def _transcript(self, message: RemoteMessage) -> None:
        text = message.text("text")
        if message.text("speaker") == "agent":
            self._sentence.append(text)
            self._partial("Coda", " ".join(self._sentence))
        elif message.fields.get("final") and text:
            self._end_sentence()
            self._line("said", "You", text, "cyan")
            self._partial("", "")
        elif text:
            self._partial("You", text)

    def _end_sentence(self) -> None:
        if self._sentence:
            self._line("said", "Coda", " ".join(self._sentence), "dark_orange")
            self._sentence.clear()
            self._partial("", "")

    def _event(self, event: Fields) -> None:
        kind = event.get("type")
        if kind in ("turn_latency", "answer_latency"):
            self._latency(kind, event.get("seconds"))
        elif kind == "mode_changed":
            self.mode = str(event.get("mode"))
            self._show_state()
        elif kind == "frames_dropped":  # in the engine, which has told nobody else
            self._lost("input" if event.get("where") == "inbox" else "output", event.get("count"))
        said = thought(event)
        if said is not None:
            self._line("thoughts", *said)

    def _latency(self, kind: str, seconds: object) -> None:
        if not isinstance(seconds, (int, float)):
            return
        if kind == "answer_latency":
            self._llm_seconds = float(seconds)
        else:
            self._latencies.append(float(seconds))
            self.query_one("#latency_plot", Sparkline).data = list(self._latencies)
        said = []
        if self._latencies:
            middle, last = statistics.median(self._latencies), self._latencies[-1]
            said.append(f"median {middle:.2f} s, last {last:.2f} s")
        if self._llm_seconds is not None:
            said.append(f"LLM {self._llm_seconds:.2f} s")
        self.query_one("#latency_text", Static).update(", ".join(said))

    def _line(self, where: str, who: str, text: str, style: str) -> None:
        self.query_one(f"#{where}", RichLog).write(
            Text.assemble((f"{who}  ", f"bold {style}"), text)
        )

    def _partial(self, who: str, text: str) -> None:
        self.query_one("#partial", Static).update(Text(f"{who}: {text}…" if text else ""))

    def _draining(self, seconds: float) -> None:
        self._server_ends = asyncio.get_running_loop().time() + seconds
        said = f"is going down; the conversation may go on for {seconds:.0f} s"
        self._line("thoughts", "server", said, "red")
        self.notify(f"The server {said}.", severity="warning")
        self._show_state()

    def _lost(self, where: str, frames: object) -> None:
        more = round(frames) if isinstance(frames, (int, float)) else 0
        self.dropped[where] = self.dropped.get(where, 0) + more
        self._show_state()

    def _show_state(self) -> None:
        parts = [self.mode.replace("_", " "), self.personality]
        for where, whose in (("output", "Coda's"), ("input", "your")):
            if self.dropped[where]:
                parts.append(f"{self.dropped[where]} of {whose} frames lost")
        if self._server_ends is not None and not self._over:
            left = max(0.0, self._server_ends - asyncio.get_running_loop().time())
            parts.append(f"server ends in {left:.0f} s")
        self.sub_title = " · ".join(part for part in parts if part)

    def _show_meters(self) -> None:
        line = Text()
        for who, name, style in (("user", "You", "cyan"), ("agent", "Coda", "dark_orange")):
            share = max(0.0, 1 - self._levels[who] / FLOOR_DBFS)
            cells = min(METER_CELLS, round(share * METER_CELLS))
            line.append(f"{'●' if self._speaking[who] else '○'} {name} ", style)
            line.append("█" * cells, style)
            line.append("·" * (METER_CELLS - cells) + "   ", "dim")
        line.append("muted" if self.muted else "", "bold red")
        # None while the screen is being taken down: the timer may fire once more.
        for meters in self.query("#meters").results(Static):
            meters.update(line)
