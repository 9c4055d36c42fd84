"""The figures of every frame are told as prometheus_client's own histograms tell them."""

from __future__ import annotations

import random

import prometheus_client
import pytest
from prometheus_client import CollectorRegistry, generate_latest

from coda_voice.server.histograms import Histogram

BOUNDS = (0.005, 0.08, 1.0, 2.56)


@pytest.mark.parametrize(("label", "values"), [("stage", ["encode", "model"]), (None, [])])
def test_it_tells_the_same(label: str | None, values: list[str]):
    ours, theirs = CollectorRegistry(), CollectorRegistry()
    mine = Histogram("way_seconds", "A way", BOUNDS, label, values)
    ours.register(mine)
    known = prometheus_client.Histogram(
        "way_seconds", "A way", [label] if label else [], buckets=BOUNDS, registry=theirs
    )
    children = [known.labels(value) for value in values] or [known]
    draw = random.Random(1)
    seen = [0.0, -0.0, *BOUNDS, 1e9, *(draw.expovariate(1) for _ in range(500))]
    for series, child in zip(mine.series, children, strict=True):
        for value in draw.sample(seen, 400):
            series.observe(value)
            child.observe(value)

    def told(registry: CollectorRegistry) -> list[str]:
        """All lines, without the times at which the series were begun."""
        lines = generate_latest(registry).decode().splitlines()
        return [line.rpartition(" ")[0] if "_created" in line else line for line in lines]

    assert told(ours) == told(theirs)
