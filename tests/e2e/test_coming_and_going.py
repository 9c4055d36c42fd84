"""Conversations that come and go: of none is anything kept.

First in the alphabet, so that its two minutes pass beside all the rest.
"""

from __future__ import annotations

import pytest

from tests.integration.visitors import receive_visitors


@pytest.mark.timeout(1200)
async def test_two_minutes_of_coming_and_going_leave_nothing_behind():
    """Eight at a time at a microphone's pace, a process of its own; `make soak-server`: hours.

    What is left behind is left by each visit, so there are many short ones: the longest still
    hears an answer to what it asked.
    """
    soak = await receive_visitors(2, wave_seconds=6, longest=45)
    soak.check()
