"""The bus that carries events (``events``) to whoever wants them.

Sockets, metrics, analytics and the timeline plot only subscribe: nothing in the engine waits for a
subscriber. A subscriber that does not keep up loses its oldest events, and the loss is counted.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import suppress

from coda_voice.events import Event

logger = logging.getLogger(__name__)


class Subscription:
    """A bounded view on the bus: an async iterator of events, oldest dropped first."""

    def __init__(self, bus: EventBus, conversation_id: str | None, maxlen: int) -> None:
        self._bus = bus
        self._conversation_id = conversation_id
        self._events: deque[Event] = deque(maxlen=maxlen)
        self._loop = asyncio.get_running_loop()
        self._ready = asyncio.Event()
        self._closed = False
        self.dropped = 0

    def wants(self, event: Event) -> bool:
        """Whether this subscription asked for such an event."""
        return self._conversation_id in (None, event.conversation_id)

    def _put(self, event: Event) -> None:
        if len(self._events) == self._events.maxlen:
            self.dropped += 1
        self._events.append(event)
        self._look()

    def _look(self) -> None:
        with suppress(RuntimeError):  # its loop has closed: nobody waits there
            self._loop.call_soon_threadsafe(self._ready.set)

    def close(self) -> None:
        """End the iteration and leave the bus."""
        self._closed = True
        self._bus._leave(self)
        self._look()

    async def __aiter__(self) -> AsyncIterator[Event]:
        while True:
            self._ready.clear()
            while self._events:
                yield self._events.popleft()
            if self._closed:
                return
            await self._ready.wait()


class EventBus:
    """Carries events to whoever subscribed, from any thread, never waiting for anyone."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._subscriptions: list[Subscription] = []
        self._listeners: list[Callable[[Event], None]] = []
        self._failed: deque[Callable[[Event], None]] = deque(maxlen=64)
        """Listeners whose failure has been logged: once is enough."""

    def publish(self, event: Event) -> None:
        """Hand ``event`` to every subscriber. Callable from any thread."""
        with self._lock:
            subscriptions = [s for s in self._subscriptions if s.wants(event)]
            listeners = list(self._listeners)
        for subscription in subscriptions:
            if subscription._loop.is_closed():
                self._leave(subscription)
            else:
                subscription._put(event)
        for listener in listeners:
            try:
                listener(event)
            except Exception:  # the conversation it hears of goes on, and so do other listeners
                if listener not in self._failed:
                    self._failed.append(listener)
                    logger.exception("a listener failed; it is told of what follows all the same")

    def subscribe(self, conversation_id: str | None = None, maxlen: int = 1024) -> Subscription:
        """Open a subscription; needs a running event loop. None means all conversations."""
        subscription = Subscription(self, conversation_id, maxlen)
        with self._lock:
            self._subscriptions.append(subscription)
        return subscription

    def listen(self, listener: Callable[[Event], None]) -> Callable[[], None]:
        """Call ``listener`` in the publishing thread; it must not block. Returns its undo.

        What it raises is logged, the first time, and harms nobody else.
        """
        with self._lock:
            self._listeners.append(listener)

        def leave() -> None:
            with self._lock:
                if listener in self._listeners:
                    self._listeners.remove(listener)

        return leave

    def _leave(self, subscription: Subscription) -> None:
        with self._lock:
            if subscription in self._subscriptions:
                self._subscriptions.remove(subscription)
