"""The page of recordings in a real browser: a conversation held before, to be seen and heard."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import soundfile
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser

from coda_voice.events import MemoryStored, WordSpoken
from coda_voice.moshi.frames import FRAME_SAMPLES
from coda_voice.server.recording import Recorder
from tests.conftest import Spoken
from tests.e2e.browser import PageUser, browser
from tests.integration.voice_server import RunningServer, StreamClient, voice_server

SIZES = {"desktop": (1280, 800), "phone": (390, 844)}


async def converse(server: RunningServer, spoken: Spoken) -> None:
    """Hold a conversation that is recorded: spoken to, written to, answered with a tool."""
    async with StreamClient(f"{server.ws}/v1/stream?record=true&events=true") as client:
        assert (await client.ready())["recorded"]
        await client.say(spoken.question(3.0))
        await client.tell("text", text="What is 17 times 23?")
        said = ""
        while "ninety" not in said:
            await client.frame()
            said = " ".join(m["text"] for m in client.told("transcript") if m["speaker"] == "agent")
        await client.tell("close")
        await client.closed()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, spoken: Spoken) -> Iterator[RunningServer]:
    folder = tmp_path_factory.mktemp("recordings")
    nobody = {"provider": "offline", "model": "offline"}
    with voice_server(
        server__recordings=str(folder), moshi__seed=1, mode="hybrid", external_llm=nobody
    ) as running:
        with ThreadPoolExecutor(1) as beside:  # Playwright has an event loop in this thread
            beside.submit(asyncio.run, converse(running, spoken)).result()
        yield running


@pytest.fixture(scope="module")
def other_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[RunningServer, Path]]:
    """A server on which nobody talks, and where it keeps recordings."""
    folder = tmp_path_factory.mktemp("others")
    with voice_server(server__recordings=str(folder), moshi__slots=1) as running:
        yield running, folder


@pytest.fixture
def house(other_server: tuple[RunningServer, Path]) -> Iterator[tuple[RunningServer, Path]]:
    """That server and its folder, which is empty."""
    yield other_server
    for recording in other_server[1].iterdir():
        shutil.rmtree(recording)


@pytest.fixture(scope="module")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    microphone = tmp_path_factory.mktemp("page") / "microphone.wav"
    soundfile.write(microphone, np.zeros(24_000, dtype=np.float32), 24_000)
    with browser(microphone) as chromium:
        yield chromium


@pytest.mark.parametrize(
    ("size", "colours"), [("desktop", "light"), ("desktop", "dark"), ("phone", "light")]
)
def test_a_conversation_is_seen_read_and_heard(
    chromium: Browser, server: RunningServer, tmp_path: Path, size: str, colours: str
):
    width, height = SIZES[size]
    context = chromium.new_context(
        viewport={"width": width, "height": height},
        color_scheme="dark" if colours == "dark" else "light",
        reduced_motion="reduce",
    )
    try:
        somebody = PageUser(context, f"{server.http}/recordings")
        page = somebody.page
        page.wait_for_selector("html[data-shown]")
        assert page.inner_text("#list-count") == "1"
        assert page.is_hidden("#notice")
        page.wait_for_selector(".lines .agent >> text=/ninety/i")
        page.wait_for_selector(".lines .note >> text=/tool calculate: done/")
        picture = "c => c.getContext('2d').getImageData(0, 0, c.width, c.height).data.some(v => v)"
        assert page.eval_on_selector("#timeline", picture), "both voices are drawn"
        assert page.eval_on_selector("#audio", "a => a.duration") > 3.0
        page.click(".lines .agent .jump >> nth=0")
        somebody.wait_until(
            lambda: bool(page.eval_on_selector("#audio", "a => !a.paused && a.currentTime > 0"))
        )
        page.eval_on_selector("#audio", "a => a.pause()")
        wide = page.evaluate("document.documentElement.scrollWidth")
        assert wide <= width, "nothing is cut off at the side"
        found = Axe().run(page)
        assert found.violations_count == 0, found.generate_report()
        assert somebody.problems == []
        page.screenshot(path=tmp_path / "recordings.png")
    finally:
        context.close()


def record(folder: Path, word: str) -> str:
    """Leave a recording of one second in which the user says one word; gives its name."""
    recorder = Recorder(folder, word, agreed=f"asked for {word}", user_id="local")
    for frame in range(12):
        recorder.user(np.full(FRAME_SAMPLES, 0.1, dtype=np.float32))
        recorder.agent(frame, np.zeros(FRAME_SAMPLES, dtype=np.float32))
    recorder.event(WordSpoken(conversation_id=word, speaker="user", text=word, start=0.1, end=0.4))
    gone = (f"The user likes {word}.",)
    joke = MemoryStored(conversation_id=word, time=0.5, text="just kidding", taken_back=gone)
    recorder.event(joke)
    return recorder.close().name


def test_two_quick_clicks_do_one_thing(chromium: Browser, house: tuple[RunningServer, Path]):
    server, folder = house
    names = {word: record(folder, word) for word in ("apple", "berry")}
    context = chromium.new_context()
    try:
        somebody = PageUser(context, f"{server.http}/recordings")
        page = somebody.page
        page.wait_for_selector("html[data-shown]")
        asked: list[str] = []
        page.on("request", lambda request: asked.append(request.url))

        def shows(word: str) -> bool:
            return (
                page.get_attribute("html", "data-shown") == names[word]
                and word in page.inner_text("#lines")
                and word in page.inner_text("#viewer-about")
            )

        # Twice on the same one: it is fetched once.
        other = "apple" if shows("berry") else "berry"
        page.dblclick(f"[data-name='{names[other]}']")
        somebody.wait_until(lambda: shows(other))
        assert len([url for url in asked if url.endswith("/audio")]) == 1

        # On one and at once on another: the other is shown, however late the first one comes.
        first = "berry" if other == "apple" else "apple"
        held = []
        page.route(f"**/{names[first]}/audio", lambda route: held.append(route))
        page.click(f"[data-name='{names[first]}']")
        somebody.wait_until(lambda: bool(held))
        with page.expect_event("requestfailed", timeout=20_000):  # nobody waits for it
            page.click(f"[data-name='{names[other]}']")
        page.wait_for_selector("html[data-shown]")
        assert shows(other)
        current = page.get_attribute("[aria-current=true]", "data-name")
        assert current == names[other]
        again = [url for url in asked if url.endswith(f"{names[other]}/audio")]
        assert len(again) == 1, "what is there already is not fetched anew, nor stopped if it plays"

        # Twice on a word: it is played from there, once.
        page.dblclick(".lines .user .jump")
        somebody.wait_until(
            lambda: bool(page.eval_on_selector("#audio", "a => a.currentTime > 0.1"))
        )
        assert page.is_hidden("#notice")
        assert somebody.problems == []
    finally:
        context.close()


def test_older_ones_are_shown_when_they_are_asked_for(
    chromium: Browser, house: tuple[RunningServer, Path], tmp_path: Path
):
    server, folder = house
    made = folder / record(folder, "apple")
    names = [f"20260101-0000{n // 60:02}-{n:08x}" for n in range(69)]
    for name in names:
        shutil.copytree(made, folder / name)
    newest_first = [made.name, *reversed(names)]
    context = chromium.new_context(reduced_motion="reduce")
    try:
        somebody = PageUser(context, f"{server.http}/recordings")
        page = somebody.page
        page.wait_for_selector("html[data-shown]")
        told = page.inner_text(".lines .note")
        assert "holds no longer: The user likes apple." in told
        assert "just kidding" not in told, "nothing else is stored of it"
        there = "all => all.map(button => button.dataset.name)"
        assert page.eval_on_selector_all("#list button", there) == newest_first[:50]
        assert page.inner_text("#list-count") == "50, and older ones"
        found = Axe().run(page)
        assert found.violations_count == 0, found.generate_report()

        # By the keyboard, and in a hurry: they come once, and one goes on where they begin.
        asked: list[str] = []
        page.on("request", lambda request: asked.append(request.url))
        page.focus("#older")
        page.keyboard.press("Enter")
        page.keyboard.press("Enter")
        # Not wait_for_function: it polls by eval, which the page's policy rightly forbids.
        somebody.wait_until(lambda: page.locator("#list button").count() == 70)
        assert len([url for url in asked if "/v1/recordings?" in url]) == 1
        assert page.eval_on_selector_all("#list button", there) == newest_first
        assert page.inner_text("#list-count") == "70"
        assert page.get_attribute("#list-count", "role") == "status"  # it is read out
        somebody.wait_until(
            lambda: page.evaluate("document.activeElement.dataset.name") == newest_first[50]
        )
        assert page.is_hidden("#older")
        page.keyboard.press("Enter")
        page.wait_for_selector(f"html[data-shown='{newest_first[50]}']")
        assert page.is_hidden("#notice")
        assert somebody.problems == []
        page.screenshot(path=tmp_path / "older.png")
    finally:
        context.close()


def test_nobody_was_recorded_is_said_and_a_server_without_recordings_too(chromium: Browser):
    context = chromium.new_context()
    try:
        with voice_server(moshi__slots=1) as server:
            somebody = PageUser(context, f"{server.http}/recordings")
            assert "keeps no recordings" in somebody.page.inner_text("#notice")
            assert somebody.problems == []
    finally:
        context.close()
