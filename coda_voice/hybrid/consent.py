"""Ask before something dangerous is done, and understand the reply.

Leave is given only to what was asked: a reply counts if the whole question was heard, a short
while ago, and nothing else has been said since.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from coda_voice.hybrid.answer import Answer
from coda_voice.hybrid.llm import Message, ToolCall
from coda_voice.hybrid.speakable import speakable
from coda_voice.protocols import ToolOutcome, ToolSpec

CONSENT_SECONDS = 60.0
"""So long a question for leave may wait for its reply, once it has been heard."""
REPLY_SECONDS = 10.0
"""So long the reply is expected at any moment."""
MAX_VALUE = 240
"""Characters of an argument that are read out; the user is told that there are more."""
_MARKUP = re.compile(r"[`<>*|#~\[\](){}\"]|://")
"""What would be taken for markup, and not be read out with all that stands in it."""

_LEAVE = (
    r"(?:yes|yeah|yep|yup|sure|do it|do that|do so|go ahead|go for it|go on|okay|ok|of course|"
    r"absolutely|definitely|certainly|confirm|confirmed|right|correct|i do|i am sure|i'm sure)"
)
_MANNERS = r"(?:oh|well|um|uh|please|thanks|thank you|coda|then|now|sir|that's)"
_YES = re.compile(rf"(?:{_MANNERS} )*{_LEAVE}(?: (?:{_LEAVE}|{_MANNERS}))*")
_NO = re.compile(
    r"\b(?:no|nope|nah|don't|do not|stop|cancel|never|not now|rather not|wait|forget it|leave it)\b"
)


@dataclass(frozen=True)
class Question:
    """Calls that wait for the user's leave, the prompt they belong to, and who asks.

    ``kept``: late results of earlier turns that only this prompt tells of.
    """

    messages: list[Message]
    calls: tuple[ToolCall, ...]
    answer: Answer
    kept: Sequence[ToolOutcome] = ()

    def waits(self, now: float, seconds: float = CONSENT_SECONDS) -> bool:
        """Whether a reply at ``now`` would be one to this: it was heard ``seconds`` ago at most.

        A yes that comes later was said to something else.
        """
        heard = self.answer.question_heard_at
        return heard is not None and now <= heard + seconds


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
    words = re.sub(r"[^\w' ]", " ", reply.lower().replace("’", "'")).strip()
    words = re.sub(r"\s+", " ", words)
    if _NO.search(words) and len(words.split()) <= 12:
        return False
    return True if _YES.fullmatch(words) else None


def question_before(
    calls: Sequence[ToolCall], specs: Sequence[ToolSpec], said: str = ""
) -> str | None:
    """Put the question to ask before ``calls``, or None if none of them is dangerous.

    A tool may take what the user has just ``said`` for leave (``ToolSpec.leave``). Every argument
    is in the question; of a very long one it says how much is left out.
    """
    by_name = {spec.name: spec for spec in specs}
    parts: list[str] = []
    for call in calls:
        spec = by_name.get(call.name)
        if spec is None or not spec.dangerous:
            continue
        if spec.leave and re.search(spec.leave, said, re.IGNORECASE):
            continue
        what = spec.description.split(". ")[0].rstrip(".")
        values = [f"{name.replace('_', ' ')} {_read(v)}" for name, v in call.arguments.items()]
        parts.append(", ".join([f"{what[:1].lower()}{what[1:]}", *values]))
    return speakable(f"Shall I really do this: {'; and '.join(parts)}?") if parts else None


def _read(value: object) -> str:
    text = " ".join(_MARKUP.sub(" ", str(value)).split())
    more = len(text) - MAX_VALUE
    return f"{text[:MAX_VALUE]} and {more} more characters" if more > 0 else text
