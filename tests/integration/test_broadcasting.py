"""Coda's WebSocketVoiceManager: every operation is broadcast, and a broken one harms nobody."""

from __future__ import annotations

import asyncio
import json

import numpy as np
import pytest

from coda_voice import IntegrationError
from coda_voice.broadcasting import WebSocketVoiceManager
from coda_voice.moshi.engine import Engine
from tests.conftest import Spoken


class Listener:
    def __init__(self) -> None:
        self.events: list[tuple[str, dict[str, object]]] = []

    async def broadcast_event(self, event_type: str, data: dict[str, object]) -> None:
        json.dumps(data)  # as its server would
        self.events.append((event_type, data))


class Integration:
    def __init__(self) -> None:
        self.server = Listener()


class Broken:
    def broadcast_event(self, event_type: str, data: dict[str, object]) -> None:
        raise ConnectionError("nobody there")


async def test_what_is_done_is_broadcast_in_order(engine: Engine, spoken: Spoken):
    integration = Integration()
    async with WebSocketVoiceManager({"audio": {"sample_rate": 24_000}}, engine=engine) as manager:
        await manager.set_websocket_integration(integration)
        conversation = await manager.start_conversation("anna")

        async def source():
            yield spoken.pcm("hello")[: 1_920 * 6]

        async for _ in manager.process_voice_stream(conversation, source(), finish_answer=False):
            pass
        await manager.get_analytics()
        await manager.end_conversation(conversation)
    kinds = [kind for kind, _ in integration.server.events]
    assert kinds[0] == "conversation_start"
    assert kinds.count("audio_chunk") >= 6
    assert kinds[-2:] == ["analytics_update", "conversation_end"]
    assert integration.server.events[0][1]["user_id"] == "anna"
    assert manager.dropped_broadcasts == manager.failed_broadcasts == 0


async def test_every_end_of_a_conversation_is_broadcast_once(engine: Engine):
    listener = Listener()
    settings = {"audio": {"sample_rate": 24_000}, "moshi": {"max_conversation_length": 1}}
    async with WebSocketVoiceManager(settings, engine=engine) as manager:
        await manager.set_websocket_integration(listener)
        long = await manager.start_conversation()

        async def source():
            yield np.zeros(1_920 * 20, dtype=np.float32)

        async for _ in manager.process_voice_stream(long, source(), finish_answer=False):
            pass
        await manager.end_conversation(long)  # as those do who do not know that it has ended
        left = await manager.start_conversation()
        asked = await manager.start_conversation()
        await manager.end_conversation(asked, "bored")
    ends = [data for kind, data in listener.events if kind == "conversation_end"]
    assert [(end["conversation_id"], end["reason"]) for end in ends] == [
        (long, "max_conversation_length"),
        (asked, "bored"),
        (left, "shutdown"),
    ]


async def test_a_broken_integration_harms_no_conversation(engine: Engine):
    async with WebSocketVoiceManager(engine=engine) as manager:
        with pytest.raises(IntegrationError, match="broadcast_event"):
            await manager.set_websocket_integration(object())
        await manager.set_websocket_integration(Broken())
        conversation = await manager.start_conversation()
        await manager.end_conversation(conversation)
        for _ in range(100):
            if manager.failed_broadcasts == 2:
                break
            await asyncio.sleep(0.01)
        assert manager.failed_broadcasts == 2


async def test_the_setting_switches_it_off(engine: Engine):
    listener = Listener()
    settings = {"integration": {"websocket_events": False}}
    async with WebSocketVoiceManager(settings, engine=engine) as manager:
        await manager.set_websocket_integration(listener)
        await manager.end_conversation(await manager.start_conversation())
    assert listener.events == []
