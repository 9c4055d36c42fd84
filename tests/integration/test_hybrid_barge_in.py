"""Interruptions at random moments: silence in time, no stale word or tool, a true history.

Four of what scripts/benchmark_hybrid.py does two hundred times.
"""

from __future__ import annotations

import random

from coda_voice import VoiceManager
from coda_voice.composition import HouseTools
from coda_voice.moshi.engine import Engine
from scripts.benchmarks.hybrid import LONG_ANSWER, look_up, tool_then
from scripts.benchmarks.interruptions import COUNTED_MOMENTS, interrupt
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
        settings = {**config, "external_llm": {"endpoint": server.url}}
        tools = HouseTools(look_up)
        async with VoiceManager(settings, engine=engine, tools=tools) as manager:
            talk = await HybridTalk.begin(manager)
            question = spoken.pcm("weather"), "tell me about the weather there"
            trials = []
            # On a slow machine the first few may all fall into the tool.
            while len(trials) < 4 or (
                not {trial.during for trial in trials} & {"script", "lead"} and len(trials) < 16
            ):
                trial = await interrupt(
                    talk, question, spoken.pcm("stop"), spoken.facts["stop"], chance
                )
                trials.append(trial)
    moments = {trial.during for trial in trials}
    assert moments & {"script", "lead"}, f"some fell into an answer: {moments}"
    for trial in trials:
        assert trial.late_words == 0 and trial.stale_tools == 0 and trial.history_true, trial
        assert trial.silent or trial.during not in COUNTED_MOMENTS, trial
