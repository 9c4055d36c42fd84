"""Interruptions at random moments: silence in time, no stale word or tool, a true history.

Four of what scripts/benchmark_hybrid.py does two hundred times.
"""

from __future__ import annotations

import random

from coda_voice import VoiceManager
from coda_voice.moshi.engine import Engine
from scripts.benchmarks.hybrid import ALLOWED_SECONDS, LONG_ANSWER, interrupt, tool_then
from tests.conftest import Spoken
from tests.integration.hybrid_talk import HybridTalk
from tests.integration.llm_server import LlmServer


async def test_interruptions_at_random_moments(engine: Engine, spoken: Spoken):
    chance = random.Random(3)
    config = {
        "mode": "hybrid",
        "moshi": {"device": "cpu", "seed": 5},
        "hybrid": {"filler_after": 60.0},
    }
    async with LlmServer(tool_then(LONG_ANSWER, 0.05)) as server:
        llm = {"external_llm": {"endpoint": server.url}}
        async with VoiceManager({**config, **llm}, engine=engine) as manager:
            talk = await HybridTalk.begin(manager)
            trials = [
                await interrupt(
                    talk,
                    spoken.pcm("weather"),
                    "tell me about the weather there",
                    spoken.pcm("stop"),
                    spoken.facts["stop"]["onset"],
                    chance,
                )
                for _ in range(4)
            ]
    assert {trial.during for trial in trials} & {"script", "lead"}, "some fell into an answer"
    for trial in trials:
        assert trial.late_words == 0 and trial.stale_tools == 0 and trial.history_true, trial
        if trial.spoke and trial.during in ("script", "tool or stream", "stream"):
            assert trial.silent_after is not None, trial
            assert trial.silent_after <= ALLOWED_SECONDS + 1e-6, trial
