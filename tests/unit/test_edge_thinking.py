"""What an edge's LLM may do with the house's own tools, where nobody can be asked for leave."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence

from coda_integrations.thinking import Wrote, think
from coda_tools import ToolRegistry, tool

from coda_voice.hybrid.llm import Chunk, Message, StreamEnd, TextDelta, ToolCall, ToolCallRequest
from coda_voice.protocols import ToolSpec


class Calling:
    """An LLM that makes one call and then says what came of it."""

    name = "calling"
    offline = False

    def __init__(self, call: ToolCall) -> None:
        self.call = call
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
            yield ToolCallRequest(self.call)
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


async def test_other_tools_are_run() -> None:
    assert await answer(Calling(ToolCall("1", "ring", {"bell": "back"}))) == "the back bell rings"
