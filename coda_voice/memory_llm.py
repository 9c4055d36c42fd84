"""The LLM in the service of memory: which one, how it is asked, and when it has time.

Memory asks the LLM that answers in conversations, unless ``integration.memory_llm`` names one of
its own. The users' answers come first: a shared LLM is asked only while no conversation waits.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from contextlib import aclosing

from coda_voice.config import VoiceConfig
from coda_voice.errors import LlmError
from coda_voice.event_bus import EventBus
from coda_voice.events import ConversationEnded, Event, ReasoningEnded, ReasoningStarted
from coda_voice.hybrid.clients import client_for
from coda_voice.hybrid.llm import LlmClient, Message, TextDelta

MAX_ANSWER = 8_000
"""Characters; whoever writes more is not answering what memory asked."""


class LlmForMemory:
    """A client for memory's questions, and whether anybody waits for that LLM.

    ``own``: it is not the one that answers in conversations, and so always free.
    """

    def __init__(self, client: LlmClient, events: EventBus, *, own: bool) -> None:
        self.own = own
        self._client = client
        self._thinking: Counter[str] = Counter()
        self._idle = asyncio.Event()
        self._idle.set()
        self._loop = asyncio.get_running_loop()
        self._stop: Callable[[], None] | None = None if own else events.listen(self._note)

    async def ask(self, system: str, user: str) -> str:
        """Give the whole answer. Raises LlmError."""
        said: list[str] = []
        room = MAX_ANSWER
        prompt = [Message("system", system), Message("user", user)]
        async with aclosing(self._client.stream(prompt)) as chunks:
            async for chunk in chunks:
                if isinstance(chunk, TextDelta):
                    said.append(chunk.text)
                    room -= len(chunk.text)
                if room < 0:
                    raise LlmError(
                        f"{self._client.name} wrote more than {MAX_ANSWER} characters.",
                        "llm_bad_answer",
                    )
        return "".join(said)

    @property
    def busy(self) -> bool:
        """Whether a conversation waits for this LLM."""
        return bool(self._thinking)

    async def wait(self) -> None:
        """Wait until none does."""
        await self._idle.wait()

    async def close(self) -> None:
        """Close the connections."""
        if self._stop is not None:
            self._stop()
        await self._client.close()

    def _note(self, event: Event) -> None:
        """Count who thinks; reasoners publish in the loop's thread."""
        name = event.conversation_id
        if isinstance(event, ReasoningStarted):
            self._thinking[name] += 1
        elif isinstance(event, ReasoningEnded) and self._thinking[name] > 1:
            self._thinking[name] -= 1
        elif isinstance(event, ReasoningEnded | ConversationEnded):
            self._thinking.pop(name, None)
        else:
            return
        self._loop.call_soon_threadsafe(self._idle.clear if self._thinking else self._idle.set)


def llm_for_memory(config: VoiceConfig, events: EventBus) -> LlmForMemory | None:
    """Make the LLM that memory may ask; None where there is to be none.

    In the running event loop; nothing is connected before it is asked something. Raises
    ConfigurationError for a name that names no LLM.
    """
    llm, wanted = config.external_llm, config.integration.memory_llm
    shared = f"{llm.provider}/{llm.model}"
    name = shared if wanted is None else wanted
    if name == "off" or name.startswith("offline"):
        return None
    # A server's own address is known only for the provider it was given for.
    endpoint = llm.endpoint if name.partition("/")[0] == llm.provider else None
    client = client_for(name, endpoint, context_window=llm.context_window, temperature=0.0)
    return LlmForMemory(client, events, own=name != shared)
