"""The page in a real browser, on a real server with coda-tiny: what a user does and sees."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

import httpx
import numpy as np
import pytest
import soundfile
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, TimeoutError, WebSocketRoute

from coda_voice.events import Event, FramesDropped, SettingWithoutEffect, VoiceFellBack
from tests.conftest import Spoken
from tests.e2e.browser import PageUser, browser
from tests.e2e.relay import relay
from tests.ear import recognised
from tests.integration.voice_server import RunningServer, voice_server

DESKTOP, PHONE = (1280, 800), (390, 844)
COLOURS: tuple[Literal["light", "dark"], ...] = ("light", "dark")
LOOKS = ((PHONE, COLOURS[0]), (DESKTOP, COLOURS[0]), (DESKTOP, COLOURS[1]))


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    with voice_server(moshi__slots=1, moshi__seed=1, server__waiting=2) as running:
        yield running


@pytest.fixture(scope="module")
def chromium(tmp_path_factory: pytest.TempPathFactory, spoken: Spoken) -> Iterator[Browser]:
    microphone = tmp_path_factory.mktemp("page") / "microphone.wav"
    pause = np.zeros(2 * 24_000, dtype=np.float32)
    soundfile.write(microphone, np.concatenate([spoken.pcm("what_is_your_name"), pause]), 24_000)
    with browser(microphone) as chromium:
        yield chromium


@contextmanager
def user(
    chromium: Browser,
    server: RunningServer,
    size: tuple[int, int] = DESKTOP,
) -> Iterator[PageUser]:
    """Somebody on a fresh page; in the end the browser must have had nothing to complain of."""
    context = chromium.new_context(
        viewport={"width": size[0], "height": size[1]},
        color_scheme="light",
        reduced_motion="reduce",  # nothing is drawn between frames: the machine is busy
    )
    try:
        somebody = PageUser(context, server.http)
        yield somebody
        assert somebody.problems == []
    finally:
        context.close()


@pytest.fixture
def talker(chromium: Browser, server: RunningServer) -> Iterator[PageUser]:
    """A user whose conversation has begun; the only one, so slots and sessions can be counted."""
    with user(chromium, server) as somebody:
        somebody.begin()
        somebody.wait_for_frames(3)
        yield somebody
        if somebody.page.get_attribute("html", "data-state") != "idle":
            somebody.end()
    somebody_left(server)


def somebody_left(server: RunningServer) -> None:
    """Sessions end a moment after their socket."""
    for _ in range(100):
        if not server.front.sessions.all():
            return
        httpx.get(f"{server.http}/health/live").raise_for_status()
        time.sleep(0.1)
    left = [vars(session) for session in server.front.sessions.all()]
    raise AssertionError(f"the conversation did not end with its page: {left}")


def test_it_talks_and_the_user_sees_both_voices(talker: PageUser):
    page = talker.page
    page.wait_for_selector("#who-user.speaking")
    assert np.abs(talker.samples_sent(50)).max() > 1000, "the recording is what is sent"
    page.wait_for_selector(".turn.user >> text=what is your name")
    page.wait_for_selector(".turn.agent >> text=my name is")
    talker.wait_until(lambda: "my name is" in recognised(talker.sound_received()))
    assert page.inner_text("#model-name") == "coda-tiny"
    assert page.inner_text("#round-trip") != "–"
    assert page.inner_text("#buffer") != "–"
    picture = "c => c.getContext('2d').getImageData(0, 0, c.width, c.height).data.some(v => v)"
    assert page.eval_on_selector("#stage", picture), "both voices are drawn"


def test_a_written_turn_is_routed_answered_with_a_tool_and_interrupted(talker: PageUser):
    page = talker.page
    page.click("#mute")  # or the recording, which asks again and again, interrupts the answer
    page.wait_for_selector("#who-user:not(.speaking)")  # what it had begun to say is over
    page.select_option("#mode", "hybrid")
    page.wait_for_selector(".thought.note >> text=Mode: hybrid")
    talker.write("what is 17 times 23")
    page.wait_for_selector(".turn.user >> text=17 times 23")
    page.wait_for_selector(".turn.user >> text=written")
    page.wait_for_selector(".thought.route >> text=Asked the language model")
    page.wait_for_selector(".thought.tool[data-outcome=done]")
    page.wait_for_selector(".thought.sentence >> text=/391|ninety.one/i")
    answer = ".turn.user:has-text('17 times 23') ~ .turn.agent"
    page.wait_for_selector(f"{answer} >> text=/391|ninety/i")  # below what was asked
    cut_off = page.locator(".thought.note", has_text="were not said")
    for number, square in (12, "144|forty.four"), (13, "169|sixty.nine"), (14, "196|ninety.six"):
        talker.write(f"what is {number} times {number}")
        page.wait_for_selector(f".thought.sentence >> text=/{square}/i")
        page.click("#interrupt")
        with contextlib.suppress(TimeoutError):  # a slow machine clicks when it has been said
            cut_off.first.wait_for(timeout=10_000)
            break
    assert cut_off.count() > 0
    assert page.is_hidden("#notice")


def test_what_the_user_takes_back_is_struck_through(chromium: Browser, tmp_path: Path):
    store = str(tmp_path / "memories")
    with (
        voice_server(moshi__slots=1, integration__memory_store=store) as server,
        user(chromium, server) as somebody,
    ):
        page = somebody.page
        somebody.begin()
        page.click("#mute")
        page.wait_for_selector("#who-user:not(.speaking)")
        somebody.write("I live in Rome")
        first = page.locator(".thought.memory", has_text="Will remember")
        first.locator("li", has_text="The user lives in Rome.").wait_for()
        assert first.locator("del").count() == 0
        somebody.write("just kidding")
        page.wait_for_selector(".thought.memory >> text=Holds no longer")
        cards = page.locator(".thought.memory", has_text="lives in Rome")
        assert (
            cards.locator("del").all_text_contents()
            == [
                "taken back: The user lives in Rome."  # the first words are for screen readers
            ]
            * 2
        )  # where it is taken back, and where it was stored
        joke = page.locator(".turn.user", has_text="just kidding")
        assert joke.locator(".mark").all_inner_texts() == [
            "written",
            "takes back The user lives in Rome.",
        ]
        line = "e => getComputedStyle(e).textDecorationLine"
        struck = page.locator("del")
        for colours in COLOURS:
            page.emulate_media(color_scheme=colours)
            assert [struck.nth(n).evaluate(line) for n in range(3)] == ["line-through"] * 3
            _accessible(somebody)
            page.screenshot(path=tmp_path / f"taken_back_{colours}.png")
        somebody.end()


def test_a_mode_is_kept_once_the_server_has_taken_it(talker: PageUser):
    page = talker.page
    kept = "JSON.parse(localStorage.getItem('coda.settings') ?? '{}').mode"
    page.evaluate("void document.getElementById('mode').add(new Option('none', 'none'))")
    page.select_option("#mode", "none")
    page.wait_for_selector("#notice:not([hidden])")
    assert page.input_value("#mode") == "moshi_only"
    assert not page.evaluate(kept)
    page.select_option("#mode", "hybrid")
    talker.wait_until(lambda: page.evaluate(kept) == "hybrid")


def test_another_personality(talker: PageUser):
    page = talker.page
    page.wait_for_selector("#personality option[value=max]", state="attached")
    page.select_option("#personality", "max")
    page.wait_for_selector("html[data-personality=max]")
    talker.wait_for_frames(3)
    assert page.is_hidden("#notice")
    page.reload()
    page.wait_for_selector("html[data-state=live]")
    talker.wait_until(lambda: page.input_value("#personality") == "max")  # who it still is
    talker.end()
    talker.begin()
    page.wait_for_selector("#personality option[value=max]", state="attached")
    assert page.input_value("#personality") == "", "a new conversation is as configured"


def test_a_reload_goes_on_with_the_same_conversation(talker: PageUser, server: RunningServer):
    page = talker.page
    (session,) = server.front.sessions.all()
    talker.write("good morning")
    page.wait_for_selector(".turn.user >> text=good morning")
    page.reload()
    page.wait_for_selector("html[data-state=live]")
    talker.wait_for_frames(3)
    assert server.front.sessions.all() == [session]
    assert session.resumed == 1
    assert "good morning" in page.inner_text("#turns"), "what was said is still to be read"


def test_a_second_reload_before_the_click_goes_on_loses_nothing(
    talker: PageUser, server: RunningServer
):
    page = talker.page
    (session,) = server.front.sessions.all()
    talker.write("good morning")
    page.wait_for_selector(".turn.user >> text=good morning")
    page.add_init_script(  # a browser that wants to be asked for the microphone each time
        "navigator.permissions.query = async () => ({ state: 'prompt' });"
        "Object.defineProperty(navigator, 'userActivation', { value: { hasBeenActive: false } });"
    )
    for _ in range(2):
        page.reload()
        page.wait_for_selector("#talk-text >> text=Go on")
    page.click("#talk")
    page.wait_for_selector("html[data-state=live]")
    assert server.front.sessions.all() == [session] and session.resumed == 1
    assert "good morning" in page.inner_text("#turns")
    talker.end()
    page.reload()
    page.wait_for_selector("html[data-page=ready]")
    assert page.inner_text("#talk-text") == "Talk", "nothing is left of one that was ended"


def test_a_lost_connection_comes_back_by_itself(chromium: Browser, server: RunningServer):
    context = chromium.new_context(reduced_motion="reduce")
    with relay(urlsplit(server.http).port or 80) as cable, contextlib.closing(context):
        somebody = PageUser(context, f"http://127.0.0.1:{cable.port}")
        page = somebody.page
        somebody.begin()
        somebody.wait_for_frames(3)
        somebody.write("good morning")
        page.wait_for_selector(".turn.user >> text=good morning")
        (session,) = server.front.sessions.all()
        cable.cut()
        somebody.wait_until(lambda: session.resumed == 1)
        page.wait_for_selector("html[data-state=live]")
        somebody.wait_for_frames(3)
        assert server.front.sessions.all() == [session]
        assert "good morning" in page.inner_text("#turns")
        somebody.end()
        cut = ("WebSocket", "net::ERR_")  # what the browser itself says of a cable that is pulled
        assert [text for text in somebody.problems if not any(one in text for one in cut)] == []
    somebody_left(server)


def test_who_ends_while_the_line_is_lost_gives_the_place_back_at_once(
    chromium: Browser, server: RunningServer
):
    """It would be kept for half a minute, and who talks again would wait in line for it."""
    context = chromium.new_context(reduced_motion="reduce")
    with relay(urlsplit(server.http).port or 80) as cable, contextlib.closing(context):
        somebody, lost = PageUser(context, f"http://127.0.0.1:{cable.port}"), False

        def join(socket: WebSocketRoute) -> None:
            if lost:
                socket.close(code=1012)
            else:
                socket.connect_to_server()

        somebody.page.route_web_socket("**/v1/stream*", join)
        somebody.begin()
        somebody.wait_for_frames(3)
        (session,) = server.front.sessions.all()
        lost = True
        cable.cut()
        somebody.wait_until(lambda: session.detached_since is not None)
        somebody.page.wait_for_selector("html[data-state=resuming]")
        somebody.page.click("#talk")
        somebody.page.wait_for_selector("html[data-state=idle]")
        somebody_left(server)
        assert session.conversation.ended == "ended", "and was not given up after a while"


def test_words_typed_while_one_speaks_are_a_turn_of_their_own(talker: PageUser):
    page = talker.page
    page.wait_for_selector("#who-user.speaking")
    talker.write("good evening")
    written = page.locator(".turn.user", has_text="good evening")
    written.wait_for()
    assert "written" in written.first.inner_text()
    talker.wait_for_frames(40)
    assert written.count() == 1, "what is heard meanwhile is not added to what was typed"
    assert "good evening" in written.first.inner_text()
    assert "what is your" not in written.first.inner_text()


def test_muted_means_that_nothing_leaves_the_browser(talker: PageUser):
    page = talker.page
    page.keyboard.press("m")
    assert page.get_attribute("#mute", "aria-pressed") == "true"
    talker.wait_for_frames(30)
    assert not talker.samples_sent(10).any()
    page.keyboard.press("m")
    talker.wait_until(lambda: bool(np.abs(talker.samples_sent(25)).max() > 1000))


def test_a_key_that_is_held_down_does_its_work_once(talker: PageUser):
    page = talker.page
    for times in (2, 3):  # all but the first are the keyboard's repeats
        for _ in range(times):
            page.keyboard.down("m")
        assert page.get_attribute("#mute", "aria-pressed") == "true", "it is muted, and stays so"
        page.keyboard.up("m")
        page.keyboard.press("m")
        assert page.get_attribute("#mute", "aria-pressed") == "false"


def test_muted_stays_muted_after_a_reload(talker: PageUser):
    page = talker.page
    page.keyboard.press("m")
    talker.wait_for_frames(3)
    talker.sent.clear()
    page.reload()
    page.wait_for_selector("html[data-state=live]")
    assert page.get_attribute("#mute", "aria-pressed") == "true"
    talker.wait_for_frames(50)  # longer than the recording's pause
    assert len(talker.sent) > 0
    assert not talker.samples_sent(50).any()


def test_a_loudspeaker_that_is_gone_keeps_nobody_from_talking(
    chromium: Browser, server: RunningServer
):
    with user(chromium, server) as somebody:
        gone = "localStorage.setItem('coda.settings', JSON.stringify({loudspeaker: 'gone'}))"
        somebody.page.evaluate(gone)
        somebody.page.reload()
        somebody.page.wait_for_selector("html[data-page=ready]")
        somebody.begin()
        somebody.wait_for_frames(3)
        assert somebody.page.is_hidden("#notice")
        somebody.end()
    somebody_left(server)


BROKEN_SOUND = """
window.real = AudioContext;
void (window.AudioContext = class { constructor() { throw new TypeError("oh"); } });
"""


def test_what_keeps_sound_from_beginning_is_told_and_talk_can_be_pressed_again(
    chromium: Browser, server: RunningServer
):
    with user(chromium, server) as somebody:
        page = somebody.page
        page.evaluate(BROKEN_SOUND)
        page.click("#talk")
        page.wait_for_selector("#notice >> text=could not be begun: oh")
        page.evaluate("void (AudioContext = real)")
        somebody.begin()
        assert page.is_hidden("#notice")
        somebody.end()
    somebody_left(server)


def test_a_conversation_that_the_server_ends_says_so(talker: PageUser, server: RunningServer):
    (session,) = server.front.sessions.all()
    path = f"{server.http}/v1/conversations/{session.conversation.id}"
    httpx.delete(path).raise_for_status()
    talker.page.wait_for_selector("html[data-state=idle]")
    assert "was ended on the server" in talker.page.inner_text("#notice")


DEAF = """
void (window.WebSocket = class extends WebSocket {
  constructor(...how) { super(...how); window.latest = this; }
  set onmessage(give) { super.onmessage = (event) => window.deaf === this || give(event); }
});
"""


def test_a_connection_that_has_fallen_silent_is_taken_up_again(
    chromium: Browser, server: RunningServer
):
    with user(chromium, server) as somebody:
        somebody.page.evaluate(DEAF)
        somebody.begin()
        somebody.wait_for_frames(3)
        (session,) = server.front.sessions.all()
        somebody.page.evaluate("window.deaf = window.latest")
        somebody.wait_until(lambda: session.resumed == 1)
        somebody.page.wait_for_selector("html[data-state=live]")
        somebody.wait_for_frames(3)
        assert server.front.sessions.all() == [session]
        somebody.end()
    somebody_left(server)


def test_who_comes_when_every_place_is_taken_waits_in_line(
    talker: PageUser, chromium: Browser, server: RunningServer
):
    with user(chromium, server) as second:
        second.page.click("#talk")
        second.page.wait_for_selector("#link-text >> text=Number 1 in line")
        talker.end()
        second.page.wait_for_selector("html[data-state=live]")
        second.wait_for_frames(2)
        second.end()


def test_nothing_stands_in_the_way_of_anybody(chromium: Browser, server: RunningServer):
    with user(chromium, server, PHONE) as somebody:
        page = somebody.page
        somebody.begin()
        page.select_option("#mode", "hybrid")
        somebody.write("what is 17 times 23")
        page.wait_for_selector(".thought.sentence")
        page.wait_for_selector(".turn.agent")
        for size, colours in LOOKS:
            page.set_viewport_size({"width": size[0], "height": size[1]})
            page.emulate_media(color_scheme=colours)
            _accessible(somebody)
            wide = page.evaluate("document.documentElement.scrollWidth")
            assert wide <= size[0], "nothing is cut off at the side"
            page.click("#open-settings")
            page.wait_for_selector("#settings[open]")
            if page.get_attribute("#shortcuts", "open") is None:
                page.click("#shortcuts summary")
            _accessible(somebody)
            page.keyboard.press("Escape")
        somebody.end()
    somebody_left(server)


def _accessible(somebody: PageUser) -> None:
    found = Axe().run(somebody.page)
    assert found.violations_count == 0, found.generate_report()


def test_keyboard_alone_is_enough(chromium: Browser, server: RunningServer):
    with user(chromium, server) as somebody:
        page = somebody.page
        page.keyboard.press("s")
        page.wait_for_selector("html[data-state=live]")
        page.keyboard.press("t")
        page.keyboard.type("hello")
        assert page.input_value("#text") == "hello", "letters in the field are no shortcuts"
        page.keyboard.press("Escape")
        page.focus("#interrupt")
        page.keyboard.press("d")
        assert page.get_attribute("html", "data-theme") == "light"
        page.keyboard.press("s")
        page.wait_for_selector("html[data-state=idle]")
    somebody_left(server)


def test_buttons_keep_their_icons_when_the_server_has_no_time_for_them(
    chromium: Browser, server: RunningServer
):
    with user(chromium, server) as somebody:
        page = somebody.page
        page.wait_for_load_state("networkidle")
        page.route("**/icons.svg", lambda route: route.abort())
        width = "icon => icon.getBBox().width"
        for key, icon in ("d", "#theme-icon"), ("s", "#talk-icon"), ("m", "#mute-icon"):
            page.keyboard.press(key)
            if key == "s":
                page.wait_for_selector("html[data-state=live]")
            assert page.eval_on_selector(icon, width) > 5, f"{icon} is blank"
        somebody.end()
    somebody_left(server)


def beside_the_server(page: Page) -> Callable[[str], None]:
    """Give what tells the page something on the connection that it will open.

    What the server itself has lost it does not hear of: a busy machine loses some.
    """
    between: list[WebSocketRoute] = []

    def join(socket: WebSocketRoute) -> None:
        def pass_on(message: str | bytes) -> None:
            if isinstance(message, bytes) or not tells_of_loss(json.loads(message)):
                socket.send(message)

        socket.connect_to_server().on_message(pass_on)
        between.append(socket)

    def tells_of_loss(message: dict[str, Any]) -> bool:
        happened = message.get("event", {}).get("type")
        return message.get("status") == "dropped" or happened == "frames_dropped"

    page.route_web_socket("**/v1/stream*", join)
    return lambda message: between[0].send(message)


def told(happened: Event) -> str:
    """Give the message by which a server tells an event."""
    return json.dumps({"type": "event", "event": happened.model_dump(mode="json")})


def test_a_server_that_does_not_keep_up_is_said_to_be_once_with_all_that_was_lost(
    chromium: Browser, server: RunningServer
):
    with user(chromium, server) as somebody:
        page = somebody.page
        tell = beside_the_server(page)
        somebody.begin()
        for where in "input", "input", "output":
            lost = {"type": "status", "status": "dropped", "where": where, "frames": 25}
            tell(json.dumps(lost))
        for where, times in ("inbox", 25), ("outbox", 320):
            for _ in range(times):
                tell(told(FramesDropped(conversation_id="c", where=where, count=2)))
        page.wait_for_selector(".thought.note >> text=it has not heard 8.0 s of you")
        page.wait_for_selector(".thought.note >> text=51.2 s of Coda's sound were lost")
        page.wait_for_selector(".thought.note >> text=2.0 s of Coda's sound were left out")
        assert page.locator(".thought", has_text="does not keep up").count() == 2
        assert page.locator(".thought", has_text="frames were lost").count() == 0
        somebody.end()
    somebody_left(server)


def test_a_setting_that_does_nothing_and_a_voice_that_falls_back_are_told(
    chromium: Browser, server: RunningServer
):
    with user(chromium, server) as somebody:
        page = somebody.page
        tell = beside_the_server(page)
        somebody.begin()
        idle = SettingWithoutEffect(conversation_id="", setting="total_vram", reason="it is fixed")
        slow = VoiceFellBack(conversation_id="c", voice="hana", reason="slow", detail="2.0 s late")
        for happened in idle, slow, slow.model_copy(update={"reason": "failed", "detail": "ended"}):
            tell(told(happened))
        for text in (
            "The setting total_vram does nothing here: it is fixed",
            "The voice hana is too slow; Moshi's own says the rest of it: 2.0 s late",
            "The voice hana is gone; Moshi's own voice goes on: ended",
        ):
            page.wait_for_selector(f".thought.note >> text={text}")
        somebody.end()
    somebody_left(server)


LOST = 100
"""Frames: eight seconds."""


def seconds(shown: str) -> float:
    """Read a duration as the page shows it."""
    number, unit = shown.split()
    return float(number) / (1000 if unit == "ms" else 1)


@pytest.mark.parametrize(
    "lost",
    [
        json.dumps({"type": "status", "status": "dropped", "where": "input", "frames": LOST}),
        told(FramesDropped(conversation_id="c", where="inbox", count=LOST)),
    ],
    ids=["on the way in", "in the engine"],
)
def test_frames_that_the_server_lost_do_not_count_as_under_way(
    chromium: Browser, server: RunningServer, lost: str
):
    """Each answer would be taken for that of an earlier frame, and the way there for longer."""
    with user(chromium, server) as somebody:
        page, swallowed = somebody.page, 0

        def join(socket: WebSocketRoute) -> None:
            beyond = socket.connect_to_server()

            def pass_on(message: str | bytes) -> None:
                nonlocal swallowed
                if isinstance(message, bytes) and losing and swallowed < LOST:
                    swallowed += 1
                    if swallowed == LOST:
                        socket.send(lost)
                else:
                    beyond.send(message)

            socket.on_message(pass_on)

        losing: list[bool] = []
        page.route_web_socket("**/v1/stream*", join)
        somebody.begin()
        page.wait_for_selector("#round-trip:not(:text('–'))")
        before = seconds(page.inner_text("#round-trip"))
        losing.append(True)
        page.wait_for_selector(".thought.note >> text=has not heard 8.0 s of you")
        page.evaluate("document.getElementById('round-trip').textContent = ''")
        page.wait_for_selector("#round-trip:not(:empty)")
        assert seconds(page.inner_text("#round-trip")) < before + 6.0
        somebody.end()
    somebody_left(server)


ROUND_TRIPS = """async () => {
  const { RoundTrip } = await import("/page/round-trip.js");
  const way = new RoundTrip();
  const dropped = { type: "status", status: "dropped", where: "output", frames: 2 };
  const took = [];
  way.begin({ resumed: true, under_way: 1 });
  way.leave(1000);
  way.told(dropped);
  way.told({ type: "event", event: { type: "frames_dropped", where: "outbox", count: 7 } });
  took.push(way.arrive(1100), way.arrive(1300));
  for (const now of [2000, 2080, 2160]) way.leave(now);
  way.told(dropped);
  took.push(way.arrive(2400), way.arrive(2480));
  way.told(dropped);
  way.leave(3000);
  took.push(way.arrive(3100));
  return took;
}"""


def test_what_was_lost_before_a_line_came_back_is_not_lost_again(
    chromium: Browser, server: RunningServer
):
    with user(chromium, server) as somebody:
        former, first, second, nothing_left, third = somebody.page.evaluate(ROUND_TRIPS)
        assert former is None, "an answer to what was sent before"
        assert first == 300, "what is told before it was of frames of the former line"
        assert (second, nothing_left) == (240, None), "the third frame's: two were lost"
        assert third == 100, "more cannot be lost than is under way"


def test_the_page_loads_nothing_from_elsewhere(server: RunningServer):
    answer = httpx.get(server.http)
    assert answer.status_code == 200
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert "http" not in policy


@pytest.mark.parametrize(
    "path", ["/page/../__init__.py", "/page/%2e%2e/__init__.py", "/page//etc/passwd", "/page/"]
)
def test_only_the_page_is_served(server: RunningServer, path: str):
    assert httpx.get(server.http + path).status_code == 404


def test_every_file_of_the_page_is_in_the_package():
    import coda_voice.server.page as page

    names = {
        path.name for path in (Path(page.__file__).parent / "static").rglob("*") if path.is_file()
    }
    assert {"index.html", "main.js", "style.css", "capture-worklet.js"} <= names
