"""`coda-voice run`: as long as the input, aligned with it, the same each time."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile

from coda_voice.audio.features import level_dbfs
from coda_voice.cli.main import main
from coda_voice.moshi.engine import Engine
from coda_voice.moshi.frames import FRAME_SAMPLES, Pcm, Sampling
from coda_voice.moshi.prompt import Prompt
from coda_voice.turns import AGENT_LEVEL_DBFS
from tests.conftest import DATA, Spoken
from tests.e2e.conftest import coda_voice
from tests.integration.speech import Talk

PROMPT = "your name is nova"


def run(*words: str | Path) -> int:
    """The command in this process, which has loaded torch already; gives its exit status."""
    with pytest.raises(SystemExit) as end:
        main(["run", *map(str, words)])
    assert isinstance(end.value.code, int)
    return end.value.code


def question(spoken: Spoken, answer_seconds: float = 2.0) -> Pcm:
    """A question and time to answer it."""
    asked = spoken.pcm("what_is_your_name")
    return np.concatenate([asked, np.zeros(round(answer_seconds * 24_000), dtype=np.float32)])


def frames_of(path: Path) -> list[Pcm]:
    """The sound of a 24 kHz file in frames, the last one filled up."""
    pcm, rate = soundfile.read(path, dtype="float32")
    assert rate == 24_000
    return list(np.pad(pcm, (0, -len(pcm) % FRAME_SAMPLES)).reshape(-1, FRAME_SAMPLES))


def test_each_frame_of_the_output_answers_the_same_frame_of_the_input(
    tmp_path: Path, spoken: Spoken, engine: Engine, monkeypatch: pytest.MonkeyPatch
):
    pcm = question(spoken)[:-700]  # ends within a frame
    soundfile.write(tmp_path / "in.wav", pcm, 24_000, subtype="PCM_16")
    monkeypatch.setenv("CODA_VOICE__MOSHI__SLOTS", str(engine.options.slots))
    words = (tmp_path / "in.wav", "--prompt", PROMPT, "--seed", "7")
    assert run(*words, "-o", tmp_path / "a.wav") == 0
    assert run(*words, "-o", tmp_path / "b.wav") == 0
    assert (tmp_path / "a.wav").read_bytes() == (tmp_path / "b.wav").read_bytes()
    assert (tmp_path / "a.json").read_text() == (tmp_path / "b.json").read_text()

    suggested = engine.models.sampling
    sampling = Sampling(
        suggested.temperature, suggested.top_k, suggested.text_temperature, suggested.text_top_k, 7
    )
    talk = Talk(engine, sampling=sampling, prompt=Prompt(PROMPT))
    frames = talk.feed(frames_of(tmp_path / "in.wav"))
    talk.close()
    expected = np.concatenate([frame.pcm for frame in frames])[: len(pcm)]
    got, rate = soundfile.read(tmp_path / "a.wav", dtype="float32")
    assert rate == 24_000
    assert len(got) == len(pcm)
    assert np.abs(got - expected).max() < 1e-4
    assert np.abs(expected).max() > 0.02, "the agent said nothing: nothing was compared"

    report = json.loads((tmp_path / "a.json").read_text())
    assert report["samples"] == len(pcm)
    assert [w["text"] for w in report["words"]] == [w.text for f in frames for w in f.words]
    assert report["text"]
    for line in report["lines"]:
        if line["speaker"] == "agent":
            sound = got[round(line["start"] * 24_000) : round(line["end"] * 24_000)]
            assert level_dbfs(sound) > AGENT_LEVEL_DBFS


@pytest.mark.parametrize(
    ("rate", "channels", "kind"), [(8_000, 1, "wav"), (44_100, 2, "ogg"), (48_000, 8, "flac")]
)
def test_the_output_is_as_long_as_any_input(
    tmp_path: Path, spoken: Spoken, rate: int, channels: int, kind: str
):
    pcm = spoken.pcm("hello", rate)[: rate + 123]
    source = tmp_path / f"in.{kind}"
    soundfile.write(source, np.repeat(pcm[:, None], channels, axis=1), rate)
    assert run(source, "-o", tmp_path / "new" / "out.wav") == 0
    there = soundfile.info(source)
    made = soundfile.info(tmp_path / "new" / "out.wav")
    assert (made.frames, made.samplerate, made.channels) == (there.frames, rate, 1)


def test_bare_pcm_is_taken_at_the_rate_of_the_settings(
    tmp_path: Path, spoken: Spoken, monkeypatch: pytest.MonkeyPatch
):
    pcm = (spoken.pcm("hello", 16_000)[:16_000] * 32767).astype("<i2")
    (tmp_path / "in.raw").write_bytes(pcm.tobytes())
    monkeypatch.setenv("CODA_VOICE__AUDIO__SAMPLE_RATE", "16000")
    assert run(tmp_path / "in.raw", "-o", tmp_path / "out.wav") == 0
    made = soundfile.info(tmp_path / "out.wav")
    assert (made.frames, made.samplerate) == (16_000, 16_000)


def test_a_conversation_cut_by_its_limit_still_gives_the_whole_length(
    tmp_path: Path, spoken: Spoken, monkeypatch: pytest.MonkeyPatch
):
    soundfile.write(tmp_path / "in.wav", question(spoken, 1.0), 24_000)
    monkeypatch.setenv("CODA_VOICE__MOSHI__MAX_CONVERSATION_LENGTH", "1")
    assert run(tmp_path / "in.wav", "-o", tmp_path / "out.wav") == 0
    got, _ = soundfile.read(tmp_path / "out.wav")
    assert len(got) == soundfile.info(tmp_path / "in.wav").frames
    assert not got[round(1.2 * 24_000) :].any()


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (None, "cannot be read: No such file"),
        (b"", "is empty"),
        (b"this is a shopping list, not a sound\n" * 20, "is no audio file"),
        (b"RIFF\x24\x00\x00\x00WAVEfmt ", "in.wav"),
    ],
    ids=["missing", "empty", "text", "header only"],
)
def test_what_is_no_audio_is_refused_in_words(
    tmp_path: Path, content: bytes | None, complaint: str, capsys: pytest.CaptureFixture[str]
):
    if content is not None:
        (tmp_path / "in.wav").write_bytes(content)
    assert run(tmp_path / "in.wav", "-o", tmp_path / "out.wav") == 2
    said = capsys.readouterr()
    assert said.err.startswith("coda-voice: ")
    assert complaint in said.err
    assert not (tmp_path / "out.wav").exists()


def test_silence_after_the_recording_leaves_the_answer_room_and_without_it_that_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    asked = DATA / "what_is_your_name.flac"
    assert run(asked, "-o", tmp_path / "short.wav", "--prompt", PROMPT) == 0
    said = capsys.readouterr().out
    assert "my name is nova" not in said
    assert "--silence 3" in said
    words = ("--prompt", PROMPT, "--silence", "3")
    assert run(asked, "-o", tmp_path / "long.wav", *words) == 0
    said = capsys.readouterr().out
    assert "agent: my name is nova" in said
    assert "--silence" not in said
    length, rate = soundfile.info(asked).frames, soundfile.info(asked).samplerate
    assert soundfile.info(tmp_path / "short.wav").frames == length
    assert soundfile.info(tmp_path / "long.wav").frames == length + 3 * rate


def test_an_output_that_is_no_wav_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert run(DATA / "hello.flac", "-o", tmp_path / "out.mp3") == 2
    assert "let it end in .wav" in capsys.readouterr().err


def test_a_truncated_file_is_used_as_far_as_it_goes_and_says_so(
    tmp_path: Path, spoken: Spoken, capsys: pytest.CaptureFixture[str]
):
    soundfile.write(tmp_path / "whole.wav", spoken.pcm("hello"), 24_000)
    whole = (tmp_path / "whole.wav").read_bytes()
    (tmp_path / "in.wav").write_bytes(whole[: len(whole) // 2])
    assert run(tmp_path / "in.wav", "-o", tmp_path / "out.wav") == 0
    said = capsys.readouterr()
    assert "truncated" in said.err
    assert "out.wav" in said.out
    assert soundfile.info(tmp_path / "out.wav").frames == (len(whole) // 2 - 44) // 2


def test_the_installed_command_and_its_help(tmp_path: Path):
    done = coda_voice("run", "--help", folder=tmp_path)
    assert done.returncode == 0
    for option in ("--output", "--prompt", "--seed", "--checkpoint", "--device", "--config"):
        assert option in done.stdout
