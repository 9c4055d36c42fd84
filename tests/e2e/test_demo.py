"""`coda-voice demo`: what a newcomer sees first must be true, and be there afterwards."""

from __future__ import annotations

import json
import signal
import subprocess
from pathlib import Path
from typing import Any

import matplotlib.image
import numpy as np
import pytest
import soundfile
from safetensors.torch import load_file, save_file

from coda_voice.audio.features import level_dbfs
from coda_voice.audio.vad import VoiceActivityDetector
from coda_voice.cli.main import main
from coda_voice.cli.script import load_script
from coda_voice.moshi.capabilities import TINY_FOLDER
from coda_voice.moshi.frames import FRAME_SAMPLES, Pcm
from coda_voice.turns import AGENT_LEVEL_DBFS
from tests.e2e.conftest import COMMAND, Done, coda_voice, environment


@pytest.fixture(scope="module")
def sound(demo: Done) -> tuple[Pcm, Pcm]:
    """The user's channel and the agent's."""
    pcm, rate = soundfile.read(demo.folder / "conversation.wav", dtype="float32")
    assert rate == 24_000
    assert pcm.shape[1] == 2
    return pcm[:, 0], pcm[:, 1]


@pytest.fixture(scope="module")
def report(demo: Done) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((demo.folder / "conversation.json").read_text())
    return found


def part(pcm: Pcm, start: float, end: float) -> Pcm:
    return pcm[round(start * 24_000) : round(end * 24_000)]


def test_it_ends_well_and_leaves_the_three_files(demo: Done):
    assert demo.returncode == 0, demo.stdout + demo.stderr
    assert "Traceback" not in demo.stderr
    names = {path.name for path in demo.folder.iterdir()}
    assert names == {"conversation.wav", "conversation.png", "conversation.json"}
    for name in names:
        assert name in demo.stdout


def test_the_agent_can_be_heard(sound: tuple[Pcm, Pcm], report: dict[str, Any]):
    detector = VoiceActivityDetector()
    agent = sound[1]
    voiced = [
        detector.process(agent[at : at + FRAME_SAMPLES]).is_speech
        for at in range(0, len(agent), FRAME_SAMPLES)
    ]
    assert sum(voiced) * 0.08 >= 1.0
    assert report["agent_speech_seconds"] == pytest.approx(sum(voiced) * 0.08, abs=0.2)


def test_the_user_says_the_whole_script_where_the_report_puts_it(
    sound: tuple[Pcm, Pcm], report: dict[str, Any]
):
    user = sound[0]
    said = [line for line in report["lines"] if line["speaker"] == "user"]
    assert [line["text"] for line in said] == [u.text for u in load_script().utterances]
    quiet = np.ones(len(user), dtype=bool)
    for line in said:
        assert level_dbfs(part(user, line["start"], line["end"])) > -35.0
        quiet[round(line["start"] * 24_000) : round(line["end"] * 24_000)] = False
    assert np.abs(user[quiet]).max() < 1e-3


def test_the_agent_sounds_where_the_report_says_it_speaks(
    sound: tuple[Pcm, Pcm], report: dict[str, Any]
):
    spoken = [line for line in report["lines"] if line["speaker"] == "agent"]
    assert spoken
    for line in spoken:
        assert level_dbfs(part(sound[1], line["start"], line["end"])) > AGENT_LEVEL_DBFS


def test_words_frames_and_sound_have_one_clock(sound: tuple[Pcm, Pcm], report: dict[str, Any]):
    assert len(sound[0]) == report["frames"] * FRAME_SAMPLES
    assert report["seconds"] == pytest.approx(len(sound[0]) / 24_000, abs=1e-3)
    assert report["frames_dropped"] == 0
    assert report["words"]
    starts = [word["start"] for word in report["words"]]
    assert starts == sorted(starts)
    assert all(0 <= w["start"] < w["end"] <= report["seconds"] + 0.5 for w in report["words"])


def test_latencies_run_from_the_users_end_to_the_agents_beginning(report: dict[str, Any]):
    agent_starts = [line["start"] for line in report["lines"] if line["speaker"] == "agent"]
    user_ends = [line["end"] for line in report["lines"] if line["speaker"] == "user"]
    timed = [event for event in report["events"] if event["type"] == "turn_latency"]
    assert [e["seconds"] for e in timed] == report["latencies"]["turn_seconds"]
    for event in timed:
        assert min(abs(event["time"] - start) for start in agent_starts) < 0.01
        # The voice detector may date an end up to a quarter of a second beside the truth.
        assert min(abs(event["time"] - event["seconds"] - end) for end in user_ends) < 0.25


def test_the_screen_tells_what_the_report_holds(demo: Done, report: dict[str, Any]):
    lines = demo.stdout.splitlines()
    for said in report["lines"]:
        text = said["text"] or "(no words)"
        assert any(f"{said['speaker']:<5}  {text}" in line for line in lines), said
    assert f"{len(report['words'])} words" in demo.stdout
    assert "real-time factor" in demo.stdout
    assert report["prompt"] in demo.stdout


def test_the_picture_shows_both_voices(demo: Done):
    path = demo.folder / "conversation.png"
    picture = matplotlib.image.imread(path)
    height, width, _ = picture.shape
    assert width > 1000
    assert height > 300
    assert path.stat().st_size < 300_000
    for colour in ((0x1F, 0x77, 0xB4), (0x2A, 0x9D, 0x5C)):
        like = np.abs(picture[..., :3] - np.array(colour) / 255).max(axis=2) < 0.02
        assert like.mean() > 0.002, "no waveform in this colour"


def test_an_agent_that_is_never_heard_is_a_failure(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    mute = tmp_path / "mute"
    mute.mkdir()
    for file in TINY_FOLDER.iterdir():
        if file.name != "mimi.safetensors":
            (mute / file.name).symlink_to(file)
    codec = load_file(TINY_FOLDER / "mimi.safetensors")
    decoder = [name for name in codec if name.startswith("decoder.")]
    save_file(codec | {name: codec[name] * 0 for name in decoder}, mute / "mimi.safetensors")
    settings = tmp_path / "short.yaml"
    settings.write_text("moshi: {max_conversation_length: 3}\n")
    words = ["demo", "--checkpoint", str(mute), "--config", str(settings)]
    with pytest.raises(SystemExit) as end:
        main([*words, "--out", str(tmp_path / "out")])
    assert end.value.code == 1
    assert "holds no speech" in capsys.readouterr().err
    pcm, _ = soundfile.read(tmp_path / "out" / "conversation.wav")
    assert level_dbfs(pcm[:, 1].astype(np.float32)) < -60.0


def test_ctrl_c_ends_it_in_peace(tmp_path: Path):
    running = subprocess.Popen(
        [str(COMMAND), "demo", "--realtime"],
        cwd=tmp_path,
        env=environment(PYTHONUNBUFFERED="1"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # A shell that runs the tests in the background has them ignore Ctrl-C.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    assert running.stdout is not None
    for line in running.stdout:
        if "hello" in line:
            break
    running.send_signal(signal.SIGINT)
    out, err = running.communicate(timeout=60)
    assert running.returncode == 130, err
    assert "Stopped" in out
    assert "Traceback" not in err
    assert not list(tmp_path.iterdir())


def test_a_folder_that_cannot_be_is_refused_before_any_work(tmp_path: Path):
    (tmp_path / "file").write_text("")
    done = coda_voice("demo", "--out", str(tmp_path / "file"), folder=tmp_path)
    assert done.returncode == 2
    assert done.stderr.startswith("coda-voice: ")
    assert done.stdout == ""
