"""Keep prompts within the context window, and notice when a server cut one anyway.

Ollama answers an over-long prompt with 200 and a prompt cut to about ``num_ctx / 2 + 2``
tokens (ollama #16856); its only sign is ``prompt_eval_count``. So the oldest turns are left
out here, where it is known and told, and the count is compared with what was sent. It is a
weak sign: some versions leave out what they had in their cache (ollama #16428).
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

SMALLEST_WINDOW = 512
"""No server runs a model with less: a count that would mean it is a cache's doing."""

SAME_CUT = 4
"""Tokens by which two counts of cut prompts may differ: a cut is made between messages' parts."""

TRY_AGAIN_AFTER = 20
"""Answers after which a window that was concluded from counts is doubted: a server restarts."""

AS_BEFORE = 0.15
"""Share by which a whole prompt's characters per token may differ from those of the one before."""

MESSAGE_OVERHEAD = 24
"""Characters that a chat template puts around a message."""


class PromptBudget:
    """The context window of one model: ``context_tokens``, of which some are for the answer.

    ``context_tokens`` is as set, or as a server's refusal told. What is only concluded from
    the server's counts, ``seen_tokens``, costs old turns, never the whole prompt.
    """

    def __init__(self, context_tokens: int, answer_tokens: int) -> None:
        self.context_tokens = context_tokens
        self.seen_tokens: int | None = None
        self.characters_per_token = CHARACTERS_PER_TOKEN
        self._answer_tokens = answer_tokens
        self._packed: float | None = None
        """Characters per token of the last prompt that was read whole."""
        self._low_count: int | None = None
        """The last count that was too low, until another proves that it was no cut."""
        self._since_seen = 0

    @property
    def window(self) -> int:
        """Tokens that prompt and answer may have together."""
        return min(self.context_tokens, self.seen_tokens or self.context_tokens)

    @property
    def answer_tokens(self) -> int:
        """Tokens that an answer may have."""
        return min(self._answer_tokens, self.window // 2)

    def tokens(self, messages: Sequence[Message], tools: Sequence[ToolSpec] = ()) -> int:
        """Estimate the tokens of a prompt, rather too many than too few."""
        return int(_characters(messages, tools) / self.characters_per_token) + 1

    def fit(
        self, messages: Sequence[Message], tools: Sequence[ToolSpec] = ()
    ) -> tuple[list[Message], int]:
        """Leave out the oldest turns until the prompt fits; give it and how many messages went.

        A turn goes whole: what the user said with all up to his next words. The first system
        message, the user's latest words and what came after them always stay; LlmError
        (llm_prompt_too_long) if they alone are too much.
        """
        room = self.window - self.answer_tokens
        kept = list(messages)
        dropped = 0
        while self.tokens(kept, tools) > room:
            latest = max((i for i, m in enumerate(kept) if m.role == "user"), default=0)
            oldest = 1 if kept[0].role == "system" else 0
            if oldest >= latest:
                self._check_bare(kept, tools)
                break
            turn = next(i for i in range(oldest + 1, latest + 1) if kept[i].role == "user")
            del kept[oldest:turn]
            dropped += turn - oldest
        return kept, dropped

    def _check_bare(self, kept: Sequence[Message], tools: Sequence[ToolSpec]) -> None:
        """Raise LlmError if what cannot be left out is more than the window that is set."""
        needed = self.tokens(kept, tools)
        room = self.context_tokens - min(self._answer_tokens, self.context_tokens // 2)
        if needed > room:
            raise LlmError(
                f"The prompt has about {needed} tokens and the model takes {room} beside its "
                "answer. Raise external_llm.context_window, or shorten the persona, the memories "
                "or the tools.",
                "llm_prompt_too_long",
                tokens=needed,
                room=room,
            )

    def check(
        self, messages: Sequence[Message], tools: Sequence[ToolSpec], counted: int | None
    ) -> str | None:
        """Compare with what the server counted; say what was, or may have been, cut, or None."""
        if not counted:
            return None
        characters = _characters(messages, tools)
        estimate = self.tokens(messages, tools)
        read = f"the server read {counted} tokens of a prompt of about {estimate}: its beginning"
        halved = abs(counted - _cut_to(self.context_tokens)) <= SAME_CUT
        cut_to_half = (
            halved and estimate > counted * 1.25 and not self._as_before(characters, counted)
        )
        if counted >= self.context_tokens or cut_to_half:
            # The window was as set and the prompt more than it, nobody knows by how much.
            most = characters / max(counted, self.context_tokens)
            self.characters_per_token = min(self.characters_per_token, 0.75 * most)
            return f"{read} was cut off"
        if characters > 2_000 and counted * MOST_CHARACTERS_PER_TOKEN < characters:
            return self._low(counted, read)
        if characters > 400:
            self._packed = characters / counted
            self.characters_per_token = min(self.characters_per_token, self._packed)
        self._not_low(counted)
        return None

    def _as_before(self, characters: int, counted: int) -> bool:
        """Whether the count is what a whole prompt has: a long talk may be half a window long."""
        before = self._packed
        return before is not None and abs(characters / counted / before - 1) < AS_BEFORE

    def _low(self, counted: int, read: str) -> str | None:
        """Note a count that is too low: a prompt that was cut, or a cache that was not counted.

        A smaller window cuts every longer prompt to one length; a cache leaves ever another.
        """
        window = 2 * (counted - 2)
        if window < SMALLEST_WINDOW:
            return None
        before, self._low_count = self._low_count, counted
        if before is None or abs(before - counted) > SAME_CUT:
            return f"{read} may have been cut off"
        self.seen_tokens = window
        self._since_seen = 0
        return f"{read} was cut off"

    def _not_low(self, counted: int) -> None:
        """A whole prompt was read; after a while, see whether the window is as set again."""
        if self._low_count is not None and counted > 2 * self._low_count:
            self._low_count = self.seen_tokens = None
        if self.seen_tokens is not None:
            self._since_seen += 1
            if self._since_seen >= TRY_AGAIN_AFTER:
                self.seen_tokens = None

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


def _cut_to(window: int) -> int:
    """Give the tokens to which Ollama cuts what is too long for ``window``."""
    return window // 2 + 2


def _characters(messages: Sequence[Message], tools: Sequence[ToolSpec]) -> int:
    total = 0
    for message in messages:
        total += len(message.content) + len(message.thinking) + MESSAGE_OVERHEAD
        total += sum(
            len(call.name) + len(json.dumps(call.arguments, default=str)) + MESSAGE_OVERHEAD
            for call in message.tool_calls
        )
    return total + sum(len(json.dumps(spec.function_schema(), default=str)) for spec in tools)
