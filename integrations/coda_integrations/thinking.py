"""Asking an LLM for an edge: text, sentences and tool calls as they come, with a fallback."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass

from coda_voice.errors import LlmError
from coda_voice.hybrid.answer import MAX_CALLS
from coda_voice.hybrid.llm import (
    LlmClient,
    Message,
    StreamEnd,
    TextDelta,
    ToolCall,
    ToolCallRequest,
    next_chunk,
)
from coda_voice.hybrid.reasoning_prompt import tool_message
from coda_voice.hybrid.speakable import SentenceStream
from coda_voice.hybrid.tool_runner import refused_call, within
from coda_voice.protocols import ToolBox, ToolSpec

THINKING_SECONDS = 60.0
CHUNK_SECONDS = 12.0
"""Longest silence of an LLM within an answer."""
MAX_ROUNDS = 4
"""Of our own tools, until it must answer without."""


@dataclass(frozen=True, slots=True)
class Wrote:
    """A piece of the answer as it was written."""

    text: str


@dataclass(frozen=True, slots=True)
class Sentence:
    """A sentence of it, made speakable."""

    text: str


@dataclass(frozen=True, slots=True)
class Ended:
    """The end: the client's tools it calls, and the tokens read and written, as it told."""

    calls: tuple[ToolCall, ...]
    tokens: tuple[int, int]
    llm: str


Thought = Wrote | Sentence | Ended


async def think(
    llms: Sequence[LlmClient],
    messages: Sequence[Message],
    tools: Sequence[ToolSpec] = (),
    toolbox: ToolBox | None = None,
    max_calls: int = MAX_CALLS,
) -> AsyncIterator[Thought]:
    """Ask the first LLM, and the next where one fails before it has said anything.

    ``tools`` are the client's: calls of them end the answer, for the client to run. Those of
    ``toolbox`` are run here, except dangerous ones, ``max_calls`` of one message. Raises
    LlmError when the last LLM fails, or one in the middle of its answer.
    """
    failure = LlmError("No LLM is set up to answer.", "llm_unreachable")
    for llm in llms:
        begun = False
        try:
            async for thought in _rounds(llm, list(messages), tools, toolbox, max_calls):
                begun = True
                yield thought
        except LlmError as error:
            if begun:
                raise
            failure = error
        else:
            return
    raise failure


async def _rounds(
    llm: LlmClient,
    messages: list[Message],
    tools: Sequence[ToolSpec],
    toolbox: ToolBox | None,
    max_calls: int,
) -> AsyncIterator[Thought]:
    """Run the house's own tools between the LLM's answers, then give the last one."""
    theirs = {spec.name for spec in tools}
    house = toolbox.specs() if toolbox is not None else ()
    # Nobody is asked for leave here: what wants it is not offered, and not run if called anyway.
    ours = [s for s in house if s.name not in theirs and not s.dangerous]
    read = written = 0
    for round_number in range(MAX_ROUNDS + 1):
        specs = [*tools, *(ours if round_number < MAX_ROUNDS else ())]
        calls: tuple[ToolCall, ...] = ()
        text = ""
        async for thought in _ask(llm, messages, specs):
            match thought:
                case Ended():
                    calls = thought.calls
                    read, written = read + thought.tokens[0], written + thought.tokens[1]
                case Wrote(piece):
                    text += piece
                    yield thought
                case Sentence():
                    yield thought
        for_client = tuple(call for call in calls if call.name in theirs)
        if for_client or not calls or toolbox is None:
            yield Ended(for_client, (read, written), llm.name)
            return
        calls = tuple(within(calls, max_calls))
        messages.append(Message("assistant", text, calls))
        for call in calls:
            offered = any(spec.name == call.name for spec in ours)
            if call.malformed is not None or call.beyond is not None or not offered:
                messages.append(tool_message(refused_call(call)))
                continue
            outcome = await toolbox.call(call.name, call.arguments, call.call_id)
            messages.append(tool_message(outcome))
    raise LlmError(f"{llm.name} went on calling tools.", "llm_tool_loop")


async def _ask(
    llm: LlmClient, messages: Sequence[Message], tools: Sequence[ToolSpec]
) -> AsyncIterator[Thought]:
    sentences = SentenceStream()
    calls: list[ToolCall] = []
    tokens = (0, 0)
    until = asyncio.get_running_loop().time() + THINKING_SECONDS
    async with aclosing(llm.stream(messages, tools)) as stream:
        while True:
            left = until - asyncio.get_running_loop().time()
            if left <= 0:
                raise LlmError(f"{llm.name} wrote for {THINKING_SECONDS:g} s.", "llm_stalled")
            chunk = await next_chunk(stream, llm.name, min(CHUNK_SECONDS, left))
            match chunk:
                case TextDelta(text):
                    yield Wrote(text)
                    for sentence in sentences.feed(text):
                        yield Sentence(sentence)
                case ToolCallRequest(call):
                    calls.append(call)
                case StreamEnd(prompt_tokens=read, answer_tokens=written):
                    tokens = (read or 0, written or 0)
                case None:
                    break
                case _:
                    pass
    for sentence in sentences.flush():
        yield Sentence(sentence)
    yield Ended(tuple(calls), tokens, llm.name)
