"""The programs in scripts/ run as they are: one as a program, the others in this process."""

from __future__ import annotations

import multiprocessing
import multiprocessing.dummy
import multiprocessing.pool  # before its way to make processes is replaced
import os
import runpy
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
import soundfile

from coda_voice.audio.features import level_dbfs
from coda_voice.turns import AGENT_LEVEL_DBFS
from tests.conftest import Spoken

ROOT = Path(__file__).parent.parent.parent


@dataclass(frozen=True)
class Ended:
    """How a program ended, and what it said."""

    status: int
    out: str
    err: str


def as_a_program(script: str, folder: Path) -> str:
    """Run a script in a process of its own; gives what it printed."""
    done = subprocess.run(
        [sys.executable, ROOT / "scripts" / script],
        cwd=folder,
        env={**os.environ, "NO_COLOR": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


class Here:
    """Runs scripts in this process, which has imported already what they import."""

    def __init__(self, patch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self._patch = patch
        self._capsys = capsys

    def ended(self, script: str, *arguments: str, folder: Path) -> Ended:
        path = str(ROOT / "scripts" / script)
        with self._patch.context() as patch:
            patch.chdir(folder)
            patch.setenv("NO_COLOR", "1")
            patch.setattr(sys, "argv", [path, *arguments])
            patch.setattr(sys, "path", [*sys.path])
            status = _status_of(path)
        said = self._capsys.readouterr()
        return Ended(status, said.out, said.err)

    def run(self, script: str, *arguments: str, folder: Path) -> str:
        """Run what must end well; gives what it printed."""
        end = self.ended(script, *arguments, folder=folder)
        assert end.status == 0, end.out + end.err
        return end.out


def _status_of(path: str) -> int:
    try:
        runpy.run_path(path, run_name="__main__")
    except SystemExit as end:
        assert end.code is None or isinstance(end.code, int), end.code
        return end.code or 0
    return 0


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Here:
    return Here(monkeypatch, capsys)


def test_a_script_runs_as_a_program_and_tells_what_it_did(tmp_path: Path) -> None:
    assert "agent" in as_a_program("voice_conversation_example.py", tmp_path)


def test_hybrid_answers_are_spoken(here: Here, tmp_path: Path) -> None:
    told = here.run("hybrid_reasoning_example.py", folder=tmp_path)
    assert "agent (answer, done): seven" in told.lower()


def test_the_memory_of_conversations_is_measured(
    here: Here, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In threads instead of processes; in these it runs where test_docs.py runs it."""
    monkeypatch.setattr(multiprocessing, "get_context", lambda kind: multiprocessing.dummy)
    told = here.run("test_vram_allocation.py", folder=tmp_path)
    assert "slot" in told.lower()
    assert "each further conversation: " in told


def test_the_demo_is_a_script_too(
    here: Here, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # All of it is seen by test_demo.py; here are its first seconds.
    monkeypatch.setenv("CODA_VOICE__MOSHI__MAX_CONVERSATION_LENGTH", "5")
    assert "conversation.wav" in here.run("voice_demo.py", folder=tmp_path)
    assert (tmp_path / "conversation.wav").is_file()


@pytest.mark.parametrize(
    ("words", "tells"),
    [
        (["voice_websocket_demo.py", "ws://127.0.0.1:9"], "ws://127.0.0.1:9 cannot be talked to"),
        (["voice_websocket_demo.py", "127.0.0.1:9"], "127.0.0.1:9 cannot be talked to"),
        (["voice_websocket_demo.py", "--file", "none.wav"], "none.wav cannot be read"),
        (["voice_conversation_example.py", "none.wav"], "none.wav"),
        (["voice_conversation_example.py", "."], "'.'"),
    ],
)
def test_what_cannot_be_is_said_in_a_line_before_anything_is_loaded(
    words: list[str], tells: str, here: Here, tmp_path: Path
) -> None:
    end = here.ended(*words, folder=tmp_path)
    assert (end.status, end.out) == (2, "")
    assert tells in end.err and len(end.err.splitlines()) == 1, end.err


def test_a_live_stream_is_answered_while_it_goes_on(here: Here, tmp_path: Path) -> None:
    hello = ROOT / "tests" / "data" / "hello.flac"
    assert " agent " in here.run("streaming_voice_example.py", str(hello), folder=tmp_path)


def test_a_server_of_its_own_is_talked_to_and_its_events_are_shown(
    here: Here, tmp_path: Path, spoken: Spoken
) -> None:
    target = tmp_path / "said.wav"
    told = here.run("voice_websocket_demo.py", "--out", str(target), folder=tmp_path)
    lines = told.splitlines()
    assert "'status': 'ready'" in lines[0] and "'status': 'ended'" in told
    assert any(line.startswith("event speech_started: ") and "'user'" in line for line in lines)
    assert any(line.startswith("event word: ") and "'name'" in line for line in lines)
    assert "event conversation_ended: " in told
    assert str(target) in lines[-1]
    pcm, rate = soundfile.read(target, dtype="float32")
    asked = spoken.facts["what_is_your_name"]
    assert rate == 24_000
    assert asked["duration"] < len(pcm) / rate <= asked["duration"] + 4.1, "4 s to answer"
    assert level_dbfs(pcm) > AGENT_LEVEL_DBFS


def test_latencies_are_measured_and_written(here: Here, tmp_path: Path) -> None:
    target = tmp_path / "latency.json"
    one = ("--rounds", "1", "--questions", "1")
    told = here.run("benchmark_voice_latency.py", *one, "--json", str(target), folder=tmp_path)
    assert "arrival to agent's frame" in told
    assert '"encode"' in target.read_text()
