"""The terminal UI against a running server: what is typed, heard and shown."""

from __future__ import annotations

import asyncio
import re
import subprocess
import sys
from collections.abc import Callable, Iterator

import httpx
import pytest
from textual.pilot import Pilot
from textual.widgets import Input, OptionList, RichLog

from coda_voice.cli.local_server import local_server
from coda_voice.cli.tui import personalities, silence
from coda_voice.cli.tui_app import Conversation, VoiceApp
from coda_voice.errors import VoiceInitializationError
from coda_voice.moshi.frames import FRAME_SAMPLES, Pcm
from coda_voice.remote import RemoteConversation
from tests.e2e.relay import relay
from tests.integration.voice_server import RunningServer, voice_server

TRIES = 2_400
WISH = {"events": "true", "wait": "true"}  # the one slot is given back a moment after its use
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
    async with RemoteConversation(server.ws, query=WISH) as remote:
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
            assert "(offline)" in lines(app, "thoughts")
            await wait_until(pilot, lambda: "offline/rules instead" in lines(app, "thoughts"))
            await pilot.press("f3")
            await pilot.press("f2")
            assert app.muted
            await wait_until(pilot, lambda: len(played) > 5)
    assert all(len(pcm) == FRAME_SAMPLES for pcm in played)
    assert app.frames == len(played)


async def test_a_cable_that_is_pulled_costs_no_conversation(server: RunningServer):
    with relay(server.port) as cable:
        address = f"ws://127.0.0.1:{cable.port}"
        async with RemoteConversation(address, query=WISH) as remote:
            assert remote.ready is not None
            before = remote.ready.text("conversation_id")
            app = VoiceApp(Conversation(remote, silence(), lambda pcm: None))
            async with app.run_test(size=(120, 40)) as pilot:
                await wait_until(pilot, lambda: app.frames > 5)
                cable.cut()
                await wait_until(pilot, lambda: "there again" in lines(app, "thoughts"))
                heard = app.frames
                await wait_until(pilot, lambda: app.frames > heard + 5)
                assert remote.ready.text("conversation_id") == before
                assert remote.ready.fields["resumed"] is True


async def test_a_server_that_is_gone_for_good_is_told_with_what_to_do(server: RunningServer):
    with relay(server.port) as cable:
        address = f"ws://127.0.0.1:{cable.port}"
        async with RemoteConversation(address, query=WISH) as remote:
            assert remote.ready is not None
            remote.ready.fields["resume_seconds"] = 0.3  # type: ignore[index]
            app = VoiceApp(Conversation(remote, silence(), lambda pcm: None))
            async with app.run_test(size=(120, 40), notifications=True) as pilot:
                cable.close()
                await wait_until(pilot, lambda: bool(app._notifications))
                (told,) = app._notifications
                assert "cannot be reached" in told.message
                assert "check the endpoint" in told.message
            # Or the server would keep the one slot for half a minute, for who cannot come back.
            path = f"/v1/conversations/{remote.ready.text('conversation_id')}"
            async with httpx.AsyncClient(base_url=server.http, timeout=60) as rest:
                (await rest.delete(path)).raise_for_status()


async def test_another_personality_is_chosen_from_a_list(server: RunningServer):
    names = await personalities(server.ws, None)
    assert len(names) >= 5
    async with RemoteConversation(server.ws, query=WISH) as remote:
        app = VoiceApp(Conversation(remote, silence(), lambda pcm: None, names))
        async with app.run_test(size=(120, 40)) as pilot:
            await pilot.press("f5")
            await wait_until(pilot, lambda: bool(app.screen.query(OptionList)))
            await pilot.press("down", "enter")
            await wait_until(pilot, lambda: bool(app.personality))
            assert app.personality.lower() in app.sub_title.lower()
            await pilot.press("f5", "escape")
            await wait_until(pilot, lambda: not app.screen.query(OptionList))


async def test_who_waits_in_line_is_told_the_place(server: RunningServer):
    places: list[int] = []
    in_line = asyncio.Event()

    def place(now: int) -> None:
        places.append(now)
        in_line.set()

    async with RemoteConversation(server.ws, query=WISH):
        second = RemoteConversation(server.ws, query=WISH, on_position=place)
        entering = asyncio.create_task(second.__aenter__())
        await asyncio.wait_for(in_line.wait(), 60)
    await asyncio.wait_for(entering, 60)
    await second.close()
    assert places[0] == 1


async def test_a_server_for_one_program_ends_with_it():
    async with local_server() as address, RemoteConversation(address) as remote:
        assert remote.ready is not None
        assert remote.ready.text("checkpoint")
    with pytest.raises(Exception, match="cannot be reached"):
        await RemoteConversation(address).__aenter__()


def test_a_local_server_is_not_left_over_when_its_program_is_killed(tmp_path):
    settings = tmp_path / "everywhere.yaml"
    settings.write_text("server:\n  host: 0.0.0.0\n")
    server = subprocess.Popen(
        [sys.executable, "-m", "coda_voice.cli.local_server", "--config", str(settings)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    )  # fmt: skip
    assert server.stdin is not None and server.stdout is not None
    assert b"http://127.0.0.1:" in server.stdout.readline()  # and nowhere else
    server.stdin.close()  # as the kernel does for a program that is killed
    assert server.wait(60) == 0
    server.stdout.close()


async def test_a_server_that_does_not_start_says_why(tmp_path):
    settings = tmp_path / "wrong.yaml"
    settings.write_text("mode: thinking\n")
    with pytest.raises(VoiceInitializationError, match="thinking"):
        async with local_server(settings):
            pass
