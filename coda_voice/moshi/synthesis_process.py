"""The process that reads texts aloud: ``python -m coda_voice.moshi.synthesis_process``.

Started by ``coda_voice.moshi.synthesizer`` and of no use by itself. A process, and not a
thread beside the engine's: so that nothing it computes takes the interpreter's lock, the
device's streams or the memory from the frame clock, and what kills it kills only it. It ends
when its standard input does.
"""

from __future__ import annotations

import contextlib
import os
import queue
import signal
import sys
import threading
from collections import deque
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

import torch

from coda_voice.errors import VoiceProcessingError
from coda_voice.moshi.synthesis import Synthesis
from coda_voice.moshi.synthesis_wire import Message, number, read_message, write_message
from coda_voice.moshi.tts import TtsChoice, open_tts

_UNREAD = 256
"""Orders that wait to be looked at; then the pipe fills, and its writer waits."""
_MAX_TEXTS = 256
_NICENESS = 5
"""Where both compute on the same cores, the conversation comes first."""


@dataclass(slots=True)
class _Utterance:
    """A script's texts, in order, and how much of their sound has been sent and played."""

    texts: deque[list[str]] = field(default_factory=lambda: deque(maxlen=_MAX_TEXTS))
    row: int | None = None
    said: int = 0
    """Words of the texts before the one that is being read."""
    reading: int = 0
    """Words of that one."""
    sent: int = 0
    played: int = 0


class Reader:
    """Reads utterances aloud as they are wanted, and sends their frames."""

    def __init__(self, synthesis: Synthesis, out: BinaryIO, ahead: int) -> None:
        self._synthesis = synthesis
        self._out = out
        self._ahead = ahead
        self._utterances: dict[int, _Utterance] = {}

    @property
    def wanted(self) -> bool:
        """Whether there is a frame to make."""
        self._assign_rows()
        return bool(self._due())

    def take(self, order: Message) -> None:
        """Do as a message says. Raises ValueError for one that says nothing."""
        name = number(order, "id")
        match order.get("kind"):
            case "text":
                words = order.get("words")
                if not isinstance(words, list):
                    raise ValueError("a text without words")
                self._utterances.setdefault(name, _Utterance()).texts.append(words)
            case "played" if name in self._utterances:
                self._utterances[name].played += number(order, "frames")
            case "drop":
                gone = self._utterances.pop(name, None)
                if gone is not None and gone.row is not None:
                    self._synthesis.drop(gone.row)

    def step(self) -> None:
        """Make 80 ms of every utterance whose sound is wanted."""
        due = self._due()
        sounds = self._synthesis.step(list(due))
        for row, sound in sounds.items():
            name = due[row]
            utterance = self._utterances[name]
            if sound.pcm is not None:
                utterance.sent += 1
                said = utterance.said + sound.said
                message = {"kind": "frame", "id": name, "said": said}
                write_message(self._out, message, sound.pcm.astype("<f4").tobytes())
            if sound.over:
                self._text_over(name, utterance)

    def _text_over(self, name: int, utterance: _Utterance) -> None:
        utterance.said += utterance.reading
        utterance.reading = 0
        utterance.row = None
        write_message(self._out, {"kind": "text_over", "id": name})

    def _due(self) -> dict[int, int]:
        """The rows whose next frame somebody will want, and whose they are."""
        return {
            utterance.row: name
            for name, utterance in self._utterances.items()
            if utterance.row is not None and utterance.sent - utterance.played < self._ahead
        }

    def _assign_rows(self) -> None:
        taken = {utterance.row for utterance in self._utterances.values()}
        free = deque(row for row in range(self._synthesis.rows) if row not in taken)
        for name, utterance in self._utterances.items():
            while utterance.row is None and utterance.texts and free:
                words = utterance.texts.popleft()
                utterance.reading = len(words)
                if self._synthesis.begin(free[0], words):
                    utterance.row = free.popleft()
                else:
                    self._text_over(name, utterance)


def _serve(orders: BinaryIO, out: BinaryIO) -> None:
    first = read_message(orders)
    if first is None:
        return
    opening, _ = first
    torch.set_num_threads(number(opening, "threads"))
    choice = TtsChoice(
        str(opening["name"]), Path(str(opening["folder"])), Path(str(opening["speaker"]))
    )
    codebooks = opening.get("codebooks")
    model, voice = open_tts(
        choice, str(opening["device"]), codebooks if isinstance(codebooks, int) else None
    )
    synthesis = Synthesis(model, voice, number(opening, "rows"))
    synthesis.warm_up()
    write_message(out, {"kind": "ready"})
    reader = Reader(synthesis, out, number(opening, "ahead"))
    inbox: queue.Queue[Message | None] = queue.Queue(_UNREAD)
    threading.Thread(target=_listen, args=(orders, inbox), daemon=True).start()
    while True:
        wanted = reader.wanted
        while not (wanted and inbox.empty()):
            order = inbox.get()
            if order is None:
                return
            reader.take(order)
            wanted = reader.wanted
        reader.step()


def _listen(orders: BinaryIO, inbox: queue.Queue[Message | None]) -> None:
    while (found := read_message(orders)) is not None:
        inbox.put(found[0])
    inbox.put(None)


def main() -> None:
    """Serve until the other end is gone; what goes wrong is told to it."""
    orders = sys.stdin.buffer
    # Whatever prints must not end up between the messages.
    out = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    # Ctrl-C reaches the whole group: who started it ends it, once the conversations are over.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if hasattr(os, "nice"):
        os.nice(_NICENESS)
    try:
        _serve(orders, out)
    except BrokenPipeError:
        pass  # nobody listens any more
    except VoiceProcessingError as error:
        _report(out, error.message)
    except Exception as error:  # noqa: BLE001 - told to the process that depends on it
        _report(out, f"{type(error).__name__}: {error}")
    os._exit(0)  # the listening thread may be in a read that never ends


def _report(out: BinaryIO, message: str) -> None:
    with contextlib.suppress(OSError):
        write_message(out, {"kind": "failed", "message": message})


if __name__ == "__main__":
    main()
