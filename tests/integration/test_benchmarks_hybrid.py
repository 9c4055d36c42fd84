"""The hybrid benchmarks measure what they say, and lose nothing when they are cut off."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from rich.console import Console

from coda_voice import VoiceManager
from coda_voice.moshi.engine import Engine
from coda_voice.moshi.frames import SAMPLE_RATE
from scripts import benchmark_hybrid, benchmark_hybrid_voice
from scripts.benchmarks.hybrid import RealTime, ask
from scripts.benchmarks.interruptions import Ear, Interrupted
from scripts.benchmarks.report import Report, bar
from scripts.benchmarks.users import VOICES
from tests.conftest import Spoken
from tests.integration.hybrid_talk import HybridTalk


async def test_an_answer_that_is_ready_begins_within_eight_frames(engine: Engine, spoken: Spoken):
    """From the recording's own end. Moshi is muted: what it says by itself may add a pause."""
    config = {
        "mode": "hybrid",
        "moshi": {"device": "cpu", "seed": 5},
        "external_llm": {"provider": "offline"},
        "hybrid": {"voice": "llm_only", "filler_after": 60.0},
    }
    async with VoiceManager(config, engine=engine) as manager:
        talk = await HybridTalk.begin(manager)
        await talk.silence(10)
        offset = spoken.facts["weather"]["offset"]
        asked = await ask(talk, spoken.pcm("weather"), "what is three plus four", 3.0, offset)
    assert asked.said == "seven" and asked.outcome == "answered, done"
    assert asked.answer is not None and 0 < asked.answer <= benchmark_hybrid.ALLOWED_SECONDS
    assert asked.answer_sound is not None and asked.answer_sound >= asked.answer
    assert asked.filler is None and asked.moshi is None, "nobody else was heard"


async def test_a_pace_counts_the_frames_it_could_not_keep():
    times = iter([0.0, 0.0, 0.09, 0.4, 0.41])
    pace = RealTime(lambda: next(times))
    for _ in range(4):
        await pace()
    assert (pace.frames, pace.late) == (4, 1)


def test_an_ear_counts_the_words_of_a_script(spoken: Spoken):
    facts = spoken.facts["agent_answer"]
    ear = Ear(facts["text"])
    pcm = spoken.pcm("agent_answer")
    assert abs(ear.count(pcm) - len(ear.words)) <= 1
    middle = round((facts["onset"] + facts["offset"]) / 2 * SAMPLE_RATE)
    assert 4 <= ear.count(pcm[:middle]) <= 11
    assert ear.count(pcm[:0]) == 0


def trial(during: str = "script", **other: object) -> Interrupted:
    fields = {
        "during": during,
        "spoke": True,
        "silent_after": 0.3,
        "late_words": 0,
        "went_on": False,
        "stale_tools": 0,
        "history_wrong": "",
        "history_words": 4,
        "ear_words": 5,
    }
    return Interrupted(**{**fields, **other})  # type: ignore[arg-type]


def test_bars_of_interruptions_count_only_what_there_was_to_interrupt():
    good = [trial(), trial("tool", ear_words=None), trial("after", silent_after=None)]
    bars = benchmark_hybrid.barge_in_bars(good, [1])
    assert {b["bar"]: b["holds"] for b in bars}.pop("4 interruptions") is False
    assert all(b["holds"] for b in bars[1:]), bars
    wrong = "told more than was heard"
    bad = [trial(silent_after=0.5, late_words=1, stale_tools=1, history_wrong=wrong, ear_words=9)]
    assert not any(b["holds"] for b in benchmark_hybrid.barge_in_bars(bad, [1]))


def test_a_report_keeps_what_was_measured_before(tmp_path: Path):
    path = tmp_path / "report.json"
    Report.at(path).put("one", [1, 2], [bar("1 right", 3, ">= 3", True)])
    report = Report.at(path)
    report.put("two", [], [bar("2 latency", None, "<= 640", True)], complete=False)
    found = json.loads(path.read_text())
    assert found["one"]["values"] == [1, 2] and found["one"]["complete"]
    assert not found["two"]["complete"] and found["two"]["bars"][0]["holds"] is None
    console = Console(record=True, width=100)
    report.print_bars(console)
    told = console.export_text()
    assert "yes" in told and "not measured" in told


def test_conversations_of_every_kind_meet_every_held_out_voice():
    talks = benchmark_hybrid_voice.conversations(20)
    pairs = {(talk.kind, VOICES[n % len(VOICES)]) for n, talk in enumerate(talks)}
    assert len(pairs) == 4 * len(VOICES)
    assert any(voice.startswith("festival:") for voice in VOICES)


@pytest.mark.parametrize(
    ("wanted", "said", "heard", "right"),
    [
        (["seven"], "seven", "seven", True),
        (["seven"], "eleven", "seven", False),
        (["seven"], "seven", "eleven", False),
        (["seven"], "", "seven", False),
        (["three forty-two", "three forty-three"], "It is three forty-three at night.",
         "let me check that it is three forty three at night", True),
        (["three forty-two"], "It is four forty-two at night.", "it is three forty two", False),
        (["eleven oh nine"], "It is eleven oh nine.", "it is eleven fifty nine", False),
    ],
)  # fmt: skip
def test_right_is_what_was_due_and_could_be_heard(wanted, said, heard, right):
    assert benchmark_hybrid_voice.is_right(wanted, said, heard) is right
