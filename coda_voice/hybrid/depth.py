"""Which questions want the larger of two models: those that want thought, not a fact.

Read off the words alone, in microseconds; what the user says of it himself ("take your time",
"briefly") counts for more than what the question looks like.
"""

from __future__ import annotations

import re

from coda_voice.hybrid.route_rules import Kind

LONG_QUESTION = 20
"""Words; so long a question has more than one part."""
_WANTED = re.compile(
    r"\b(?:take your time|think (?:hard|carefully|deeply|it over|it through)|in (?:more )?detail|"
    r"step by step|thoroughly|reason (?:about|through))\b"
)
_UNWANTED = re.compile(
    r"\b(?:quick(?:ly)?|brief(?:ly)?|in short|shortly|in (?:one|a|two|a few) (?:word|sentence)s?|"
    r"just tell me|roughly)\b"
)
_THOUGHT = re.compile(
    r"\b(?:explain|why|compare|difference between|pros and cons|(?:dis)?advantages|plan|design|"
    r"prove|derive|analy[sz]e|summari[sz]e|argue|argument|essay|strategy|solve|"
    r"what would happen|what if|should (?:i|we)|how (?:do|does|did|would|could|can) .+ work)\b"
)


def reason_for_depth(words: str, kind: Kind) -> str | None:
    """Say why ``words`` (normalised) want the larger model, or None if they do not."""
    if kind in ("social", "stop"):
        return None
    if wanted := _WANTED.search(words):
        return f"deep: {wanted[0]}"
    if kind not in ("question", "follow_up") or _UNWANTED.search(words):
        return None
    if thought := _THOUGHT.search(words):
        return f"deep: {' '.join(thought[0].split()[:3])}"
    return "deep: long" if len(words.split()) >= LONG_QUESTION else None
