"""Another voice than Moshi's: a TTS checkpoint that reads scripts, in a process of its own.

``Synthesizer`` starts the process (``synthesis_process.py``) and hands out an ``Utterance``
for each script: words in, 80 ms frames out. The engine's thread takes frames without waiting;
two threads here do the talking with the process. The sound is made a few seconds ahead and no
further, and what is dropped is not made at all.
"""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import BinaryIO

from coda_voice.errors import ModelLoadingError
from coda_voice.moshi.frames import Pcm
from coda_voice.moshi.synthesis_wire import (
    Message,
    number,
    read_message,
    samples_of,
    write_message,
)
from coda_voice.moshi.tts import TtsChoice

logger = logging.getLogger(__name__)

AHEAD_FRAMES = 37
"""So much sound of an utterance is made in advance: 3 s."""
_TELL_EVERY = 4
"""Played frames are reported in bundles."""
_MOST_ORDERS = 1_024
_END_SECONDS = 5.0
"""After which a process that does not end by itself is ended."""


@dataclass(frozen=True, slots=True)
class SynthesizerOptions:
    """``device``: "cpu", "cuda" or "cuda:N". ``codebooks``: fewer are faster, None the usual.
    ``rows``: utterances at once; further ones wait their turn. ``threads``: torch's, on a CPU.
    """

    device: str = "cpu"
    codebooks: int | None = None
    rows: int = 4
    threads: int = 1


@dataclass(frozen=True, slots=True)
class VoiceFrame:
    """80 ms of an utterance, and how many of its words have begun to sound by it."""

    pcm: Pcm
    said: int


class Utterance:
    """The sound of one script. Any thread may use it; nothing waits."""

    def __init__(self, synthesizer: Synthesizer, name: int) -> None:
        self.name = name
        self._synthesizer = synthesizer
        self._frames: deque[VoiceFrame] = deque(maxlen=AHEAD_FRAMES + 1)
        self._texts = 0
        self._read = 0
        self._untold = 0
        self._dropped = False

    @property
    def failure(self) -> str | None:
        """Why no more of it will come; None while all is well."""
        return self._synthesizer.failure

    @property
    def waiting(self) -> int:
        """Frames that have been made and not taken."""
        return len(self._frames)

    @property
    def pending(self) -> bool:
        """Whether there are words whose sound is still being made."""
        return self._read < self._texts

    def add(self, words: Sequence[str]) -> None:
        """Have these words read next; best a whole sentence."""
        if words and not self._dropped:
            self._texts += 1
            self._synthesizer.order({"kind": "text", "id": self.name, "words": list(words)})

    def take(self) -> VoiceFrame | None:
        """Give the next frame; None if it has not been made."""
        if not self._frames:
            return None
        frame = self._frames.popleft()
        self._untold += 1
        if self._untold >= _TELL_EVERY:
            played, self._untold = self._untold, 0
            self._synthesizer.order({"kind": "played", "id": self.name, "frames": played})
        return frame

    def drop(self) -> None:
        """Throw away what has been made, and have no more made."""
        if not self._dropped:
            self._dropped = True
            self._frames.clear()
            self._synthesizer.forget(self)

    def made(self, frame: VoiceFrame) -> None:
        """Take in a frame (the listening thread)."""
        if not self._dropped:
            self._frames.append(frame)

    def text_over(self) -> None:
        """Note that one text has been read to its end (the listening thread)."""
        self._read += 1


class Synthesizer:
    """Reads scripts aloud in another process. Start it before use."""

    def __init__(self, choice: TtsChoice, options: SynthesizerOptions | None = None) -> None:
        self.choice = choice
        self.options = options or SynthesizerOptions()
        self.failure: str | None = None
        """Why it reads nothing any more; None while it does."""
        self._changed = threading.Condition()
        self._orders: deque[Message] = deque(maxlen=_MOST_ORDERS)
        self._utterances: dict[int, Utterance] = {}
        self._names = 0
        self._closing = False
        self._ready = threading.Event()
        self._threads: list[threading.Thread] = []
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def name(self) -> str:
        """Name or folder of the checkpoint."""
        return self.choice.name

    # -- life ------------------------------------------------------------------------------

    def start(self) -> None:
        """Start the process; returns when it has loaded the checkpoint and can read.

        Raises ModelLoadingError with what kept it from that.
        """
        if self._process is not None:
            return
        options, choice = self.options, self.choice
        paths = os.pathsep.join(path for path in sys.path if path)
        process = subprocess.Popen(
            [sys.executable, "-m", "coda_voice.moshi.synthesis_process"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": str(options.threads)},
        )
        assert process.stdin is not None
        assert process.stdout is not None
        self._process = process
        self.order(
            {
                "name": choice.name,
                "folder": str(choice.folder),
                "speaker": str(choice.speaker),
                "device": options.device,
                "codebooks": options.codebooks,
                "rows": options.rows,
                "threads": options.threads,
                "ahead": AHEAD_FRAMES,
            }
        )
        for what, stream in ((self._write, process.stdin), (self._listen, process.stdout)):
            thread = threading.Thread(
                target=what, args=(stream,), name="coda-other-voice", daemon=True
            )
            thread.start()
            self._threads.append(thread)
        self._ready.wait()
        if self.failure is not None:
            reason = self.failure
            self.close()
            raise ModelLoadingError(
                f"The other voice {choice.name} did not start: {reason}", checkpoint=choice.name
            )

    def close(self) -> None:
        """End the process; utterances under way fall silent. May be called twice."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        process, self._process = self._process, None
        if process is None:
            return
        self._fail("it was closed")
        try:
            process.wait(_END_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        for thread in self._threads:
            thread.join()

    # -- utterances --------------------------------------------------------------------------

    def begin(self) -> Utterance:
        """Begin the sound of a script, of which nothing is known yet."""
        with self._changed:
            self._names += 1
            utterance = Utterance(self, self._names)
            self._utterances[utterance.name] = utterance
        return utterance

    def forget(self, utterance: Utterance) -> None:
        """See Utterance.drop."""
        with self._changed:
            self._utterances.pop(utterance.name, None)
        self.order({"kind": "drop", "id": utterance.name})

    def order(self, message: Message) -> None:
        """Have a message sent; the caller does not wait for it."""
        with self._changed:
            full = len(self._orders) == self._orders.maxlen
            if not full and self.failure is None:
                self._orders.append(message)
                self._changed.notify()
        if full:
            self._fail("its process takes no more orders")

    def _fail(self, reason: str) -> None:
        with self._changed:
            if self.failure is None:
                self.failure = reason
                if not self._closing:
                    logger.error("the other voice %s is gone: %s", self.name, reason)
            self._orders.clear()
            self._changed.notify()
        self._ready.set()

    # -- the two threads -----------------------------------------------------------------------

    def _write(self, stream: BinaryIO) -> None:
        try:
            while (message := self._next_order()) is not None:
                write_message(stream, message)
        except OSError as error:
            self._fail(f"its process is gone ({error})")
        finally:
            try:
                stream.close()  # that ends the process
            except OSError:
                logger.debug("the other voice's pipe was broken already")

    def _next_order(self) -> Message | None:
        with self._changed:
            while not (self._orders or self._closing or self.failure):
                self._changed.wait()
            return self._orders.popleft() if self._orders and not self._closing else None

    def _listen(self, stream: BinaryIO) -> None:
        try:
            with stream:
                while (found := read_message(stream)) is not None:
                    self._hear(*found)
            self._fail(f"its process has ended{self._how_it_ended()}")
        except (ValueError, OSError) as error:
            self._fail(f"its process talks nonsense: {error}")

    def _how_it_ended(self) -> str:
        process = self._process
        try:
            return "" if process is None else f" with status {process.wait(_END_SECONDS)}"
        except subprocess.TimeoutExpired:
            return ""

    def _hear(self, message: Message, payload: bytes) -> None:
        match message.get("kind"):
            case "ready":
                self._ready.set()
            case "failed":
                self._fail(str(message.get("message")))
            case "frame":
                utterance = self._utterances.get(number(message, "id"))
                if utterance is not None:
                    frame = VoiceFrame(samples_of(payload), number(message, "said"))
                    utterance.made(frame)
            case "text_over":
                utterance = self._utterances.get(number(message, "id"))
                if utterance is not None:
                    utterance.text_over()
            case other:
                raise ValueError(f"a message of kind {other!r}")
