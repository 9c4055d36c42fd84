"""Histograms for what happens with every frame: an observation takes a bisection and two additions.

prometheus_client's own go through bounds, locks and checks in Python: nine figures of each frame
took four times as long. Observe in one thread only; ``/metrics`` may be made in another.
"""

from __future__ import annotations

import time
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from itertools import accumulate

from prometheus_client.core import HistogramMetricFamily
from prometheus_client.registry import Collector


class Series:
    """The observations of one label value. ``bounds``: of the buckets, inclusive, ascending."""

    __slots__ = ("_bounds", "counts", "created", "total")

    def __init__(self, bounds: Sequence[float]) -> None:
        self._bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        """In each bucket alone; the last one has what is above all bounds."""
        self.total = 0.0
        self.created = time.time()

    def observe(self, value: float) -> None:
        """Take one more value in."""
        self.counts[bisect_left(self._bounds, value)] += 1
        self.total += value


class Histogram(Collector):
    """A histogram with a series for each of ``values`` of ``label``; without them, one series."""

    def __init__(
        self,
        name: str,
        documentation: str,
        bounds: Sequence[float],
        label: str | None = None,
        values: Sequence[str] = (),
    ) -> None:
        self._name = name
        self._documentation = documentation
        self._bounds = [*(repr(float(bound)) for bound in bounds), "+Inf"]
        self._labels = [] if label is None else [label]
        self._values = [[value] for value in values] if self._labels else [[]]
        self.series = [Series(bounds) for _ in self._values]
        """In the order of ``values``."""

    def collect(self) -> Iterator[HistogramMetricFamily]:
        """Give what has been observed, as prometheus_client's own histogram does."""
        family = HistogramMetricFamily(self._name, self._documentation, labels=self._labels)
        for values, series in zip(self._values, self.series, strict=True):
            counts = list(accumulate(map(float, series.counts)))
            buckets = list(zip(self._bounds, counts, strict=True))
            family.add_metric(values, buckets, series.total)
            labels = dict(zip(self._labels, values, strict=True))
            family.add_sample(f"{self._name}_created", labels, series.created)
        yield family
