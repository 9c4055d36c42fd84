"""Records a conversation whose user has agreed: sound, words and events in one folder.

    FOLDER/20261121-054500-9f1c2ab3/
        audio.flac       stereo, 24 kHz: the user left, the agent right; playable even when the
                         server was killed meanwhile
        events.jsonl     every typed event, a line each, as it happened
        words.json       the words of both with their times (written at the end)
        recording.json   whose it is, when, how long, who agreed (``complete`` at the end)

Frames and events are handed over in the event loop's thread and written in another one; the
queue between them is bounded, and what it had to drop is told in ``recording.json``.
"""

from __future__ import annotations

import json
import logging
import queue
import re
import secrets
import shutil
import threading
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TypedDict

import numpy as np
import soundfile
from numpy.typing import NDArray
from pydantic import TypeAdapter

from coda_voice.errors import ConfigurationError
from coda_voice.events import Event, FramesDropped, Transcript, WordSpoken
from coda_voice.moshi.frames import FRAME_SAMPLES, FRAME_SECONDS, SAMPLE_RATE, Pcm

logger = logging.getLogger(__name__)

QUEUED = 512
"""Frames and events that may wait for the disk: half a minute of a conversation."""
PENDING_FRAMES = 128
"""Frames of the user whose answer has not come."""
MOST_WORDS = 200_000
CLOSE_SECONDS = 10.0
NAME = re.compile(r"[0-9]{8}-[0-9]{6}-[0-9a-f]{8}")
"""What a recording's folder is called; nothing else is ever opened."""


class RecordedWord(TypedDict):
    """A word with its times, in seconds from the beginning of the recording."""

    speaker: str
    text: str
    start: float
    end: float


@dataclass(frozen=True, slots=True)
class About:
    """What ``recording.json`` says."""

    name: str
    conversation_id: str
    user_id: str
    started: str
    agreed: str
    checkpoint: str = ""
    seconds: float = 0.0
    dropped: int = 0
    complete: bool = False

    @classmethod
    def read(cls, folder: Path) -> About:
        """Read that of a recording. Raises OSError or ValueError if it is damaged."""
        return _ABOUT.validate_json((folder / "recording.json").read_bytes())

    def write(self, folder: Path) -> None:
        """Write it; an older one is replaced whole."""
        said = {field: getattr(self, field) for field in self.__dataclass_fields__}
        _replace(folder / "recording.json", json.dumps(said, ensure_ascii=False, indent=1))


_ABOUT = TypeAdapter(About)

_Stereo = NDArray[np.float32]


class Recorder:
    """Writes one conversation. ``user`` and ``agent`` get the frames, ``event`` the events.

    ``agreed`` says how the user agreed; without that there is no recorder. Raises
    ConfigurationError when the folder cannot be written.
    """

    def __init__(
        self,
        recordings: Path,
        conversation_id: str,
        *,
        agreed: str,
        user_id: str,
        checkpoint: str = "",
    ) -> None:
        now = datetime.now(UTC)
        name = f"{now:%Y%m%d-%H%M%S}-{secrets.token_hex(4)}"
        self.folder = recordings / name
        self._about = About(
            name, conversation_id, user_id, now.isoformat(timespec="seconds"), agreed, checkpoint
        )
        self._pending: deque[Pcm] = deque(maxlen=PENDING_FRAMES)
        self._words: deque[RecordedWord] = deque(maxlen=MOST_WORDS)
        self._queue: queue.Queue[_Stereo | Event | None] = queue.Queue(QUEUED)
        self._dropped = self._frames = 0
        self._first_frame: int | None = None
        try:
            self.folder.mkdir(parents=True)
            self._about.write(self.folder)
            self._sound = soundfile.SoundFile(
                self.folder / "audio.flac", "w", SAMPLE_RATE, 2, "PCM_16", format="FLAC"
            )
            self._events = (self.folder / "events.jsonl").open("w", encoding="utf-8")
        except (OSError, soundfile.LibsndfileError) as error:
            shutil.rmtree(self.folder, ignore_errors=True)
            raise ConfigurationError(
                f"Nothing can be recorded in {recordings}: {error}. Choose another "
                "server.recordings, or make it writable.",
                "cannot_record",
            ) from error
        self._thread = threading.Thread(target=self._write_all, name="coda-recording", daemon=True)
        self._thread.start()

    # ---- handed over by the session -------------------------------------------------------

    def user(self, pcm: Pcm) -> None:
        """Take a frame of the user that was offered to the conversation."""
        self._pending.append(pcm)

    def agent(self, frame: int, pcm: Pcm) -> None:
        """Take the agent's frame of that number; it belongs to the oldest of the user's."""
        if self._first_frame is None:
            self._first_frame = frame
        heard = self._pending.popleft() if self._pending else np.zeros_like(pcm)
        self._hand_over(np.stack([heard, pcm], axis=1))

    def event(self, event: Event) -> None:
        """Take what happened in the conversation."""
        if isinstance(event, FramesDropped) and event.where == "inbox":
            for _ in range(min(event.count, len(self._pending))):
                self._pending.popleft()  # the engine never heard them
        self._note_words(event)
        self._hand_over(event)

    def _note_words(self, event: Event) -> None:
        if isinstance(event, WordSpoken):
            self._word(event.speaker, event.text, event.start, event.end)
        elif isinstance(event, Transcript) and event.final:
            for word in event.words:
                self._word(event.speaker, word.text, word.start, word.end)

    def _word(self, speaker: str, text: str, start: float, end: float) -> None:
        shift = (self._first_frame or 0) * FRAME_SECONDS
        self._words.append(
            RecordedWord(
                speaker=speaker,
                text=text,
                start=round(max(0.0, start - shift), 3),
                end=round(max(0.0, end - shift), 3),
            )
        )

    def _hand_over(self, item: _Stereo | Event) -> None:
        try:
            self._queue.put_nowait(item)
        except queue.Full:
            self._dropped += 1

    def close(self) -> Path:
        """Write what is left, and the words; gives the folder. Blocks: call it in a thread."""
        try:
            self._queue.put(None, timeout=CLOSE_SECONDS)
        except queue.Full:  # a disk that stands still; once it goes on, this must end all the same
            with suppress(queue.Empty):
                self._queue.get_nowait()
                self._dropped += 1
            self._queue.put_nowait(None)
        self._thread.join(CLOSE_SECONDS)
        return self.folder

    def discard(self) -> None:
        """Stop, and leave no folder behind. Blocks: call it in a thread."""
        shutil.rmtree(self.close(), ignore_errors=True)

    # ---- the writing thread ------------------------------------------------------------

    def _write_all(self) -> None:
        complete = True
        while (item := self._queue.get()) is not None:
            if complete:
                complete = self._attempt(partial(self._write, item))
            else:
                self._dropped += 1  # a full queue would hold up its end for ever
        complete = self._attempt(self._sound.close) and complete
        complete = self._attempt(self._events.close) and complete
        self._attempt(partial(self._finish, complete))

    def _attempt(self, write: Callable[[], None]) -> bool:
        """Say whether it was possible; what the user has deleted meanwhile is missed by nobody."""
        try:
            write()
        except (OSError, soundfile.LibsndfileError) as error:
            if self.folder.is_dir():
                logger.warning("The recording %s is not complete: %s", self._about.name, error)
            return False
        return True

    def _write(self, item: _Stereo | Event) -> None:
        if isinstance(item, Event):
            self._events.write(item.model_dump_json() + "\n")
            self._events.flush()
        else:
            self._sound.write(item)
            self._frames += 1

    def _finish(self, complete: bool) -> None:
        words = sorted(self._words, key=lambda word: word["start"])
        seconds = round(self._frames * FRAME_SAMPLES / SAMPLE_RATE, 2)
        about = self._about
        _replace(self.folder / "words.json", json.dumps(words, ensure_ascii=False, indent=0))
        About(
            about.name,
            about.conversation_id,
            about.user_id,
            about.started,
            about.agreed,
            about.checkpoint,
            seconds,
            self._dropped,
            complete,
        ).write(self.folder)


def _replace(path: Path, text: str) -> None:
    written = path.with_suffix(".part")
    written.write_text(text, encoding="utf-8")
    written.replace(path)
