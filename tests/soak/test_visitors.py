"""Two hours of conversations coming and going (`make soak-server`): nothing may grow.

CODA_SOAK_MINUTES says how long instead. Writes benchmarks/soak_visitors.json and a plot.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.integration.visitors import receive_visitors

MINUTES = float(os.environ.get("CODA_SOAK_MINUTES", "120"))
OUT = Path(__file__).parents[2] / "benchmarks" / "soak_visitors.json"


@pytest.mark.soak
@pytest.mark.timeout(int(MINUTES * 60 + 900))
async def test_eight_conversations_coming_and_going():
    soak = await receive_visitors(MINUTES, wave_seconds=min(60.0, MINUTES * 60 / 12), longest=400)
    soak.write(OUT)
    soak.check()
