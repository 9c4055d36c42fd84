"""Embed hybrid conversations: modes, a tool of your own, typed turns, what becomes of answers.

    python scripts/hybrid_reasoning_example.py

No microphone and no language model are needed: turns are typed, the offline brain thinks, and
Moshi speaks the answers. With `external_llm` set to Ollama the same program uses a real one.
"""

from __future__ import annotations

import asyncio

import numpy as np
from coda_tools import tool

from coda_voice import VoiceManager
from coda_voice.composition import HouseTools
from coda_voice.events import Event, ScriptEnded, ToolEnded
from coda_voice.moshi.frames import FRAME_SAMPLES


@tool
def find_book(title: str) -> str:
    """Tell on which shelf a book stands. A real LLM may call it; the offline brain has no rule.

    title: of the book
    """
    return f"{title} is on shelf B12."


async def listen(manager: VoiceManager, conversation_id: str, ended: list[ScriptEnded]) -> None:
    """Be silent, as a user is who listens, until something has been said."""
    conversation = manager.conversation(conversation_id)
    before = len(ended)
    async with conversation.exclusively():
        for _ in range(300):
            if len(ended) > before:
                return
            conversation.offer(np.zeros(FRAME_SAMPLES, dtype=np.float32), voiced=False)
            while conversation.in_flight:
                await conversation.output_ready()
                conversation.take()


async def main() -> None:
    """Type questions, change the mode, have something said."""
    config = {
        "mode": "hybrid",
        "external_llm": {"provider": "offline"},
        "moshi": {"seed": 1},
        "logging": {"level": "warning"},
    }
    async with VoiceManager(config, tools=HouseTools(find_book)) as manager:
        ended: list[ScriptEnded] = []

        def tell(event: Event) -> None:
            match event:
                case ToolEnded():
                    print(f"  [{event.tool}: {event.outcome}]")
                case ScriptEnded():
                    ended.append(event)
                    print(f"  agent ({event.origin}, {event.outcome}): {event.heard}")

        manager.events.listen(tell)
        talk = await manager.start_conversation()
        for question in ("what is three plus four", "how many meters are in two kilometers"):
            print(f"user types: {question}")
            manager.send_text(talk, question)
            await listen(manager, talk, ended)
        await manager.set_mode("moshi_only", talk)
        print("mode: moshi_only; said on request:")
        manager.say(talk, "that was all")
        await listen(manager, talk, ended)


if __name__ == "__main__":
    asyncio.run(main())
