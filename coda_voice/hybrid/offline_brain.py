"""Answer without any LLM: a client of fixed rules that calls the same tools.

It understands time and date, arithmetic, units, timers and reminders, memory and status,
says what the tools said, and refuses everything else. ``offline`` is True wherever its
answers show, so that nobody takes it for a model.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import AsyncGenerator, Mapping, Sequence

from coda_voice.errors import LlmError
from coda_voice.hybrid.llm import Chunk, Message, StreamEnd, TextDelta, ToolCall, ToolCallRequest
from coda_voice.hybrid.offline_arguments import Arguments
from coda_voice.hybrid.offline_cancelling import chosen
from coda_voice.hybrid.offline_requests import ACTS, is_request
from coda_voice.hybrid.offline_rules import RULES
from coda_voice.hybrid.second_person import forgotten, recalled
from coda_voice.number_names import CARDINAL
from coda_voice.protocols import ToolSpec

_REASON_WORDS = 20


class OfflineBrain:
    """Its rules as an LLM client. Raises LlmError (llm_not_understood) for all else."""

    name = "offline/rules"
    offline = True

    def __init__(self) -> None:
        self._numbers = itertools.count(1)

    async def check(self) -> None:
        """It can always answer."""

    async def close(self) -> None:
        """Nothing is open."""

    async def stream(
        self, messages: Sequence[Message], tools: Sequence[ToolSpec] = ()
    ) -> AsyncGenerator[Chunk, None]:
        """Ask a tool, or say what the tools have said."""
        said = _results(messages)
        if said:
            yield TextDelta(" ".join(said))
            yield StreamEnd()
            return
        words = next((m.content for m in reversed(messages) if m.role == "user"), "")
        names = {tool.name for tool in tools}
        found = _which_one(messages, names) or understand(words, names)
        if found is None:
            raise LlmError(
                f"The offline brain has no rule for {words!r:.100}. Start an LLM, for example "
                "`ollama serve`, and set external_llm.",
                "llm_not_understood",
            )
        name, arguments = found
        if name == "recall" and _takes("only_sure", name, tools):
            # An LLM sees for itself what is no answer; here the nearest would be told as one.
            arguments = {**arguments, "only_sure": True}
        yield ToolCallRequest(ToolCall(f"offline_{next(self._numbers)}", name, arguments))
        yield StreamEnd()


def _takes(argument: str, name: str, tools: Sequence[ToolSpec]) -> bool:
    known = next((tool.parameters.get("properties") for tool in tools if tool.name == name), None)
    return isinstance(known, Mapping) and argument in known


_LOOSE = (
    (r"\b(?:u+h+|u+m+|er+m?|hm+)\b\s*", ""),
    (r"\b(for|in) (?:like|about|around|roughly) ", r"\1 "),
    (r" (?:roughly|approximately|exactly)\s*$", ""),
    (r"\b((?:kilo)?met(?:er|re)s|miles|feet) an? (?=(?:hour|minute|second)\b)", r"\1 per "),
    (r"\bi (?:want|need|would like) to know (?=what|how)", " "),
    (rf"\b(an|{CARDINAL}) our(?=s?\b)", r"\1 hour"),
    (r"\bset a time (?=(?:for|of) )", "set a timer "),
    (rf"\btimer four (?=(?:an?|half|{CARDINAL})\b)", "timer for "),
    (r"\bremind me (?:too|two) (?!(?:and|hundred|seconds|minutes|hours|days)\b)", "remind me to "),
)
"""How people speak or are heard, and what they mean by it."""
LONGEST_REQUEST = 400
"""Characters of what a tool can be called for by rules, whose time grows with their square."""


def understand(text: str, tools: set[str]) -> tuple[str, Arguments] | None:
    """Find the tool call that ``text`` asks for, among ``tools``."""
    if len(text) > LONGEST_REQUEST:
        return None
    plain = _plain(text)
    if re.match(r"(?:don't|do not|never)\b(?! (?:forget|remember)\b)", plain):
        return None
    acts = is_request(plain)
    for tool, pattern, read in RULES:
        if tool in ACTS and not acts:
            continue
        match = pattern.search(plain) if tool != "calculate" else pattern.match(plain)
        if tool in tools and match:
            arguments = read(match)
            if arguments is not None:
                return tool, {name: _as_said(value, text) for name, value in arguments.items()}
    return None


def _which_one(messages: Sequence[Message], tools: set[str]) -> tuple[str, Arguments] | None:
    """Find the call that an answer to "which one?" asks for: "five minute timer" sets none then."""
    said = [m for m in messages if m.role in ("user", "assistant")]
    users = [at for at, message in enumerate(said) if message.role == "user"]
    if len(users) < 2 or len(said[users[-1]].content) > LONGEST_REQUEST:
        return None
    question = " ".join(m.content for m in said[users[-2] + 1 : users[-1]])
    asked = understand(said[users[-2]].content, tools) if question else None
    if asked is None or asked[0] != "cancel_timer":
        return None
    arguments = chosen(_plain(said[users[-1]].content), question, asked[1])
    return ("cancel_timer", arguments) if arguments else None


def _plain(text: str) -> str:
    """Give the words of ``text`` as the rules have them: small letters, no manners, no marks."""
    plain = text.lower().replace("’", "'")
    plain = re.sub(r"(?<=\d),(?=\d{3})", "", plain)
    plain = re.sub(r"(?<=[\d)])\s*([+*/-])\s*(?=\d)", r" \1 ", plain).replace("%", " percent")
    plain = re.sub(r"(?<=\d)x(?=\d)", " times ", plain)
    plain = re.sub(r"(?<=\w)-(?=(?:second|minute|hour|day)s?\b)", " ", plain)
    plain = re.sub(r"[?!;:\"]|[.,](?!\d)", " ", plain)
    for what, instead in _LOOSE:
        plain = re.sub(what, instead, plain)
    plain = re.sub(
        r"^(?:\s*(?:hey|hi|ok|okay|so|well|um|uh|please|coda|could you|can you|would you)\b)+",
        "",
        plain,
    )
    plain = re.sub(r"\b(?:please|thanks|thank you)\b", "", plain)
    return " ".join(plain.split())


def _as_said(value: object, text: str) -> object:
    """Give names their capitals back, where ``value`` stands in ``text`` word for word."""
    if not isinstance(value, str):
        return value
    lead, mark, rest = value.rpartition(": ")
    found = re.search(re.escape(rest.rstrip(".")), text, re.IGNORECASE) if rest else None
    return lead + mark + found[0] + "." * rest.endswith(".") if found and mark else value


def _results(messages: Sequence[Message]) -> list[str]:
    """Give what the tools said since the user's last words."""
    said: list[str] = []
    for message in reversed(messages):
        if message.role == "user":
            break
        if message.role == "tool":
            text = message.content
            failed = text.startswith("Error: ")
            if message.tool_name == "recall" and not failed:
                text = recalled(text)
            if message.tool_name == "forget" and not failed:
                text = forgotten(text)
            said.append(_failure(text) if failed else text)
    return list(reversed(said))


def _failure(error: str) -> str:
    """Say that a tool failed, and why if that is short enough to be listened to."""
    reason = re.sub(r"^Error: (?:\w+ failed: )?", "", error).partition(". ")[0].rstrip(".")
    if len(reason.split()) > _REASON_WORDS or not re.fullmatch(r"[\w\s,.;:'’°%?-]+", reason):
        return "That did not work."
    return f"That did not work: {reason}{'' if reason.endswith('?') else '.'}"
