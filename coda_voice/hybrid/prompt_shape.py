"""What one model of one server takes: how much, in which order, with tools or without."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from coda_voice.hybrid.llm import Message, StreamEnd
from coda_voice.hybrid.message_order import alternating, without_tools
from coda_voice.hybrid.prompt_budget import PromptBudget
from coda_voice.protocols import ToolSpec

_NO_TOOLS = re.compile(
    r"does not support (?:tools|tool calling|function calling)"  # Ollama
    r"|--enable-auto-tool-choice|--tool-call-parser"  # vLLM
    r"|tools param requires --jinja"  # llama.cpp
    r"|support tool use|tool calling.{0,20} not supported",  # routers of hosted models
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Prompt:
    """What is sent; ``dropped`` messages were left out, and so were the tools if ``bare``."""

    messages: list[Message]
    tools: Sequence[ToolSpec]
    dropped: int
    bare: bool

    def end(
        self, prompt_tokens: int | None, answer_tokens: int | None, cut: str | None
    ) -> StreamEnd:
        """Give the end of the answer, which tells what was lost of the prompt or of itself."""
        told = [cut] if cut else []
        if self.bare:
            told.append("the model takes no tools and was asked without")
        return StreamEnd(prompt_tokens, answer_tokens, self.dropped, "; ".join(told) or None)


class PromptShape:
    """Makes the prompts for one model; remembers once it has refused tools."""

    def __init__(self, budget: PromptBudget) -> None:
        self.budget = budget
        self._takes_tools = True

    def prompt(self, messages: Sequence[Message], tools: Sequence[ToolSpec]) -> Prompt:
        """Give what to send. Raises LlmError (llm_prompt_too_long)."""
        bare = bool(tools) and not self._takes_tools
        if not self._takes_tools:
            messages, tools = without_tools(messages), ()
        kept, dropped = self.budget.fit(messages, tools)
        return Prompt(alternating(kept), tools, dropped, bare)

    def refused_tools(self, prompt: Prompt, reason: str) -> bool:
        """Whether a refusal of ``prompt`` is for its tools; then none are sent any more."""
        if not prompt.tools or not _NO_TOOLS.search(reason):
            return False
        self._takes_tools = False
        return True
