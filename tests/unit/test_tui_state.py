"""What the terminal UI shows of the server, of the line, and of what happens in a conversation."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator

from textual.pilot import Pilot
from textual.widgets import RichLog, Static

from coda_voice.cli.tui import silence
from coda_voice.cli.tui_app import Conversation, VoiceApp
from coda_voice.events import (
    EVENT_TYPES,
    AnswerLatency,
    AttendantFailed,
    BargeIn,
    Event,
    FramesDropped,
    MemoryInjected,
    MemoryStored,
    PersonalityAdapted,
    RefusedMemory,
    ScriptEnded,
    SentenceReady,
    SessionRenewed,
    SettingWithoutEffect,
    ToolEnded,
    ToolStarted,
    TurnLatency,
    VoiceFellBack,
)
from coda_voice.moshi.frames import Pcm
from coda_voice.remote import RemoteConversation, RemoteFrame, RemoteMessage


class Scripted(RemoteConversation):
    """A conversation whose server says what it is told to say."""

    def __init__(self) -> None:
        super().__init__("ws://nowhere")
        self.ready = RemoteMessage("status", {"status": "ready", "mode": "hybrid"})
        self.says: asyncio.Queue[RemoteMessage] = asyncio.Queue()

    async def send(self, pcm: Pcm) -> None:
        """Let it go."""

    async def messages(self) -> AsyncIterator[RemoteFrame | RemoteMessage]:
        """Give what is said."""
        while True:
            yield await self.says.get()


async def shown(pilot: Pilot[None], server: Scripted, *messages: RemoteMessage) -> None:
    """Have the server say that, and wait until it is shown."""
    for message in messages:
        server.says.put_nowait(message)
    while not server.says.empty():
        await pilot.pause(0.01)
    await pilot.pause(0.01)


def told(happened: Event) -> RemoteMessage:
    """Give the message by which a server tells an event."""
    return RemoteMessage("event", {"event": happened.model_dump(mode="json")})


def thoughts(app: VoiceApp) -> list[str]:
    """Give the lines of what it thinks, but for the colours."""
    return [strip.text.strip() for strip in app.query_one("#thoughts", RichLog).lines]


async def test_that_the_server_goes_down_and_what_the_line_loses_is_shown():
    server = Scripted()
    app = VoiceApp(Conversation(server, silence(), lambda pcm: None))
    async with app.run_test(size=(120, 40)) as pilot:

        async def said(**fields: object) -> str:
            await shown(pilot, server, RemoteMessage("status", fields))
            return app.sub_title

        assert app.sub_title == "hybrid"
        await said(status="dropped", where="output", frames=3)
        assert await said(status="dropped", where="output", frames=2) == (
            "hybrid · 5 of Coda's frames lost"
        )
        assert await said(status="dropped", where="input", frames=4) == (
            "hybrid · 5 of Coda's frames lost · 4 of your frames lost"
        )
        await said(status="dropped", where="of a later version", frames=None)
        title = await said(status="draining", seconds=30)
        assert re.search(r"lost · server ends in (30|[12]?\d) s$", title)
        assert any("going down" in line for line in thoughts(app))
        assert any("going down" in notice.message for notice in app._notifications)


STORED = MemoryStored(conversation_id="c", text="I like tea and live in Bern.")
LIKES, LIVES = "The user likes tea.", "The user lives in Bern."
REFUSED = (RefusedMemory(text="The user has a cat.", reason="another subject"),)
SCRIPT = ScriptEnded(
    conversation_id="c", origin="answer", outcome="interrupted", heard="It is", unsaid=1
)
SLOW_VOICE = VoiceFellBack(
    conversation_id="c", voice="hana", reason="slow", detail="2.0 s late in all"
)
TOOL = ToolEnded(conversation_id="c", call_id="1", tool="set_timer", outcome="never_started")


HAPPENED: list[tuple[Event, str | None]] = [
    (STORED, "will remember  I like tea and live in Bern."),
    (
        STORED.model_copy(update={"facts": (LIKES, LIVES)}),
        "will remember  The user likes tea.; The user lives in Bern.",
    ),
    (
        STORED.model_copy(update={"taken_back": (LIKES,)}),
        "holds no longer  The user likes tea.",
    ),
    (
        STORED.model_copy(update={"facts": (LIVES,), "taken_back": (LIKES,)}),
        "will remember  The user lives in Bern. (holds no longer: The user likes tea.)",
    ),
    (
        MemoryInjected(conversation_id="c", injected=(LIKES,), refused=REFUSED),
        "remembers  The user likes tea. (1 left out)",
    ),
    (
        MemoryInjected(conversation_id="c", refused=REFUSED),
        "remembers  nothing that fits (1 left out)",
    ),
    (MemoryInjected(conversation_id="c", skipped="slow"), "remembers  nothing: slow"),
    (
        PersonalityAdapted(
            conversation_id="c", trait="warmth", before=0.5, after=0.6, because="be kind"
        ),
        "manner  warmth went from 0.50 to 0.60, because you said “be kind”",
    ),
    (
        SessionRenewed(conversation_id="c", kept_frames=250, prompt_frames=40),
        "renewed  its memory of this talk; the last 20 s were kept",
    ),
    (SCRIPT, "unsaid  1 word (answer, interrupted)"),
    (
        SentenceReady(
            conversation_id="c", text="May I?", kind="question", seconds=1, offline=False
        ),
        "asks leave  May I?",
    ),
    (
        ToolStarted(conversation_id="c", call_id="1", tool="get_time", arguments="{}"),
        "tool  get_time",
    ),
    (TOOL, "tool  set_timer: not begun"),
    (
        TOOL.model_copy(update={"outcome": "failed", "error": "no such timer"}),
        "tool  set_timer: failed, no such timer",
    ),
    (
        AttendantFailed(conversation_id="c", attendant="memory", message="The disk is full."),
        "fault  memory is off for this conversation: The disk is full.",
    ),
    (
        SLOW_VOICE,
        "voice  hana is too slow; Moshi's own says the rest: 2.0 s late in all",
    ),
    (
        SLOW_VOICE.model_copy(update={"reason": "failed", "detail": "it ended with status -9"}),
        "voice  hana is gone; Moshi's own goes on: it ended with status -9",
    ),
    (
        SettingWithoutEffect(
            conversation_id="", setting="total_vram", reason="memory follows from the checkpoint"
        ),
        "no effect  total_vram: memory follows from the checkpoint",
    ),
    (BargeIn(conversation_id="c", silent_after=0.24), "interrupted  silent after 0.24 s"),
    (MemoryInjected(conversation_id="c"), None),
    (SCRIPT.model_copy(update={"outcome": "done"}), None),
]
"""What a server tells, and the line that is shown of it."""


async def test_what_happens_is_one_line_of_words():
    server = Scripted()
    app = VoiceApp(Conversation(server, silence(), lambda pcm: None))
    async with app.run_test(size=(300, 40)) as pilot:
        await shown(pilot, server, *[told(happened) for happened, _ in HAPPENED])
        assert thoughts(app) == [line for _, line in HAPPENED if line is not None]


async def test_how_soon_the_llm_answered_stands_beside_the_other_latencies():
    server = Scripted()
    app = VoiceApp(Conversation(server, silence(), lambda pcm: None))
    async with app.run_test(size=(120, 40)) as pilot:
        text = app.query_one("#latency_text", Static)
        first = TurnLatency(conversation_id="c", seconds=0.2)
        await shown(pilot, server, told(first), told(first.model_copy(update={"seconds": 0.3})))
        assert str(text.render()) == "median 0.25 s, last 0.30 s"
        llm = AnswerLatency(conversation_id="c", seconds=1.25, kind="answer", offline=False)
        await shown(pilot, server, told(llm))
        assert str(text.render()) == "median 0.25 s, last 0.30 s, LLM 1.25 s"


async def test_what_the_engine_loses_is_counted_with_what_the_line_loses():
    server = Scripted()
    app = VoiceApp(Conversation(server, silence(), lambda pcm: None))
    async with app.run_test(size=(120, 40)) as pilot:
        await shown(
            pilot,
            server,
            RemoteMessage("status", {"status": "dropped", "where": "input", "frames": 2}),
            told(FramesDropped(conversation_id="c", where="inbox", count=3)),
            told(FramesDropped(conversation_id="c", where="outbox", count=1)),
        )
        assert app.sub_title == "hybrid · 1 of Coda's frames lost · 5 of your frames lost"


async def test_events_of_a_server_that_tells_less_end_no_conversation():
    server = Scripted()
    app = VoiceApp(Conversation(server, silence(), lambda pcm: None))
    async with app.run_test(size=(120, 40)) as pilot:
        kinds = [str(kind.model_fields["type"].default) for kind in EVENT_TYPES]
        bare = [RemoteMessage("event", {"event": {"type": kind}}) for kind in [*kinds, "newer"]]
        await shown(pilot, server, *bare, told(STORED))
        assert thoughts(app)[-1].startswith("will remember")
