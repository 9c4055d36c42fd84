"""The demo's account of who thought: each LLM's turns, and those it failed, by its own name."""

from __future__ import annotations

import pytest

from coda_voice.cli.record import Record
from coda_voice.cli.thoughts import failures
from coda_voice.events import Event, ReasoningEnded, ReasoningStarted, ToolEnded
from coda_voice.turns import TurnTracker

OLLAMA = "ollama/qwen3:8b"
RULES = "offline/rules"
GONE = "Ollama cannot be reached. Start it with `ollama serve`."


def turn(
    number: int,
    asked: str,
    outcome: str = "answered",
    code: str | None = None,
    *,
    by: str | None = None,
    detail: str | None = None,
) -> list[Event]:
    """Somebody was ``asked``, and the turn ended; ``by``: who had the last word, if another."""
    who = by or asked
    ended = {"outcome": outcome, "llm": who, "offline": who == RULES, "code": code}
    common = {"conversation_id": "a", "time": float(number), "generation": number}
    return [
        ReasoningStarted.model_validate({**common, "llm": asked, "offline": asked == RULES}),
        ReasoningEnded.model_validate(
            {**common, **ended, "rounds": 1, "seconds": 0.1, "detail": detail}
        ),
    ]


def record_of(*events: Event) -> Record:
    record = Record("a", TurnTracker("a"))
    for event in events:
        record.event(event)
    return record


def lines(record: Record) -> list[str]:
    return [line.text for line in record.lines()]


def test_turns_are_those_of_the_llm_that_was_asked_though_the_offline_brain_stepped_in():
    record = record_of(
        *turn(1, OLLAMA, "failed", "llm_unreachable", detail=GONE),
        *turn(2, OLLAMA, "answered", "llm_unreachable", by=RULES, detail=GONE),
    )
    said = record.thinking()
    assert said.startswith(
        f"2 turns went to {OLLAMA}: 2 failed (the offline brain answered 1 of them); "
    )
    assert "went to the offline brain" not in said
    assert failures(record.events) == [GONE]
    assert lines(record) == [
        f"{OLLAMA}: failed (llm_unreachable)",
        f"{OLLAMA}: failed (llm_unreachable); the offline brain steps in: answered",
    ]


def test_a_turn_that_was_answered_or_interrupted_was_not_failed():
    record = record_of(*turn(1, OLLAMA), *turn(2, OLLAMA, "interrupted"))
    assert record.thinking().startswith(f"2 turns went to {OLLAMA}: 1 answered, 1 interrupted; ")
    assert lines(record) == [f"{OLLAMA}: answered"]


def test_a_turn_that_is_thought_about_anew_with_every_word_is_one():
    record = record_of(*turn(1, OLLAMA, "interrupted"), *turn(1, OLLAMA))
    assert record.thinking().startswith(f"1 turn went to {OLLAMA}: 1 answered; ")


def test_each_llm_is_named_with_its_own_turns():
    record = record_of(
        *turn(1, "ollama/deep", "answered", "llm_stalled", by=OLLAMA, detail="silent"),
        *turn(2, OLLAMA),
    )
    said = record.thinking()
    assert f"1 turn went to ollama/deep: 1 failed ({OLLAMA} answered 1 of them)" in said
    assert f"1 turn went to {OLLAMA}: 1 answered;" in said


def test_that_the_offline_brain_has_no_rule_is_said_so_and_is_nothing_to_mend():
    record = record_of(*turn(1, RULES, "failed", "llm_not_understood"), *turn(2, RULES))
    assert record.thinking().startswith(
        "2 turns went to the offline brain: 1 answered, 1 without a rule; "
    )
    assert failures(record.events) == []
    assert lines(record) == [
        "the offline brain: has no rule for that",
        "the offline brain: answered",
    ]


@pytest.mark.parametrize(
    ("tools", "words"),
    [(0, "0 tools were used"), (1, "1 tool was used"), (2, "2 tools were used")],
)
def test_tools_are_counted_in_english(tools: int, words: str):
    done = [
        ToolEnded(conversation_id="a", time=1.0, call_id=str(n), tool="clock", outcome="done")
        for n in range(tools)
    ]
    assert record_of(*turn(1, RULES), *done).thinking().endswith(words)
