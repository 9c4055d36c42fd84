"""What the terminal UI shows of the server and of the line, in its title."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator

from textual.widgets import RichLog

from coda_voice.cli.tui import silence
from coda_voice.cli.tui_app import Conversation, VoiceApp
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


async def test_that_the_server_goes_down_and_what_the_line_loses_is_shown():
    server = Scripted()
    app = VoiceApp(Conversation(server, silence(), lambda pcm: None))
    async with app.run_test(size=(120, 40)) as pilot:

        async def said(**fields: object) -> str:
            server.says.put_nowait(RemoteMessage("status", fields))
            while not server.says.empty():
                await pilot.pause(0.01)
            await pilot.pause(0.01)
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
        told = await said(status="draining", seconds=30)
        assert re.search(r"lost · server ends in (30|[12]?\d) s$", told)
        written = "\n".join(strip.text for strip in app.query_one("#thoughts", RichLog).lines)
        assert "going down" in written
        assert any("going down" in shown.message for shown in app._notifications)
