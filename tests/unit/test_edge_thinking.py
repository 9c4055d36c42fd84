"""What an edge's LLM may do with the house's own tools, where nobody can be asked for leave."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence

import pytest
from coda_integrations.server_host import thinkers_of
from coda_integrations.thinking import Wrote, think
from coda_tools import ToolRegistry, tool

from coda_voice.config import VoiceConfig
from coda_voice.errors import LlmError
from coda_voice.hybrid.llm import Chunk, Message, StreamEnd, TextDelta, ToolCall, ToolCallRequest
from coda_voice.protocols import ToolSpec


class Calling:
    """An LLM that makes its calls and then says what came of the last one."""

    name = "calling"
    offline = False

    def __init__(self, *calls: ToolCall) -> None:
        self.calls = calls
        self.offered: list[str] = []

    async def check(self) -> None:
        """It is there."""

    async def close(self) -> None:
        """Nothing is open."""

    async def stream(
        self, messages: Sequence[Message], tools: Sequence[ToolSpec] = ()
    ) -> AsyncGenerator[Chunk, None]:
        self.offered = [spec.name for spec in tools]
        if messages[-1].role == "tool":
            yield TextDelta(messages[-1].content)
        else:
            for call in self.calls:
                yield ToolCallRequest(call)
        yield StreamEnd()


opened: list[str] = []


@tool(dangerous=True)
async def open_door() -> str:
    """Open the front door."""
    opened.append("door")
    return "open"


@tool
async def ring(bell: str = "front") -> str:
    """Ring a bell."""
    opened.append(bell)
    return f"the {bell} bell rings"


async def answer(llm: Calling) -> str:
    opened.clear()
    house = ToolRegistry([open_door, ring])
    thoughts = [t async for t in think([llm], [Message("user", "hello")], toolbox=house)]
    return "".join(t.text for t in thoughts if isinstance(t, Wrote))


async def test_a_dangerous_tool_is_neither_offered_nor_run() -> None:
    llm = Calling(ToolCall("1", "open_door", {}))
    assert "no tool 'open_door'" in await answer(llm)
    assert (opened, llm.offered) == ([], ["ring"])


async def test_a_call_that_cannot_be_read_is_not_run_with_its_defaults() -> None:
    llm = Calling(ToolCall("1", "ring", {}, malformed='{"bell": "ba'))
    assert "no JSON object" in await answer(llm)
    assert opened == []


class Broken(Calling):
    """Somebody's own client, which raises what nobody expects."""

    async def stream(
        self, messages: Sequence[Message], tools: Sequence[ToolSpec] = ()
    ) -> AsyncGenerator[Chunk, None]:
        raise KeyError("choices")
        yield StreamEnd()


async def test_a_client_that_breaks_is_an_llm_that_failed_and_the_next_is_asked() -> None:
    with pytest.raises(LlmError, match="KeyError") as failed:
        await answer(Broken())
    assert failed.value.error_code == "llm_internal"
    thoughts = [t async for t in think([Broken(), Calling()], [Message("tool", "fine")])]
    assert [t.text for t in thoughts if isinstance(t, Wrote)] == ["fine"]


async def test_other_tools_are_run() -> None:
    assert await answer(Calling(ToolCall("1", "ring", {"bell": "back"}))) == "the back bell rings"


async def test_of_many_calls_at_once_eight_are_run():
    said = await answer(Calling(*(ToolCall(f"c{n}", "ring", {"bell": str(n)}) for n in range(40))))
    assert opened == [str(n) for n in range(8)]
    assert said.startswith("Error: Not run: 8 tool calls in one message are allowed")


async def test_as_many_calls_are_run_as_the_settings_say() -> None:
    settings = {"external_llm": {"provider": "offline"}, "hybrid": {"tool_calls": 2}}
    by = thinkers_of(VoiceConfig.model_validate(settings))
    opened.clear()
    calling = Calling(*(ToolCall(f"c{n}", "ring", {"bell": str(n)}) for n in range(5)))
    house = ToolRegistry([ring])
    said = [t async for t in think([calling], [Message("user", "hi")], (), house, by.max_calls)]
    assert opened == ["0", "1"]
    assert any("2 tool calls in one message" in t.text for t in said if isinstance(t, Wrote))
