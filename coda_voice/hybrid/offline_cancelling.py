"""Read which timers, reminders or alarms are to be cancelled.

By name, by length, by when they ring, or of several the one that a question named.
"""

from __future__ import annotations

import re

from coda_voice.hybrid.offline_arguments import Arguments
from coda_voice.hybrid.offline_reminders import rings_at
from coda_voice.hybrid.second_person import second_person
from coda_voice.hybrid.spoken_times import duration_seconds

CANCELS = (
    r"^(?!.*\bremind (?:me|us)\b)(?P<before>.*?)\b"
    r"(?:cancel|stop|delete|clear|remove|dismiss|turn off) "
    r"(?:(?:the|my|all|of|every|both|that|this|running)\b ?)*"
    r"(?P<label>(?:(?!(?:timer|reminder|alarm)s?\b)[\w'-]+ )+?)?"
    r"(?P<kind>timer|reminder|alarm)s?"
    r"(?: (?:(?:that (?:i|is|was|you)|i|you) )?(?:have )?(?:set )?"
    r"(?:(?P<link>to|for|about|of|at|on) )?(?P<what>.+))?$"
)
_WHICH_OF_THEM = {"first", "second", "third", "last", "next", "other", "new", "old", "latest"}
_MORE_TO_DO = re.compile(
    r"\b(?:and|then|but) (?:also |then )?(?:set|start|make|begin|give|put|remind|cancel|stop)\b"
)
"""Of "cancel the timer and set one for five minutes" one half would be lost."""
_KIND = r"(?:timer|reminder|alarm)s?"
_SETS_ONE = re.compile(
    r"\bremind|\bwake (?:me|us)\b|"
    rf"\b(?:set|create|make|add|start|begin|put|give)\b.*\b{_KIND}\b|"
    rf"\b(?:need|want|would like) (?:an?|another)\b.*\b{_KIND}\b"
)
"""Before what cancels: who wants to be reminded to turn off the alarm keeps it until then."""
_EVERY = re.compile(r"\b(?:all|every|both|alarms|reminders|timers)\b")
"""Which of them, nobody needs to be asked."""
_NO_NAME = re.compile(
    r"\b(?:i|me|we|us|you|it|they|them)\b|\b(?:an?|the|my|another|one|this|that)$|"
    r"\b(?:set|create|make|add|start|begin|put|give|need|want)(?: up| on)? (?:an?|another|one)\b"
)
"""Between what cancels and what would be cancelled: "stop, set a timer" sets one."""
_NO_MATTER = re.compile(r"\b(?:(?:right )?now|for me|again|at once|immediately)$")
"""Behind what is cancelled, and nothing of which it is."""
_ANOTHER_TOO = re.compile(rf"\b(?:and|or|but|not|except)\b.*\b(?:{_KIND}|one)\b")
"""Of "the tea timer and the egg timer" one would be lost."""


def cancelled(match: re.Match[str]) -> Arguments | None:
    """One of a kind, or every one; who stops a timer keeps his reminders.

    None for "the second timer", which is no name and no 30 second timer, for what is no name
    at all ("the timer and set another"), for two that are named, and where one is set rather than
    cancelled.
    """
    kind = "timer" if match["kind"] == "timer" else "reminder"
    label = (match["label"] or "").replace("-", " ").strip()
    link = f"{match['link']} " if match["link"] else ""
    said = _NO_MATTER.sub("", f"{link}{match['what'] or ''}").strip().removeprefix(link)
    if _ANOTHER_TOO.search(match.string, match.end("kind")):
        return None
    if label in ("a", "an") and said:
        label = ""
    if label in _WHICH_OF_THEM or _MORE_TO_DO.search(match.string):
        return None
    if _NO_NAME.search(label) or _SETS_ONE.search(match["before"]):
        return None
    if label and (when := rings_at(label)):
        label = ""
    else:
        when = rings_at(said) or {}
    if said and not label and not when:
        if not match["link"]:
            return None
        label = second_person(re.sub(r"^(?:the|my) ", "", said))
    if label and (seconds := duration_seconds(label)):
        label = _length(round(seconds))
    # A timer that rings at a time of day is what others call an alarm.
    which: dict[str, object] = {} if when and kind == "timer" else {"kind": kind}
    if _EVERY.search(match.string[match.end("before") : match.end("kind") + 1]):
        which["every"] = True
    return {**which, "label": label, **when} if label else {**which, **when}


def _length(seconds: int) -> str:
    """Name a timer by its length, as the timer itself does: "1 hour 30 minute"."""
    parts: list[str] = []
    for unit, each in (("day", 86_400), ("hour", 3_600), ("minute", 60), ("second", 1)):
        count, seconds = divmod(seconds, each)
        parts += [f"{count} {unit}"] * (count > 0)
    return " ".join([", ".join(parts[:-1]), parts[-1]]).strip()


_WHICH_ONE = re.compile(r"\bwhich one\b(?P<offered>.*)", re.DOTALL)
_BEFORE = r"(?:(?:no|yes|oh|just|only|i mean|i meant|cancel|stop|the|my|that|one|for|called)\b ?)*"
_ALL = re.compile(rf"{_BEFORE}(?:all|both|every one|all three)(?: of)?(?: (?:them|those|{_KIND}))?")
_ONE = re.compile(rf"{_BEFORE}(?P<name>\S+(?: \S+){{0,5}}?)(?: (?:one|{_KIND}))?")


def chosen(reply: str, question: str, asked: Arguments) -> Arguments | None:
    """Read ``reply``, "the five minute one", to a question that cancelling as ``asked`` has led to.

    None where ``question`` does not ask which one, or has not named what the reply says.
    """
    found, one = _WHICH_ONE.search(question.lower().replace("-", " ")), _ONE.fullmatch(reply)
    if found is None or one is None:
        return None
    if _ALL.fullmatch(reply):
        return {**asked, "every": True}
    name = re.sub(r"\b(second|minute|hour|day)s\b", r"\1", one["name"])
    seconds = duration_seconds(name)
    label = _length(round(seconds)) if seconds else second_person(name)
    if re.search(rf"\b(?:{re.escape(name)}|{re.escape(label)})\b", found["offered"]):
        return {**asked, "label": label}
    when = rings_at(name)
    return {**asked, **when} if when else None
