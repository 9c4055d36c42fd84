"""The terminal UI against a running server: what is typed, heard and shown."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

import pytest
from textual.pilot import Pilot
from textual.widgets import Input, RichLog

from coda_voice.cli.tui import silence
from coda_voice.cli.tui_app import Conversation, VoiceApp
from coda_voice.moshi.frames import FRAME_SAMPLES, Pcm
from coda_voice.remote import RemoteConversation
from tests.integration.voice_server import RunningServer, voice_server

TRIES = 2_400
ANSWER = "391|ninety.one"


@pytest.fixture(scope="module")
def server() -> Iterator[RunningServer]:
    with voice_server(moshi__slots=1, moshi__seed=1) as running:
        yield running


def lines(app: VoiceApp, where: str) -> str:
    return "\n".join(strip.text for strip in app.query_one(f"#{where}", RichLog).lines)


async def wait_until(pilot: Pilot[None], true: Callable[[], bool]) -> None:
    for _ in range(TRIES):
        if true():
            return
        await pilot.pause(0.05)
    raise AssertionError("it did not come to be")


async def test_a_typed_question_is_routed_answered_and_read(server: RunningServer):
    played: list[Pcm] = []
    async with RemoteConversation(server.ws, query={"events": "true"}) as remote:
        app = VoiceApp(Conversation(remote, silence(), played.append))
        async with app.run_test(size=(120, 40)) as pilot:
            await pilot.press("f4")
            await wait_until(pilot, lambda: app.mode == "hybrid")
            app.query_one(Input).focus()
            app.query_one(Input).value = "what is 17 times 23"
            await pilot.press("enter")
            await wait_until(pilot, lambda: "17 times 23" in lines(app, "said"))
            await wait_until(pilot, lambda: re.search(ANSWER, lines(app, "thoughts")) is not None)
            assert "llm" in lines(app, "thoughts")
            assert "tool" in lines(app, "thoughts")
            await pilot.press("f3")
            await pilot.press("f2")
            assert app.muted
            await wait_until(pilot, lambda: len(played) > 5)
    assert all(len(pcm) == FRAME_SAMPLES for pcm in played)
    assert app.frames == len(played)
