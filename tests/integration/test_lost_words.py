"""Whenever an answer comes, also while Moshi's own sentence ends, each of its words sounds."""

from __future__ import annotations

from coda_voice import VoiceManager
from coda_voice.audio.features import level_dbfs
from coda_voice.events import ScriptEnded, WordSpoken
from coda_voice.moshi.engine import Engine
from coda_voice.moshi.script import SILENT_FRAMES
from coda_voice.scripted_voice import ScriptedVoice
from coda_voice.turns import AGENT_LEVEL_DBFS
from tests.conftest import Spoken
from tests.integration.hybrid_talk import HybridTalk
from tests.integration.llm_server import LlmServer


async def test_no_word_is_lost_where_moshi_has_just_spoken(engine: Engine, spoken: Spoken):
    config = {
        "mode": "hybrid",
        "moshi": {"device": "cpu", "seed": 0},
        "hybrid": {"filler_after": 60.0},
    }
    async with LlmServer(lambda _: [600.0]) as server:
        settings = {**config, "external_llm": {"endpoint": server.url}}
        async with VoiceManager(settings, engine=engine) as manager:
            for frames, text in ((9, "You like chess."), (13, "You like chess."), (13, "You.")):
                talk = await HybridTalk.begin(manager)
                await talk.say(spoken.pcm("weather"), "tell me about the weather there")
                await talk.silence(frames)  # Moshi says something meanwhile
                voice = next(
                    a for a in talk.conversation.attendants if isinstance(a, ScriptedVoice)
                )
                said = voice.say(text, origin="answer").script
                await talk.until(lambda: bool(talk.of(ScriptEnded)), 120)  # noqa: B023
                await talk.silence(15)
                assert [word.text for word in said.said] == text.split()
                for word in said.said:
                    sound = talk.heard[word.step : word.step + SILENT_FRAMES]
                    levels = [level_dbfs(heard.frame.pcm) for heard in sound]
                    assert max(levels) > AGENT_LEVEL_DBFS, (word, levels, said.silent)
                (ended,) = talk.of(ScriptEnded)
                assert ended.heard == text
                began = min(forced.step for forced in (*said.said, *said.silent)) * 0.08
                spoken_words = [
                    word.text
                    for word in talk.of(WordSpoken)
                    if word.speaker == "agent" and word.start > began - 0.01
                ]
                assert spoken_words[: len(said.said)] == text.lower().split(), said.silent
                await manager.end_conversation(talk.conversation.id)
