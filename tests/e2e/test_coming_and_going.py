"""Conversations that come and go: of none is anything kept.

First in the alphabet, so that its five minutes pass beside all the rest.
"""

from __future__ import annotations

import pytest

from tests.integration.visitors import receive_visitors


@pytest.mark.timeout(1200)
async def test_five_minutes_of_coming_and_going_leave_nothing_behind():
    """Eight at a time at a microphone's pace, a process of its own; `make soak-server`: hours."""
    soak = await receive_visitors(5, wave_seconds=12, longest=80)
    soak.check()
