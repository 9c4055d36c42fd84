"""The programs in scripts/ run as they are, without arguments."""

from __future__ import annotations

import os
import runpy
import subprocess
import sys
from pathlib import Path

import pytest
import soundfile

from coda_voice.audio.features import level_dbfs
from coda_voice.turns import AGENT_LEVEL_DBFS
from tests.conftest import Spoken

ROOT = Path(__file__).parent.parent.parent


def run(script: str, *arguments: str, folder: Path, **more: str) -> str:
    done = subprocess.run(
        [sys.executable, ROOT / "scripts" / script, *arguments],
        cwd=folder,
        env={**os.environ, "NO_COLOR": "1", **more},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize(
    ("script", "tells"),
    [
        ("voice_conversation_example.py", "agent"),
        ("hybrid_reasoning_example.py", "agent (answer, done): seven"),
        ("test_vram_allocation.py", "slot"),
    ],
)
def test_a_script_runs_and_tells_what_it_did(script: str, tells: str, tmp_path: Path) -> None:
    assert tells in run(script, folder=tmp_path).lower()


def test_the_demo_is_a_script_too(tmp_path: Path) -> None:
    # All of it is seen by test_demo.py; here are its first seconds.
    told = run("voice_demo.py", folder=tmp_path, CODA_VOICE__MOSHI__MAX_CONVERSATION_LENGTH="5")
    assert "conversation.wav" in told
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
    words: list[str],
    tells: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """In this process, which has imported what they import; as programs they run above."""
    script = str(ROOT / "scripts" / words[0])
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", [script, *words[1:]])
    monkeypatch.setattr(sys, "path", [*sys.path])
    with pytest.raises(SystemExit) as end:
        runpy.run_path(script, run_name="__main__")
    said = capsys.readouterr()
    assert (end.value.code, said.out) == (2, "")
    assert tells in said.err and len(said.err.splitlines()) == 1, said.err


def test_a_live_stream_is_answered_while_it_goes_on(tmp_path: Path) -> None:
    hello = ROOT / "tests" / "data" / "hello.flac"
    assert " agent " in run("streaming_voice_example.py", str(hello), folder=tmp_path)


def test_a_server_of_its_own_is_talked_to_and_its_events_are_shown(
    tmp_path: Path, spoken: Spoken
) -> None:
    target = tmp_path / "said.wav"
    told = run("voice_websocket_demo.py", "--out", str(target), folder=tmp_path)
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


def test_latencies_are_measured_and_written(tmp_path: Path) -> None:
    target = tmp_path / "latency.json"
    one = ("--rounds", "1", "--questions", "1")
    told = run("benchmark_voice_latency.py", *one, "--json", str(target), folder=tmp_path)
    assert "arrival to agent's frame" in told
    assert '"encode"' in target.read_text()
