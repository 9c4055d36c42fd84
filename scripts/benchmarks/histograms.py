"""Histograms of Prometheus's text format, read back."""

from __future__ import annotations

from dataclasses import dataclass

from prometheus_client.parser import text_string_to_metric_families


@dataclass(frozen=True, slots=True)
class Histogram:
    """Counts of values up to each bound (cumulative, the last bound infinite), and their sum."""

    bounds: tuple[float, ...]
    counts: tuple[float, ...]
    sum: float

    @property
    def count(self) -> float:
        """How many values there are."""
        return self.counts[-1] if self.counts else 0.0

    def __sub__(self, earlier: Histogram) -> Histogram:
        """Give what was added since ``earlier``, which may be empty."""
        if not earlier.bounds:
            return self
        counts = tuple(now - then for now, then in zip(self.counts, earlier.counts, strict=True))
        return Histogram(self.bounds, counts, self.sum - earlier.sum)

    def quantile_ms(self, share: float) -> float | None:
        """Give a quantile in milliseconds, as Prometheus does: by a line within its bucket."""
        wanted = share * self.count
        lower, before = 0.0, 0.0
        for bound, count in zip(self.bounds, self.counts, strict=True):
            if count >= wanted and count > before:
                if bound == float("inf"):
                    return 1e3 * lower
                return 1e3 * (lower + (bound - lower) * (wanted - before) / (count - before))
            lower, before = bound, count
        return None

    def share_over(self, bound: float) -> float | None:
        """Give the share of values above one of the bounds. Raises ValueError for another."""
        if not self.count:
            return None
        return 1.0 - self.counts[self.bounds.index(bound)] / self.count


def read(metrics: str, name: str, **labels: str) -> Histogram:
    """Read a histogram; an empty one if it is not there (yet)."""
    buckets: list[tuple[float, float]] = []
    total = 0.0
    for family in text_string_to_metric_families(metrics):
        if family.name != name:
            continue
        for sample in family.samples:
            if any(sample.labels.get(key) != value for key, value in labels.items()):
                continue
            if sample.name == f"{name}_bucket":
                buckets.append((float(sample.labels["le"]), sample.value))
            elif sample.name == f"{name}_sum":
                total = sample.value
    buckets.sort()
    return Histogram(tuple(b for b, _ in buckets), tuple(c for _, c in buckets), total)
