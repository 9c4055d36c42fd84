"""Which events the terminal UI has a line for, and in which words.

Events are read as the server sends them: one of another version may lack a field, or have more.
"""

from __future__ import annotations

from collections.abc import Mapping

from coda_voice.cli.thoughts import count
from coda_voice.moshi.frames import FRAME_SECONDS

Fields = Mapping[str, object]
Line = tuple[str, str, str]
"""Who, what, and its style."""

SENTENCES = {"filler": "says meanwhile", "question": "asks leave"}
TOOL_OUTCOMES = {"never_started": "not begun", "kept": "kept for the next turn"}


def thought(event: Fields) -> Line | None:
    """Give the line of an event that is worth one; None for the rest."""
    match event.get("type"):
        case "route_decided" if not event.get("partial"):
            return "route", f"{event.get('target')}: {_listed(event.get('reasons'))}", "green"
        case "reasoning_started":
            return "asks", f"{event.get('llm')}", "blue"
        case "reasoning_ended" if event.get("code"):
            return _reasoning_failed(event)
        case "sentence_ready":
            who = SENTENCES.get(f"{event.get('kind')}", "says")
            return who, f"{event.get('text')}{_offline(event)}", "blue"
        case "script_ended" if event.get("outcome") != "done":
            words = count(round(_number(event.get("unsaid"))), "word")
            return "unsaid", f"{words} ({event.get('origin')}, {event.get('outcome')})", "white"
        case "tool_started" | "tool_ended":
            return "tool", f"{event.get('tool')}{_tool(event)}{_offline(event)}", "magenta"
        case "memory":
            return _remembered(event)
        case "memory_stored":
            return _stored(event)
        case "personality_adapted":
            return "manner", _adapted(event), "yellow"
        case _:
            return _about_the_conversation(event)


def _about_the_conversation(event: Fields) -> Line | None:
    match event.get("type"):
        case "barge_in":
            return "interrupted", _silent_after(event.get("silent_after")), "red"
        case "mode_changed":
            return "mode", f"{event.get('mode')}", "white"
        case "session_renewed":
            kept = _number(event.get("kept_frames")) * FRAME_SECONDS
            return "renewed", f"its memory of this talk; the last {kept:.0f} s were kept", "white"
        case "voice_fell_back":
            return "voice", _fell_back(event), "yellow"
        case "setting_without_effect":
            return "no effect", f"{event.get('setting')}: {event.get('reason')}", "yellow"
        case "attendant_failed":
            off = f"{event.get('attendant')} is off for this conversation"
            return "fault", f"{off}: {event.get('message')}", "red"
        case "error" | "no_transcript":
            return "fault", f"{event.get('message') or event.get('reason')}", "red"
    return None


def _reasoning_failed(event: Fields) -> Line:
    """Whom was asked first could not answer: who did in its place, if anybody, and why."""
    if event.get("outcome") == "failed":
        return "fault", f"{event.get('llm')}: {event.get('detail')}", "red"
    return "answers", f"{event.get('llm')} instead: {event.get('detail')}", "yellow"


def _tool(event: Fields) -> str:
    """What it was called with, or how the call ended and why."""
    if event.get("type") == "tool_started":
        given = f"{event.get('arguments') or ''}"
        return "" if given == "{}" else f" {given}"
    outcome = f"{event.get('outcome')}"
    why = f", {event.get('error')}" if event.get("error") else ""
    return f": {TOOL_OUTCOMES.get(outcome, outcome)}{why}"


def _remembered(event: Fields) -> Line | None:
    """What came to mind, and how much of it was not told."""
    told, refused = _listed(event.get("injected")), event.get("refused")
    left_out = f" ({len(refused)} left out)" if isinstance(refused, list) and refused else ""
    if told:
        return "remembers", f"{told}{left_out}", "yellow"
    if event.get("skipped"):
        return "remembers", f"nothing: {event.get('skipped')}{left_out}", "yellow"
    return ("remembers", f"nothing that fits{left_out}", "yellow") if left_out else None


def _stored(event: Fields) -> Line:
    """What will be remembered: the facts of what was said, or all of it; and what no longer is."""
    facts, gone = _listed(event.get("facts")), _listed(event.get("taken_back"))
    if gone and not facts:
        return "holds no longer", gone, "yellow"
    ended = f" (holds no longer: {gone})" if gone else ""
    return "will remember", f"{facts or event.get('text')}{ended}", "yellow"


def _adapted(event: Fields) -> str:
    before, after = (_number(event.get(when)) for when in ("before", "after"))
    because = f"because you said “{event.get('because')}”"
    return f"{event.get('trait')} went from {before:.2f} to {after:.2f}, {because}"


def _fell_back(event: Fields) -> str:
    """Whose voice is heard instead, and for how long: one that is gone does not come back."""
    gone = event.get("reason") == "failed"
    how = "is gone; Moshi's own goes on" if gone else "is too slow; Moshi's own says the rest"
    return f"{event.get('voice')} {how}: {event.get('detail')}"


def _silent_after(seconds: object) -> str:
    return f"silent after {_number(seconds):.2f} s" if seconds is not None else ""


def _number(value: object) -> float:
    return float(value) if isinstance(value, (int, float)) else 0.0


def _offline(event: Fields) -> str:
    return " (offline)" if event.get("offline") else ""


def _listed(values: object) -> str:
    return "; ".join(map(str, values)) if isinstance(values, (list, tuple)) else ""
