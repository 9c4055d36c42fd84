"""Keep prompts within the context window, and notice when a server cut one anyway.

Ollama answers an over-long prompt with 200 and a prompt cut to about ``num_ctx / 2 + 2``
tokens (ollama #16856); its only sign is ``prompt_eval_count``. So the oldest turns are left
out here, where it is known and told, and the count is compared with what was sent.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

from coda_voice.errors import LlmError
from coda_voice.hybrid.llm import Message
from coda_voice.protocols import ToolSpec

CHARACTERS_PER_TOKEN = 3.5
"""Cautious for English prose (about 4.3) and JSON; corrected by what the server counts."""

MOST_CHARACTERS_PER_TOKEN = 8.0
"""No tokenizer packs ordinary text tighter: fewer tokens than this means a cut prompt."""

MESSAGE_OVERHEAD = 24
"""Characters that a chat template puts around a message."""


class PromptBudget:
    """The context window of one model: ``context_tokens``, of which some are for the answer."""

    def __init__(self, context_tokens: int, answer_tokens: int) -> None:
        self.context_tokens = context_tokens
        self.answer_tokens = min(answer_tokens, context_tokens // 2)
        self.characters_per_token = CHARACTERS_PER_TOKEN

    def tokens(self, messages: Sequence[Message], tools: Sequence[ToolSpec] = ()) -> int:
        """Estimate the tokens of a prompt, rather too many than too few."""
        return int(_characters(messages, tools) / self.characters_per_token) + 1

    def fit(
        self, messages: Sequence[Message], tools: Sequence[ToolSpec] = ()
    ) -> tuple[list[Message], int]:
        """Leave out the oldest turns until the prompt fits; give it and how many went.

        System messages, the user's latest words and what came after them always stay;
        LlmError (llm_prompt_too_long) if they alone are too much.
        """
        room = self.context_tokens - self.answer_tokens
        kept = list(messages)
        dropped = 0
        while self.tokens(kept, tools) > room:
            latest = max((i for i, m in enumerate(kept) if m.role == "user"), default=0)
            oldest = next((i for i in range(latest) if kept[i].role != "system"), None)
            if oldest is None:
                raise LlmError(
                    f"The prompt has about {self.tokens(kept, tools)} tokens and the model takes "
                    f"{room} beside its answer. Raise external_llm.context_window, or shorten the "
                    "persona, the memories or the tools.",
                    "llm_prompt_too_long",
                    tokens=self.tokens(kept, tools),
                    room=room,
                )
            del kept[oldest]
            dropped += 1
            # A tool's answer without the call it belongs to would be refused.
            while oldest < len(kept) and kept[oldest].role == "tool":
                del kept[oldest]
                dropped += 1
        return kept, dropped

    def check(
        self, messages: Sequence[Message], tools: Sequence[ToolSpec], counted: int | None
    ) -> str | None:
        """Compare with what the server counted; say what was cut, or None.

        After a cut the window is taken to be what the server really used.
        """
        if not counted:
            return None
        characters = _characters(messages, tools)
        halved = abs(counted - (self.context_tokens // 2 + 2)) <= 4
        too_few = characters > 2_000 and counted * MOST_CHARACTERS_PER_TOKEN < characters
        shrunk = halved and self.tokens(messages, tools) > counted * 1.25
        if too_few or shrunk or counted >= self.context_tokens:
            reason = (
                f"the server read {counted} tokens of a prompt of about "
                f"{self.tokens(messages, tools)}: its beginning was cut off"
            )
            self.context_tokens = max(512, min(self.context_tokens, counted))
            self.answer_tokens = min(self.answer_tokens, self.context_tokens // 2)
            return reason
        if characters > 400:
            self.characters_per_token = min(self.characters_per_token, characters / counted)
        return None

    def refused(
        self,
        messages: Sequence[Message],
        tools: Sequence[ToolSpec],
        counted: int,
        window: int,
    ) -> None:
        """Learn from a refusal: the prompt has ``counted`` tokens, the model takes ``window``."""
        characters = _characters(messages, tools)
        self.characters_per_token = min(self.characters_per_token, 0.95 * characters / counted)
        self.context_tokens = min(self.context_tokens, window)
        self.answer_tokens = min(self.answer_tokens, self.context_tokens // 2)


def _characters(messages: Sequence[Message], tools: Sequence[ToolSpec]) -> int:
    total = 0
    for message in messages:
        total += len(message.content) + len(message.thinking) + MESSAGE_OVERHEAD
        total += sum(
            len(call.name) + len(json.dumps(call.arguments, default=str)) + MESSAGE_OVERHEAD
            for call in message.tool_calls
        )
    return total + sum(len(json.dumps(spec.function_schema(), default=str)) for spec in tools)
