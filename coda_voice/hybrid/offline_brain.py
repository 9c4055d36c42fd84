"""Answer without any LLM: a client of fixed rules that calls the same tools.

It understands time and date, arithmetic, units, timers and reminders, memory and status,
says what the tools said, and refuses everything else. ``offline`` is True wherever its
answers show, so that nobody takes it for a model.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from datetime import datetime, timedelta

from coda_voice.errors import LlmError
from coda_voice.hybrid.llm import Chunk, Message, StreamEnd, TextDelta, ToolCall, ToolCallRequest
from coda_voice.hybrid.spoken_numbers import parse_number
from coda_voice.hybrid.spoken_times import clock_time, duration_seconds
from coda_voice.protocols import ToolSpec
from coda_voice.recollection import quoted_memories

Arguments = Mapping[str, object]
Rule = tuple[str, re.Pattern[str], Callable[[re.Match[str]], Arguments | None]]

_REASON_WORDS = 15
_OPERATORS = (
    (r"(?:to the power of|raised to)", "**"),
    (r"(?:multiplied by|times|x)", "*"),
    (r"(?:divided by|over)", "/"),
    (r"(?:plus|and|added to)", "+"),
    (r"(?:minus|less|take away)", "-"),
    (r"percent of", "/100*"),
)
_OPERAND = r"-?[\d.]+(?:e[+-]?\d+)?(?: \*\*2)?"
_SUM = re.compile(rf"{_OPERAND}(?: (?:\*\*|/100\*|[*/+-]) {_OPERAND})*")
_OF = {"square root": "sqrt({})", "half": "{}/2", "third": "{}/3", "quarter": "{}/4"}
_ASKING = r"(?:what(?:'s| is|s)|how much is|calculate|compute|work out|tell me|and)"
_DURATION = (
    r"((?:[\w.-]+ ){1,6}?(?:seconds?|minutes?|hours?|days?)"
    r"(?: and (?:a half|[\w.-]+ (?:seconds?|minutes?)))?)"
)
_PART_OF = r"(?:an? |one |two |three )?(?:half|thirds?|quarters?)"
"""Of an hour, say: then what stands before "of" is no name of a timer."""
_UNIT_NAME = r"[a-z]+(?: per [a-z]+)?"


def _expression(match: re.Match[str]) -> Arguments | None:
    """Turn "three plus four" into "3+4"; None if something in it is no number, or if it is
    no sum: half of one is what a mishearing leaves.
    """
    text = match[1]
    alone = re.match(r"(?:the |a )?(square root|half|third|quarter) of (.+)$", text)
    if alone:
        inner = parse_number(alone[2].split())
        if inner is None or inner[1] != len(alone[2].split()):
            return None
        return {"expression": _OF[alone[1]].format(f"{inner[0]:.15g}")}
    parts: list[str] = []
    words = text.split()
    at = 0
    while at < len(words):
        number = parse_number(words[at:])
        if number:
            parts.append(f"{number[0]:.15g}")
            at += number[1]
            continue
        rest = " ".join(words[at:])
        for pattern, sign in _OPERATORS:
            found = re.match(rf"{pattern}\b", rest)
            if found and parts:
                parts.append(sign)
                at += len(found[0].split())
                break
        else:
            if words[at] in ("+", "-", "*", "/") and parts:
                parts.append(words[at])
                at += 1
            elif words[at] == "squared" and parts:
                parts.append("**2")
                at += 1
            else:
                return None
    whole = len(parts) >= 2 and _SUM.fullmatch(" ".join(parts))
    return {"expression": "".join(parts)} if whole else None


def _timer(match: re.Match[str]) -> Arguments | None:
    groups = match.groupdict()
    seconds = duration_seconds(groups["length"].strip())
    label = (groups.get("label") or groups.get("named") or "").strip()
    return {"seconds": seconds, "label": label} if seconds else None


_ON_THE_DAY = re.compile(r"(?<!\bfor)(?<!\bof)(?<!\bby)(?<!\buntil)(?<!\babout) tomorrow$")
"""Behind what is to be done, and no part of it: "the dinner for tomorrow" is."""


def _reminder(match: re.Match[str]) -> Arguments | None:
    groups = match.groupdict()
    text = _second_person(groups.get("what") or "wake up")
    if length := groups.get("length"):
        seconds = duration_seconds(length.strip())
        return {"text": text, "in_seconds": seconds} if seconds else None
    now = datetime.now().astimezone()
    if not (groups.get("day") or "tomorrow" in groups["at"].split() or _ON_THE_DAY.search(text)):
        at_time = clock_time(groups["at"], now)
        return {"text": text, "at_time": at_time} if at_time else None
    # A time of day is the next one of it, which need not be tomorrow's.
    midnight = now.replace(hour=0, minute=0, second=0, microsecond=0) + timedelta(days=1)
    at = re.sub(r"\btomorrow(?= (?:morning|afternoon|evening)$)", "in the", groups["at"])
    at_time = clock_time(re.sub(r"^tomorrow at | tomorrow$", "", at), midnight)
    if at_time is None:
        return None
    hour, minute = at_time.split(":")
    moment = midnight.replace(hour=int(hour), minute=int(minute))
    return {
        "text": _ON_THE_DAY.sub("", text),
        "in_seconds": round((moment - now).total_seconds()),
    }


def _days_away(match: re.Match[str]) -> Arguments | None:
    """Read "it three days" as far from today: the number is what stands before the unit."""
    words = match["count"].split()
    each = 7 if match["unit"] == "week" else 1
    for start in range(len(words)):
        said = ["1"] if words[start:] in (["a"], ["one"]) else words[start:]
        number = parse_number(said)
        if number and number[1] == len(said) and number[0].is_integer():
            return {"days_from_today": int(number[0]) * each * (-1 if match["ago"] else 1)}
    return None


def _cancelled(match: re.Match[str]) -> Arguments:
    """All of a kind, where none is named: who stops a timer keeps his reminders."""
    kind = "timer" if match["kind"] == "timer" else "reminder"
    label = match["label"] or _second_person(match["what"] or "")
    return {"kind": kind, "label": label} if label else {"kind": kind}


def _units(match: re.Match[str]) -> Arguments | None:
    said = re.sub(r"^(?:an?|one)$", "1", match["value"])
    below_zero = said.startswith("minus ")
    words = said.removeprefix("minus ").split()
    number = parse_number(words)
    if number is None or number[1] != len(words):
        return None
    value = -number[0] if below_zero else number[0]
    return {"value": value, "from_unit": match["source"], "to_unit": match["target"]}


def _fact(match: re.Match[str]) -> Arguments:
    return {"fact": f"The user said: {match['fact']}."}


def _second_person(text: str) -> str:
    swaps = {"my": "your", "me": "you", "i": "you", "mine": "yours", "am": "are"}
    return " ".join(swaps.get(word, word) for word in text.split())


_TOLD = (
    (re.compile(r"^the user's\b", re.IGNORECASE), "Your"),
    (re.compile(r"^the user is\b", re.IGNORECASE), "You are"),
    (re.compile(r"^the user was\b", re.IGNORECASE), "You were"),
    (re.compile(r"^the user has\b", re.IGNORECASE), "You have"),
    (re.compile(r"^the user (\w+)ies\b", re.IGNORECASE), r"You \1y"),
    (re.compile(r"^the user (\w+(?:ch|sh|ss|x|o|z))es\b", re.IGNORECASE), r"You \1"),
    (re.compile(r"^the user (\w+)s\b", re.IGNORECASE), r"You \1"),
    (re.compile(r"^the user\b", re.IGNORECASE), "You"),
)
_SAID = re.compile(r"^the user said:?\s*", re.IGNORECASE)


def _recalled(memories: str) -> str:
    """Tell the user what is remembered of him: facts where there are any, else his words."""
    plain = [line.strip() for line in memories.splitlines() if line.strip()]
    lines = quoted_memories(memories) or plain
    facts = [line for line in lines if re.match(r"the user(?!\s+said)\b", line, re.IGNORECASE)]
    if facts:
        return " ".join(_to_the_user(fact) for fact in facts[:2])
    words = _SAID.sub("", lines[0]) if lines else ""
    if not words or words.startswith("Nothing "):
        return words
    asked = r"^(?:please )?(?:remember|note|keep in mind|don't forget) (?:that )?"
    words = re.sub(asked, "", words.rstrip(".").lower())
    return f"You said that {_second_person(words)}."


def _to_the_user(fact: str) -> str:
    for pattern, address in _TOLD:
        told, found = pattern.subn(address, fact)
        if found:
            return told
    return fact


def _fixed(**arguments: object) -> Callable[[re.Match[str]], Arguments]:
    return lambda match: arguments


def _rule(tool: str, pattern: str, read: Callable[[re.Match[str]], Arguments | None]) -> Rule:
    return tool, re.compile(pattern), read


_OF_SOMETHING = (
    "did|do|does|will|would|was|were|should|shall|can|could|the|of|i|we|he|she|they|my|your|to|for"
)
_OTHER_DAYS = (
    "monday|tuesday|wednesday|thursday|friday|saturday|sunday|christmas|easter|next|last|birthday|"
    "in|ago|from|before|after"
)
_WHICH_DAY = r"^(?!remind me\b|set\b|wake me\b).*\b(?:day|date)\b.*?"
_SPAN = r"(?P<count>[\w -]+?) (?P<unit>day|week)s?"
_AT = r"at (?P<at>[\w' ]+?)"
_PLACE = r"(?: is it)?(?: now| right now)? in (?P<place>[a-z ]+?)(?: now| right now)?"
RULES: Sequence[Rule] = (
    _rule("get_time", rf"\btime{_PLACE}$", lambda m: {"place": m["place"].title()}),
    _rule(
        "get_time",
        r"\b(?:what(?:'s| is|s)?|tell me|know|have|got) the time(?: now| right now| is)?$|"
        r"\btime is it\b|^(?:the )?(?:current )?time$|"
        rf"\bwhat(?:'s| is)? (?:the )?time\b(?! (?:{_OF_SOMETHING})\b)(?! is (?!it\b))",
        _fixed(),
    ),
    _rule("get_date", rf"{_WHICH_DAY}\bin {_SPAN}(?P<ago>(?!))?$", _days_away),
    _rule("get_date", rf"{_WHICH_DAY} {_SPAN} (?:from (?:now|today)|(?P<ago>ago))$", _days_away),
    _rule("get_date", r"^what.*\bday after tomorrow\b", _fixed(days_from_today=2)),
    _rule("get_date", r"^what.*\bday before yesterday\b", _fixed(days_from_today=-2)),
    _rule("get_date", rf"{_WHICH_DAY}\btomorrow\b", _fixed(days_from_today=1)),
    _rule("get_date", rf"{_WHICH_DAY}\byesterday\b", _fixed(days_from_today=-1)),
    _rule(
        "get_date",
        rf"(?!.*\b(?:{_OTHER_DAYS})\b)(?:.*\b(?:what|which) (?:day|date)\b"
        r"(?! (?:did|do|does|will|was|were|should|shall|can)\b)(?! is (?!it\b|today\b|this\b))"
        r"|.*\b(?:today's|the) date\b|.*\bdate today\b)",
        _fixed(),
    ),
    _rule(
        "set_timer",
        rf"\btimer for (?!{_PART_OF}\b)(?:the |my )?(?P<label>[a-z ]+?) (?:for|of) "
        rf"(?P<length>{_DURATION})$",
        _timer,
    ),
    _rule(
        "set_timer",
        rf"\b(?:(?!an?\b|the\b|my\b|set\b|start\b|new\b)(?P<named>[a-z]+) )?timer\b.*?"
        rf"\b(?:for|of) (?P<length>{_DURATION})(?: for (?:the |my )?(?P<label>[a-z ]+))?$",
        _timer,
    ),
    _rule(
        "set_timer",
        r"\b(?:set|start|make|begin)(?: me)? an? (?P<length>[\w. -]+?)"
        r"(?: (?P<label>(?!min|sec|hour|day)[a-z]+))?? timer\b",
        _timer,
    ),
    _rule(
        "set_reminder",
        rf"\bremind me in (?P<length>{_DURATION}) (?:to|that|about) (?P<what>.+)$",
        _reminder,
    ),
    _rule(
        "set_reminder",
        rf"\bremind me (?:to|that|about) (?P<what>.+?) in (?P<length>{_DURATION})$",
        _reminder,
    ),
    _rule(
        "set_reminder",
        rf"\bremind me (?P<day>tomorrow )?{_AT} (?:to|that|about) (?P<what>.+)$",
        _reminder,
    ),
    _rule("set_reminder", rf"\bremind me (?:to|that|about) (?P<what>.+?) {_AT}$", _reminder),
    _rule("set_reminder", r"\balarm (?:for|at) (?P<at>[\w' ]+)$", _reminder),
    _rule("set_reminder", rf"\bwake me(?: up)? {_AT}$", _reminder),
    _rule("set_reminder", rf"\bwake me(?: up)? in (?P<length>{_DURATION})$", _reminder),
    _rule(
        "cancel_timer",
        r"\b(?:cancel|stop|delete|clear|turn off) "
        r"(?:(?:the|my|all|of|every|that|this|running)\b ?)*"
        r"(?:(?P<label>[a-z ]+?) )?(?P<kind>timer|reminder|alarm)s?(?: (?:to|for|about) "
        r"(?P<what>.+))?$",
        _cancelled,
    ),
    _rule(
        "list_timers",
        r"\b(?:timers?|reminders?)\b.*\b(?:left|running|have)\b|"
        r"\bhow (?:long|much time)\b.*\btimer\b|\bwhich timers\b",
        _fixed(),
    ),
    _rule(
        "convert_units",
        rf"convert (?P<value>.+?) (?P<source>{_UNIT_NAME}) (?:to|into|in) "
        rf"(?P<target>{_UNIT_NAME})$",
        _units,
    ),
    _rule(
        "convert_units",
        rf"{_ASKING} (?P<value>.+?) (?:degrees )?(?P<source>{_UNIT_NAME}) in "
        rf"(?:degrees )?(?P<target>{_UNIT_NAME})$",
        _units,
    ),
    _rule(
        "convert_units",
        r"how many (?P<target>[a-z]+) (?:are|is) (?:there )?(?:in )?(?P<value>.+?) "
        r"(?P<source>[a-z]+)$",
        _units,
    ),
    _rule("calculate", rf"(?:{_ASKING} )?(.+)$", _expression),
    _rule(
        "remember",
        r"^(?:and |also |i want you to |i'd like you to )*"
        r"(?:remember|note|keep in mind|don't forget) (?:that )?(?P<fact>(?!what|who|where|when|"
        r"how|if)\w+ .+)$",
        _fact,
    ),
    _rule(
        "recall",
        r"\b(?:do you (?:still )?(?:remember|know)|what did i (?:say|tell you)|remind me) (?:about "
        r")?(?P<query>(?:what|who|where|when|my|about|that (?:i|my)|if (?:i|my)).+)$",
        lambda m: {"query": m["query"]},
    ),
    _rule(
        "recall",
        r"\b(?P<query>(?:what|who|where|when)(?:'s| is|s| are| was| do| did)? (?:my|i) .+)$",
        lambda m: {"query": m["query"]},
    ),
    _rule(
        "get_system_status",
        r"\b(?:system|computer|machine|battery|memory|processor) (?:status|doing|usage|level|"
        r"load)\b|\bhow (?:busy|full) (?:is|are) (?:you|the)\b",
        _fixed(),
    ),
)
"""The first rule that fits and whose tool is there wins."""


class OfflineBrain:
    """The rules above as an LLM client. Raises LlmError (llm_not_understood) for all else."""

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
        found = understand(words, {tool.name for tool in tools})
        if found is None:
            raise LlmError(
                f"The offline brain has no rule for {words!r:.100}. Start an LLM, for example "
                "`ollama serve`, and set external_llm.",
                "llm_not_understood",
            )
        name, arguments = found
        yield ToolCallRequest(ToolCall(f"offline_{next(self._numbers)}", name, arguments))
        yield StreamEnd()


def understand(text: str, tools: set[str]) -> tuple[str, Arguments] | None:
    """Find the tool call that ``text`` asks for, among ``tools``."""
    plain = text.lower().replace("’", "'")
    plain = re.sub(r"(?<=\d),(?=\d{3})", "", plain)
    plain = re.sub(r"(?<=[\d)])\s*([+*/-])\s*(?=\d)", r" \1 ", plain).replace("%", " percent")
    plain = re.sub(r"[?!;:\"]|[.,](?!\d)", " ", plain)
    plain = re.sub(
        r"^(?:\s*(?:hey|hi|ok|okay|so|well|um|uh|please|coda|could you|can you|would you)\b)+",
        "",
        plain,
    )
    plain = re.sub(r"\b(?:please|thanks|thank you)\b", "", plain)
    plain = " ".join(plain.split())
    if re.match(r"(?:don't|do not|never)\b(?! forget\b)", plain):
        return None
    for tool, pattern, read in RULES:
        match = pattern.search(plain) if tool != "calculate" else pattern.match(plain)
        if tool in tools and match:
            arguments = read(match)
            if arguments is not None:
                return tool, {name: _as_said(value, text) for name, value in arguments.items()}
    return None


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
                text = _recalled(text)
            said.append(_failure(text) if failed else text)
    return list(reversed(said))


def _failure(error: str) -> str:
    """Say that a tool failed, and why if that is short enough to be listened to."""
    reason = re.sub(r"^Error: (?:\w+ failed: )?", "", error).partition(". ")[0].rstrip(".")
    if len(reason.split()) > _REASON_WORDS or not re.fullmatch(r"[\w\s,.;:'’°%-]+", reason):
        return "That did not work."
    return f"That did not work: {reason}."
