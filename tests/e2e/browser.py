"""A real browser on the page of a running server, with a recording for a microphone."""

from __future__ import annotations

import os
import shutil
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from playwright.sync_api import Browser, BrowserContext, Page, WebSocket, sync_playwright

SECONDS = 150_000
"""Milliseconds until something is given up on; a busy machine is very slow."""


def executable() -> str:
    """The Chromium of this machine. Raises RuntimeError: nothing is skipped without one."""
    named = os.environ.get("CODA_VOICE_BROWSER")
    found = named or next(
        filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
    )
    if not found:
        raise RuntimeError("No Chromium here; run scripts/install_browser.sh.")
    return found


@contextmanager
def browser(microphone: Path) -> Iterator[Browser]:
    """Chromium whose microphone plays the WAV ``microphone`` again and again."""
    arguments = [
        "--no-sandbox",  # in containers there is no user namespace for it
        "--use-fake-ui-for-media-stream",
        "--use-fake-device-for-media-stream",
        f"--use-file-for-fake-audio-capture={microphone}",
    ]
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=executable(), args=arguments)
        try:
            yield chromium
        finally:
            chromium.close()


class PageUser:
    """Somebody in front of the page: what they do, see, and what went over the wire."""

    def __init__(self, context: BrowserContext, url: str) -> None:
        self.problems: list[str] = []
        self.sent: list[bytes] = []
        self.received: deque[bytes] = deque(maxlen=250)
        self.socket: WebSocket | None = None
        self.page: Page = context.new_page()
        self.page.set_default_timeout(SECONDS)
        self.page.on("console", self._console)
        self.page.on("pageerror", lambda error: self.problems.append(str(error)))
        self.page.on("websocket", self._websocket)
        self.page.goto(url)
        self.page.wait_for_selector("html[data-page=ready]")

    def _console(self, message: object) -> None:
        kind, text = getattr(message, "type", ""), getattr(message, "text", "")
        if kind in ("error", "warning"):
            self.problems.append(f"{kind}: {text}")

    def _websocket(self, websocket: WebSocket) -> None:
        self.socket = websocket
        websocket.on("framesent", self._note_sent)
        websocket.on("framereceived", self._note_received)

    def _note_sent(self, payload: bytes | str) -> None:
        if isinstance(payload, bytes):
            self.sent.append(payload)
            del self.sent[:-50]

    def _note_received(self, payload: bytes | str) -> None:
        if isinstance(payload, bytes):
            self.received.append(payload)

    def begin(self) -> None:
        self.page.click("#talk")
        self.page.wait_for_selector("html[data-state=live]")

    def end(self) -> None:
        """Press the button; who closes the browser before its goodbye is out has said none."""
        self.page.click("#talk")
        self.page.wait_for_selector("html[data-state=idle]")
        self.wait_until(lambda: self.socket is None or self.socket.is_closed())

    @property
    def frames(self) -> int:
        """The agent's frames that have come since the page was connected."""
        return int(self.page.evaluate("document.documentElement.dataset.frames") or 0)

    def wait_until(self, true: Callable[[], bool]) -> None:
        """Look again and again until it is so."""
        for _ in range(SECONDS // 100):
            if true():
                return
            self.page.wait_for_timeout(100)
        raise AssertionError(f"it did not come to be within {SECONDS} ms")

    def wait_for_frames(self, more: int) -> None:
        until = self.frames + more
        self.wait_until(lambda: self.frames >= until)

    def write(self, text: str) -> None:
        self.page.fill("#text", text)
        self.page.press("#text", "Enter")

    def sound_received(self) -> NDArray[np.float32]:
        """The agent's last frames, at most 20 s."""
        return np.frombuffer(b"".join(self.received), dtype="<i2").astype(np.float32) / 32_768

    def samples_sent(self, frames: int) -> NDArray[np.int16]:
        """The last ``frames`` that the browser sent."""
        return np.frombuffer(b"".join(self.sent[-frames:]), dtype="<i2")
