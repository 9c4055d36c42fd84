"""The last events, in order, for those who follow them and for those who come back."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass

from coda_voice.events import Event, next_event_id

BATCH = 256
"""Events handed out at once, so that one follower does not hold up the event loop."""


@dataclass(frozen=True, slots=True)
class Missed:
    """A follower was too slow, or came back too late: so many events are gone."""

    count: int


class EventLog:
    """Keeps the last ``capacity`` events; followers read at their own pace.

    Ids rise in the order of the log: who comes back names the last one. An event that was made
    before another one and published after it (by another thread, or while its neighbours were
    handed out) gets a new id.

    ``append`` may be called in any thread, the rest in the event loop's, where ``on_event`` is
    called with each event. ``start`` says which loop that is.
    """

    def __init__(
        self, capacity: int, on_event: Callable[[Event], None] = lambda event: None
    ) -> None:
        self._events: deque[Event] = deque(maxlen=max(1, capacity))
        self._first = 0
        self._newest = 0
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread = 0
        self._on_event = on_event
        self._more = asyncio.Event()
        self._arriving: deque[Event] = deque()
        """In the log, and not yet handed on: no more than the event loop has been called for."""

    def start(self) -> None:
        """Hand events on in the running event loop, which is this thread's."""
        self._loop = asyncio.get_running_loop()
        self._thread = threading.get_ident()

    def append(self, event: Event) -> None:
        """Take in an event."""
        with self._lock:
            if event.id <= self._newest:
                event = event.model_copy(update={"id": next_event_id()})
            self._newest = event.id
            if len(self._events) == self._events.maxlen:
                self._first += 1
            self._events.append(event)
            if self._loop is None or self._loop.is_closed():
                return
            self._arriving.append(event)
        if threading.get_ident() == self._thread:
            self._arrived()
        else:
            self._loop.call_soon_threadsafe(self._arrived)

    def _arrived(self) -> None:
        more, self._more = self._more, asyncio.Event()
        more.set()
        while self._arriving:  # those of other threads that came first, too
            self._on_event(self._arriving.popleft())

    async def follow(
        self, wants: Callable[[Event], bool], after: int | None = None
    ) -> AsyncGenerator[Event | Missed, None]:
        """Give the events that ``wants`` says yes to, for ever, in order.

        ``after``: the id of the last event known; what is kept of later ones comes first, and
        before them how many are not. An id that no event has had yet is of a server before this
        one: what is gone since is told, be it 0 of this one's. None begins with what happens
        from now on.
        """
        position, gone = (self._end(), None) if after is None else self._position_after(after)
        if gone is not None:
            yield Missed(gone)
        while True:
            more = self._more
            batch, position, missed = self._read(position)
            if missed:
                yield Missed(missed)
            for event in batch:
                if wants(event):
                    yield event
            if not batch:
                await more.wait()

    def recent(self, wants: Callable[[Event], bool], limit: int) -> list[Event]:
        """Give the last events that ``wants`` says yes to, oldest first."""
        with self._lock:
            events = list(self._events)
        return [event for event in events if wants(event)][-limit:]

    def _end(self) -> int:
        with self._lock:
            return self._first + len(self._events)

    def _position_after(self, event_id: int) -> tuple[int, int | None]:
        """Give where to go on, and how many events are gone before; None if none is."""
        with self._lock:
            another_server = event_id > max((event.id for event in self._events), default=0)
            after = 0 if another_server else event_id
            for offset in range(len(self._events) - 1, -1, -1):
                if self._events[offset].id <= after:
                    return self._first + offset + 1, None
            # Ids also count what was never of this log: events of another server in the process.
            between = self._events[0].id - after - 1 if self._events else 0
            gone = min(self._first, between)
            return self._first, gone if gone or another_server else None

    def _read(self, position: int) -> tuple[list[Event], int, int]:
        with self._lock:
            missed = max(0, self._first - position)
            start = max(position, self._first) - self._first
            batch = [self._events[i] for i in range(start, min(start + BATCH, len(self._events)))]
            return batch, self._first + start + len(batch), missed
