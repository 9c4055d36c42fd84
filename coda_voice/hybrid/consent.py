"""Ask before something dangerous is done, and understand the reply."""

from __future__ import annotations

import re
from collections.abc import Sequence

from coda_voice.hybrid.llm import ToolCall
from coda_voice.hybrid.speakable import speakable
from coda_voice.protocols import ToolSpec

_LEAVE = (
    r"(?:yes|yeah|yep|yup|sure|do it|do that|do so|go ahead|go for it|go on|okay|ok|of course|"
    r"absolutely|definitely|certainly|confirm|confirmed|right|correct|i do|i am sure|i'm sure)"
)
_MANNERS = r"(?:oh|well|um|uh|please|thanks|thank you|coda|then|now|sir|that's)"
_YES = re.compile(rf"(?:{_MANNERS} )*{_LEAVE}(?: (?:{_LEAVE}|{_MANNERS}))*")
_NO = re.compile(
    r"\b(?:no|nope|nah|don't|do not|stop|cancel|never|not now|rather not|wait|forget it|leave it)\b"
)


def act(calls: Sequence[ToolCall], specs: Sequence[ToolSpec]) -> bool:
    """Whether one of the calls may change something in the world."""
    by_name = {spec.name: spec for spec in specs}
    found = [by_name[call.name] for call in calls if call.name in by_name]
    return any(spec.dangerous or not spec.cancellable for spec in found)


def consent(reply: str) -> bool | None:
    """Tell whether ``reply`` allows what was asked; None if it says neither.

    A reply with both, as in "yes, no, wait", is a refusal. Leave is given only by a reply that
    says nothing else: "okay, what time is it" is another subject.
    """
    words = re.sub(r"[^a-z' ]", " ", reply.lower().replace("’", "'")).strip()
    words = re.sub(r"\s+", " ", words)
    if _NO.search(words) and len(words.split()) <= 12:
        return False
    return True if _YES.fullmatch(words) else None


def question_before(calls: Sequence[ToolCall], specs: Sequence[ToolSpec]) -> str | None:
    """Put the question to ask before ``calls``, or None if none of them is dangerous."""
    by_name = {spec.name: spec for spec in specs}
    parts: list[str] = []
    for call in calls:
        spec = by_name.get(call.name)
        if spec is None or not spec.dangerous:
            continue
        what = spec.description.split(". ")[0].rstrip(".")
        values = ", ".join(f"{name.replace('_', ' ')} {v}" for name, v in call.arguments.items())
        parts.append(f"{what[:1].lower()}{what[1:]}" + (f", {values:.120}" if values else ""))
    return speakable(f"Shall I really do this: {'; and '.join(parts)}?") if parts else None
