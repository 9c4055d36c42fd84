"""What is written down: one line per event that matters, for people or for machines.

Besides the log proper there are two files by option: a timing log (one line per frame: how
long each stage took) and a text log (what was said, by whom, when). All are written by one
background thread behind a bounded queue, so that a slow disk never holds up a frame: lines
that do not fit are dropped and counted, and the files rotate at 10 MB.
"""

from __future__ import annotations

import json
import logging
import logging.handlers
import queue
import sys
from pathlib import Path
from typing import ClassVar

from coda_voice.config import LoggingConfig
from coda_voice.errors import ConfigurationError
from coda_voice.events import Event, ToolServerChanged, WordSpoken
from coda_voice.moshi.frames import FrameOut

log = logging.getLogger("coda_voice")
QUEUE_LINES = 10_000
ROTATE_BYTES = 10 * 1024 * 1024
ROTATE_FILES = 3
QUIET_EVENTS = frozenset({"word"})
"""Events for the debug level: dozens a minute."""
LOUD_EVENTS = frozenset({"error", "frames_dropped", "setting_without_effect"})
"""Events that deserve a warning."""


class HumanFormatter(logging.Formatter):
    """``12:34:56 INFO  conversation_started conversation=… checkpoint=…``."""

    default_time_format = "%H:%M:%S"
    default_msec_format = ""

    def format(self, record: logging.LogRecord) -> str:
        """Give the line."""
        fields = getattr(record, "fields", None)
        shown = "".join(f" {k}={_short(v)}" for k, v in fields.items()) if fields else ""
        line = f"{self.formatTime(record)} {record.levelname:<7} {record.getMessage()}{shown}"
        return f"{line}\n{self.formatException(record.exc_info)}" if record.exc_info else line


class JsonFormatter(logging.Formatter):
    """One JSON object a line: ``time`` (Unix), ``level``, ``message``, and the event's fields."""

    def format(self, record: logging.LogRecord) -> str:
        """Give the line."""
        line: dict[str, object] = {
            "time": record.created,
            "level": record.levelname.lower(),
            "message": record.getMessage(),
            **(getattr(record, "fields", None) or {}),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False, default=str)


def _short(value: object) -> str:
    text = f"{value:.3f}" if isinstance(value, float) else str(value)
    if text.isprintable() and text and " " not in text:
        return text
    # What would begin a new line, or move the cursor, is shown by its number.
    return json.dumps(text, ensure_ascii=not text.isprintable())


class _BoundedQueueHandler(logging.handlers.QueueHandler):
    """Hands lines to the writing thread; drops and counts them when it cannot keep up."""

    def __init__(self) -> None:
        self.lines: queue.Queue[logging.LogRecord] = queue.Queue(QUEUE_LINES)
        super().__init__(self.lines)
        self.dropped = 0

    def enqueue(self, record: logging.LogRecord) -> None:
        """Put the line into the queue if there is room."""
        try:
            self.lines.put_nowait(record)
        except queue.Full:
            self.dropped += 1

    def prepare(self, record: logging.LogRecord) -> logging.LogRecord:
        """Leave formatting to the writing thread: our records hold only plain values."""
        return record


class Logs:
    """The logs of one manager, from ``open`` to ``close``.

    The ``coda_voice`` logger itself is given a handler only when the embedding program has
    not configured logging: an application's own set-up is left alone. Its level is that of the
    manager opened last, and after the last one what it was before the first.
    """

    _open: ClassVar[list[Logs]] = []
    _level_before: ClassVar[int] = logging.NOTSET

    def __init__(self, settings: LoggingConfig) -> None:
        self._settings = settings
        self._listeners: list[logging.handlers.QueueListener] = []
        self._attached: list[tuple[logging.Logger, logging.Handler]] = []
        self._timing: logging.Logger | None = None
        self._text: logging.Logger | None = None
        self._queues: list[_BoundedQueueHandler] = []

    @property
    def dropped_lines(self) -> int:
        """Lines that were not written because the disk did not keep up."""
        return sum(handler.dropped for handler in self._queues)

    def open(self) -> None:
        """Open the files. Raises ConfigurationError where one cannot be written."""
        if not Logs._open:
            Logs._level_before = log.level
        Logs._open.append(self)
        self._set_level()
        if not log.hasHandlers():
            console = logging.StreamHandler(sys.stderr)
            console.setFormatter(
                JsonFormatter() if self._settings.format == "json" else HumanFormatter()
            )
            log.addHandler(console)
            self._attached.append((log, console))
        if self._settings.timing_log:
            self._timing = self._file("timing", self._settings.timing_log)
        if self._settings.text_log:
            self._text = self._file("text", self._settings.text_log)

    def _file(self, name: str, path: str) -> logging.Logger:
        target = Path(path).expanduser()
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            handler = logging.handlers.RotatingFileHandler(
                target, maxBytes=ROTATE_BYTES, backupCount=ROTATE_FILES, encoding="utf-8"
            )
        except OSError as error:
            self.close()
            raise ConfigurationError(
                f"The {name} log {target} cannot be written: {error.strerror}. "
                f"Name another file in logging.{name}_log.",
                path=str(target),
            ) from error
        handler.setFormatter(logging.Formatter("%(message)s"))
        bounded = _BoundedQueueHandler()
        listener = logging.handlers.QueueListener(bounded.lines, handler)
        listener.start()
        self._listeners.append(listener)
        self._queues.append(bounded)
        logger = logging.getLogger(f"coda_voice.{name}.{id(self):x}")
        logger.propagate = False
        logger.setLevel(logging.INFO)
        logger.addHandler(bounded)
        self._attached.append((logger, bounded))
        return logger

    def close(self) -> None:
        """Write what is still queued and close the files. May be called twice."""
        for listener in self._listeners:
            listener.stop()
            for written_to in listener.handlers:
                written_to.close()
        self._listeners.clear()
        for logger, handler in self._attached:
            logger.removeHandler(handler)
            handler.close()
        self._attached.clear()
        self._timing = self._text = None
        if self in Logs._open:
            Logs._open.remove(self)
            self._set_level()

    @staticmethod
    def _set_level() -> None:
        last = Logs._open[-1]._settings.level.upper() if Logs._open else Logs._level_before
        log.setLevel(last)

    def event(self, event: Event) -> None:
        """Write one line about ``event``; words also go to the text log."""
        fields = event.model_dump(mode="json", exclude={"type", "wall", "id", "generation"})
        level = (
            logging.DEBUG
            if event.type in QUIET_EVENTS
            else logging.WARNING
            if event.type in LOUD_EVENTS
            or (isinstance(event, ToolServerChanged) and event.state != "ready")
            else logging.INFO
        )
        log.log(level, event.type, extra={"fields": {k: v for k, v in fields.items() if v != ""}})
        if self._text is not None and isinstance(event, WordSpoken):
            self._text.info(
                "%s %8.2f %8.2f %s %s",
                event.conversation_id,
                event.start,
                event.end,
                event.speaker,
                event.text,
            )

    def frame(self, conversation_id: str, frame: FrameOut) -> None:
        """Write the times of one frame, milliseconds per stage, to the timing log."""
        if self._timing is None:
            return
        times = frame.times
        self._timing.info(
            "%s frame=%d queued=%.2f encode=%.2f model=%.2f decode=%.2f total=%.2f",
            conversation_id,
            frame.frame,
            times.queued * 1e3,
            times.encode * 1e3,
            times.model * 1e3,
            times.decode * 1e3,
            times.total * 1e3,
        )
