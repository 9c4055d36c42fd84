"""The demo's user, the record, transcript and picture: from real sound, without a model."""

from __future__ import annotations

import io
import itertools
from pathlib import Path

import matplotlib.image
import numpy as np
import pytest
from rich.console import Console

from coda_voice.audio.features import level_dbfs
from coda_voice.cli.record import Line, Record
from coda_voice.cli.screen import LiveScreen, PlainScreen, meter, open_screen
from coda_voice.cli.script import PATIENCE, PAUSE, Said, ScriptedUser, load_script
from coda_voice.cli.timeline import SYSTEM_SECONDS, cut_into_systems, draw_timeline
from coda_voice.moshi.frames import FRAME_SAMPLES, FRAME_SECONDS, Word
from coda_voice.turns import TurnTracker, UserSpeech
from tests.conftest import Spoken

SILENCE = np.zeros(FRAME_SAMPLES, dtype=np.float32)
ANSWER = "my name is coda nice to meet you what can i do"


def until_it_speaks(user: ScriptedUser, agent_speaking: bool = False) -> int:
    """Frames until the user begins the next utterance."""
    before = len(user.said)
    for frame in range(1000):
        if user.next_frame(agent_speaking) is None or len(user.said) > before:
            return frame
    pytest.fail("the user never spoke again")


def finish_speaking(user: ScriptedUser, agent_speaking: bool = False) -> None:
    for _ in range(round((user.said[-1].end - user.said[-1].start) / FRAME_SECONDS + 0.5) - 1):
        user.next_frame(agent_speaking)


def test_the_user_waits_for_an_answer_and_its_end():
    user = ScriptedUser(load_script())
    until_it_speaks(user)
    finish_speaking(user)
    for _ in range(20):
        user.next_frame(agent_speaking=True)
    assert len(user.said) == 1, "he talked into the answer"
    assert until_it_speaks(user) == PAUSE - 1
    assert not user.said[-1].interrupting


def test_the_user_is_patient_but_not_for_ever():
    user = ScriptedUser(load_script())
    until_it_speaks(user)
    finish_speaking(user)
    assert until_it_speaks(user) == pytest.approx(PATIENCE, abs=2)


def test_the_user_interrupts_only_an_agent_that_speaks():
    script = load_script()
    interruption = next(i for i, u in enumerate(script.utterances) if u.interrupts)
    for speaks in (True, False):
        user = ScriptedUser(script)
        for _ in range(interruption):
            until_it_speaks(user)
            finish_speaking(user)
        waited = until_it_speaks(user, agent_speaking=speaks)
        assert user.said[-1].text == script.utterances[interruption].text
        assert user.said[-1].interrupting == speaks
        assert (waited < 12) == speaks


def test_whatever_the_agent_does_the_whole_script_is_said_and_ends():
    script = load_script()
    for pattern in ((False,), (True,), (True, False), (True,) * 30 + (False,) * 9):
        user = ScriptedUser(script)
        frames = 0
        while user.next_frame(pattern[frames % len(pattern)]) is not None:
            frames += 1
            assert frames * FRAME_SECONDS < 180, "it does not end"
        assert [said.text for said in user.said] == [u.text for u in script.utterances]


def scene(
    spoken: Spoken, screen: type[PlainScreen] | None = None, out: io.StringIO | None = None
) -> Record:
    """A question, an answer, and a user who interrupts it at 4.8 s: real sound, real tracker."""
    texts = [u.text for u in load_script().utterances]
    question, stop = (load_script().utterances[texts.index(t)] for t in (texts[1], "stop talking"))
    user, agent = np.zeros((2, 150 * FRAME_SAMPLES), dtype=np.float32)
    said = []
    for utterance, start in ((question, 1.04), (stop, 4.8)):
        at = round(start * 24_000)
        user[at : at + len(utterance.pcm)] = utterance.pcm
        said.append(Said(utterance.text, start, start + len(utterance.pcm) / 24_000, start > 4))
    speech = spoken.pcm("agent_answer")[12_000:]
    at, silent = round(2.4 * 24_000), round(5.28 * 24_000)
    agent[at : at + len(speech)] = speech
    agent[silent:] = 0
    words = [Word(w, 2.4 + i * 0.26, 2.6 + i * 0.26) for i, w in enumerate(ANSWER.split())]
    tracker = TurnTracker("scene")
    record = Record("scene", tracker, said)
    shown = screen(Console(file=out, width=160), record) if screen else None
    for number, (heard, spoke) in enumerate(
        zip(user.reshape(-1, FRAME_SAMPLES), agent.reshape(-1, FRAME_SAMPLES), strict=True)
    ):
        now = number * FRAME_SECONDS
        changes = [UserSpeech("start", s.start) for s in said if 0 <= now - s.start < 0.079]
        changes += [UserSpeech("end", s.end) for s in said if 0 <= now - s.end - 0.5 < 0.079]
        done = [w for w in words if now <= w.end < now + FRAME_SECONDS]
        level = level_dbfs(spoke)
        for event in tracker.observe(
            now, user=changes, agent_level=level, word_token=bool(done), words=done
        ):
            record.event(event)
        record.frame(heard, spoke)
        if shown is not None:
            shown.frame(heard, spoke)
    if shown is not None:
        shown.__exit__(None, None, None)
    return record


def test_the_record_knows_who_said_what_how_fast_and_who_interrupted(spoken: Spoken):
    record = scene(spoken)
    question, answer, stop = record.lines()
    assert (question.speaker, answer.speaker, stop.speaker) == ("user", "agent", "user")
    assert answer.text == ANSWER
    assert answer.start == pytest.approx(2.4, abs=0.09)
    assert answer.end == pytest.approx(5.28, abs=0.09)
    assert answer.note == f"{record.latencies[0].seconds:.2f} s after the user"
    assert record.latencies[0].seconds == pytest.approx(answer.start - question.end, abs=0.01)
    assert stop.note == "interrupts; agent silent after 0.48 s"
    assert record.agent_speech_seconds() == pytest.approx(2.7, abs=0.5)


def test_the_transcript_comes_line_by_line_in_order(spoken: Spoken):
    out = io.StringIO()
    record = scene(spoken, PlainScreen, out)
    printed = out.getvalue().splitlines()
    assert len(printed) == 3
    for line, shown in zip(record.lines(), printed, strict=True):
        assert shown.startswith(f"{line.start:7.1f} s  {line.speaker:<5}  {line.text}")
        assert shown.endswith(line.note)
    assert "\x1b" not in out.getvalue()


def test_a_terminal_gets_meters_while_it_runs_and_the_transcript_in_the_end(
    spoken: Spoken, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")
    out = io.StringIO()
    record = scene(spoken)
    console = Console(file=out, force_terminal=True, width=120, height=30)
    screen = open_screen(console, record)
    assert isinstance(screen, LiveScreen)
    loud = spoken.pcm("hello")[14_400 : 14_400 + FRAME_SAMPLES]
    with screen:
        screen.frame(loud, SILENCE)
        live = out.getvalue()
    assert "█" in live
    assert "quiet" in live
    after = out.getvalue()[len(live) :]
    assert "█" not in after
    assert ANSWER in after


def test_no_color_is_honoured(spoken: Spoken, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("NO_COLOR", "1")
    out = io.StringIO()
    console = Console(file=out, force_terminal=True, width=160)
    with PlainScreen(console, scene(spoken)):
        pass
    assert ANSWER in out.getvalue()
    assert "\x1b[3" not in out.getvalue()


def test_the_meter_grows_with_the_level():
    bars = [meter(level, "cyan").plain.count("█") for level in (-120.0, -60.0, -40.0, -20.0, 0.0)]
    assert bars == sorted(bars)
    assert (bars[0], bars[-1]) == (0, 24)


def pixels(path: Path, colour: str) -> int:
    picture = matplotlib.image.imread(path)[..., :3]
    wanted = np.array([int(colour[i : i + 2], 16) for i in (0, 2, 4)]) / 255
    return int((np.abs(picture - wanted).max(axis=2) < 0.02).sum())


def test_the_picture_marks_voices_and_interruption(spoken: Spoken, tmp_path: Path):
    record = scene(spoken)
    draw_timeline(record, tmp_path / "t.png", "A conversation", "of the test")
    assert pixels(tmp_path / "t.png", "1f77b4") > 2_000
    assert pixels(tmp_path / "t.png", "2a9d5c") > 2_000
    record.barge_ins.clear()
    draw_timeline(record, tmp_path / "peace.png", "A conversation", "of the test")
    red = [pixels(tmp_path / name, "c8372d") for name in ("t.png", "peace.png")]
    assert red[0] > red[1] + 20


def test_systems_cover_the_time_and_break_in_pauses():
    lines = [Line("user", s, s + 2.5, "x") for s in np.arange(1.0, 38.0, 4.0)]
    systems = cut_into_systems(lines, 40.0)
    assert systems[0].start == 0.0
    assert systems[-1].end == 40.0
    for before, after in itertools.pairwise(systems):
        assert before.end == after.start
        assert not any(line.start < after.start < line.end for line in lines if line.end)
    assert all(2.0 < s.end - s.start <= SYSTEM_SECONDS + 1e-6 for s in systems)
    monologue = [Line("agent", 0.0, 60.0, "on and on")]
    assert all(s.end - s.start <= SYSTEM_SECONDS for s in cut_into_systems(monologue, 60.0))
