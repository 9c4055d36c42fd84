"""How much one client may do: rates, and connections by address."""

from __future__ import annotations

import time
from collections import OrderedDict, defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager

ADDRESSES_REMEMBERED = 4_096
"""Rates are kept of so many addresses; the one heard of longest ago is forgotten first."""


class RateLimit:
    """A token bucket: ``rate`` units a second in the long run, ``burst`` at once."""

    def __init__(
        self, rate: float, burst: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.rate = rate
        self.burst = burst
        self._clock = clock
        self._left = burst
        self._at = clock()

    def take(self, units: float = 1.0) -> bool:
        """Use ``units`` if they are there; False, and nothing used, if not."""
        now = self._clock()
        self._left = min(self.burst, self._left + (now - self._at) * self.rate)
        self._at = now
        if units > self._left:
            return False
        self._left -= units
        return True

    @property
    def seconds_until_one(self) -> float:
        """How long until one unit is there again."""
        return max(0.0, (1.0 - self._left) / self.rate)


class AddressLimits:
    """Connections of each address: how many at once, how many new ones a second."""

    def __init__(
        self,
        connections: int,
        connects_per_second: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.connections = connections
        self.connects_per_second = connects_per_second
        self.refused = 0
        self._clock = clock
        self._open: defaultdict[str, int] = defaultdict(int)
        self._rates: OrderedDict[str, RateLimit] = OrderedDict()

    def change(self, connections: int, connects_per_second: int) -> None:
        """Set other limits; rates are counted anew."""
        self.connections = connections
        if connects_per_second != self.connects_per_second:
            self.connects_per_second = connects_per_second
            self._rates.clear()

    def enter(self, address: str) -> float | None:
        """Count a connection in. Seconds to wait, and nothing counted, where it is too many."""
        rate = self._rates.pop(address, None)
        if rate is None:
            each = self.connects_per_second
            rate = RateLimit(each, 2 * each, self._clock)
        self._rates[address] = rate
        while len(self._rates) > ADDRESSES_REMEMBERED:
            self._rates.popitem(last=False)
        if not rate.take():
            self.refused += 1
            return rate.seconds_until_one
        if self._open.get(address, 0) >= self.connections:
            self.refused += 1
            return 1.0
        self._open[address] += 1
        return None

    def leave(self, address: str) -> None:
        """Count a connection out that ``enter`` let in."""
        self._open[address] -= 1
        if not self._open[address]:
            del self._open[address]

    @contextmanager
    def connection(self, address: str) -> Iterator[float | None]:
        """Count a connection for as long as the context lasts; gives what ``enter`` gives."""
        wait = self.enter(address)
        try:
            yield wait
        finally:
            if wait is None:
                self.leave(address)

    @property
    def open(self) -> int:
        """Connections open now."""
        return sum(self._open.values())
