"""Who was not let in, and why: a line of the log each, so that an operator need not guess.

The gate says who asks; whoever refuses them, however deep inside, says only the code. A flood
gets a line a second of each code, and every ten seconds one that counts the rest.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

from coda_voice.server.limits import RateLimit

logger = logging.getLogger(__name__)

LINES_PER_SECOND, LINES_AT_ONCE = 1.0, 10.0
"""Of each code: a flood of one kind does not hide the others."""
COUNT_SECONDS = 10.0
"""So often those are counted that had no line of their own."""
EDGE_CHARACTERS = 80
"""Of a path: the client writes it, at whatever length."""


@dataclass(slots=True)
class _Kind:
    """The refusals of one code."""

    lines: RateLimit
    left_out: int = 0
    counting: asyncio.TimerHandle | None = None


class RefusalLog:
    """Writes refusals down, bounded. In the event loop's thread; ``close`` before the loop ends."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._kinds: dict[str, _Kind] = {}  # codes are ours, so they are few

    def note(self, code: str, edge: str, address: str) -> None:
        """Write a line, or count it: a client at ``address`` was refused at ``edge``, a path.

        Never give it what a client has to keep secret; a query has the tokens of some.
        """
        kind = self._kinds.get(code)
        if kind is None:
            limit = RateLimit(LINES_PER_SECOND, LINES_AT_ONCE, self._clock)
            kind = self._kinds[code] = _Kind(limit)
        if kind.lines.take():
            _write(code=code, edge=edge[:EDGE_CHARACTERS], address=address)
            return
        kind.left_out += 1
        if kind.counting is None:
            loop = asyncio.get_running_loop()
            kind.counting = loop.call_later(COUNT_SECONDS, self._count, code, kind)

    def _count(self, code: str, kind: _Kind) -> None:
        left_out, kind.left_out, kind.counting = kind.left_out, 0, None
        _write(code=code, left_out=left_out)

    def close(self) -> None:
        """Write what has only been counted yet; again, where some were refused after it."""
        for code, kind in self._kinds.items():
            if kind.counting is not None:
                kind.counting.cancel()
                self._count(code, kind)

    @contextmanager
    def asked_by(self, edge: str, address: str) -> Iterator[None]:
        """Say who asks in the current task, and in those that it begins, for ``refused``."""
        before = _asking.set((self, edge, address))
        try:
            yield
        finally:
            _asking.reset(before)


_asking: ContextVar[tuple[RefusalLog, str, str] | None] = ContextVar("asking", default=None)


def refused(code: str) -> None:
    """Note that whoever asks in this task is refused; nothing where no gate was passed."""
    asking = _asking.get()
    if asking is not None:
        log, edge, address = asking
        log.note(code, edge, address)


def _write(**fields: object) -> None:
    logger.warning("client_refused", extra={"fields": fields})
