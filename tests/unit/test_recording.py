"""A recording on disk: what the two said, when, and nothing lost or opened that should not be."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
from starlette.types import Message

from coda_voice.errors import ConfigurationError
from coda_voice.events import FramesDropped, Transcript, TranscriptWord, TurnLatency, WordSpoken
from coda_voice.server.recording import QUEUED, About, Recorder
from coda_voice.server.recording_list import RecordingList
from coda_voice.server.recordings import PartOfRecording
from tests.conftest import Spoken

FRAME = 1_920


def frames(pcm: np.ndarray) -> list[np.ndarray]:
    whole = len(pcm) // FRAME * FRAME
    return list(pcm[:whole].reshape(-1, FRAME))


def begin(folder: Path) -> Recorder:
    return Recorder(folder, "c1", agreed="by the client's record=true", user_id="anna")


def test_both_sides_are_heard_in_their_channels(tmp_path: Path, spoken: Spoken):
    user, agent = frames(spoken.pcm("what_is_your_name")), frames(spoken.pcm("agent_answer"))
    count = min(len(user), len(agent))
    recorder = begin(tmp_path)
    for number in range(count):
        recorder.user(user[number])
        recorder.agent(number, agent[number])
    folder = recorder.close()
    sound, rate = soundfile.read(folder / "audio.flac", dtype="float32")
    assert rate == 24_000
    assert sound.shape == (count * FRAME, 2)
    np.testing.assert_allclose(sound[:, 0], np.concatenate(user[:count]), atol=1e-4)
    np.testing.assert_allclose(sound[:, 1], np.concatenate(agent[:count]), atol=1e-4)
    assert sound.std(axis=0).min() > 0.01


def test_words_and_events_have_their_times(tmp_path: Path):
    recorder = begin(tmp_path)
    recorder.event(WordSpoken(conversation_id="c1", speaker="agent", text="hi", start=1, end=1.2))
    word = TranscriptWord(text="hello", start=0.4, end=0.7)
    for final in (False, True):
        recorder.event(
            Transcript(conversation_id="c1", text="hello", final=final, words=(word,), time=0.9)
        )
    recorder.event(TurnLatency(conversation_id="c1", time=1.0, seconds=0.24))
    folder = recorder.close()
    words = json.loads((folder / "words.json").read_text())
    assert words == [
        {"speaker": "user", "text": "hello", "start": 0.4, "end": 0.7},
        {"speaker": "agent", "text": "hi", "start": 1.0, "end": 1.2},
    ]
    events = [json.loads(line) for line in (folder / "events.jsonl").read_text().splitlines()]
    assert [e["type"] for e in events] == ["word", "transcript", "transcript", "turn_latency"]
    assert events[-1]["seconds"] == 0.24


def test_frames_the_engine_never_heard_do_not_shift_the_sides(tmp_path: Path):
    recorder = begin(tmp_path)
    for level in (0.1, 0.2, 0.3):
        recorder.user(np.full(FRAME, level, dtype=np.float32))
    recorder.event(FramesDropped(conversation_id="c1", where="inbox", count=2))
    recorder.agent(0, np.full(FRAME, -0.5, dtype=np.float32))
    sound, _ = soundfile.read(recorder.close() / "audio.flac", dtype="float32")
    np.testing.assert_allclose(sound[0], [0.3, -0.5], atol=1e-3)


def test_what_it_is_stands_beside_it_and_damage_hides_nothing_else(tmp_path: Path):
    recorder = begin(tmp_path)
    for number in range(25):
        recorder.agent(number, np.zeros(FRAME, dtype=np.float32))
    about = About.read(recorder.close())
    assert (about.user_id, about.agreed) == ("anna", "by the client's record=true")
    assert (about.seconds, about.complete, about.dropped) == (2.0, True, 0)
    broken = begin(tmp_path)
    (broken.close() / "recording.json").write_text("{")
    (tmp_path / "something-else").mkdir()
    assert RecordingList(tmp_path).newest() == [about]
    assert RecordingList(tmp_path / "nowhere").newest() == []


@pytest.mark.parametrize(
    "field", [{"seconds": "long"}, {"user_id": None}, {"complete": []}, {"dropped": 1.5}]
)
def test_one_whose_fields_are_of_another_type_hides_no_other(
    tmp_path: Path, field: dict[str, object]
):
    whole, broken = begin(tmp_path).close(), begin(tmp_path).close() / "recording.json"
    broken.write_text(json.dumps({**json.loads(broken.read_text()), **field}))
    assert [about.name for about in RecordingList(tmp_path).newest()] == [whole.name]


async def given(
    part: PartOfRecording, at_start: Callable[[], object] = lambda: None, wanted: str = ""
) -> tuple[int, dict[str, str], bytes]:
    """Ask for a file; ``at_start`` is what somebody does once its length has been looked up."""
    sent: list[Message] = []
    looked = part.set_stat_headers

    def look(stat: os.stat_result) -> None:
        looked(stat)
        at_start()

    part.set_stat_headers = look  # type: ignore[method-assign]

    async def receive() -> Message:
        await asyncio.sleep(60)
        return {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        assert not sent or sent[-1].get("more_body", True), "more than the end"
        sent.append(message)

    headers = [(b"range", wanted.encode())] if wanted else []
    scope = {"type": "http", "method": "GET", "headers": headers, "path": "/"}
    await part(scope, receive, send)
    start, *bodies = sent
    told = {name.decode(): value.decode() for name, value in start["headers"]}
    return start["status"], told, b"".join(body["body"] for body in bodies)


@pytest.mark.parametrize("size", [0, 10, PartOfRecording.chunk_size, 200_000])
async def test_what_is_written_meanwhile_is_not_sent_beyond_its_length(tmp_path: Path, size: int):
    path = tmp_path / "audio.flac"
    path.write_bytes(b"a" * size)

    def goes_on() -> None:
        with path.open("ab") as file:
            file.write(b"b" * 300_000)

    status, told, body = await given(PartOfRecording(path), goes_on)
    assert (status, told["content-length"]) == (200, str(size))
    assert body == b"a" * size


async def test_a_range_of_what_is_being_written(tmp_path: Path):
    path = tmp_path / "audio.flac"
    path.write_bytes(bytes(range(100)))
    status, told, body = await given(PartOfRecording(path), wanted="bytes=90-200")
    assert (status, told["content-range"], body) == (206, "bytes 90-99/100", bytes(range(90, 100)))
    status, _, body = await given(PartOfRecording(path), wanted="bytes=100-")
    assert (status, body) == (416, b"")


@pytest.mark.parametrize("before_the_look", [True, False])
async def test_what_is_deleted_while_it_is_asked_for_is_not_there(
    tmp_path: Path, before_the_look: bool
):
    path = tmp_path / "20261121-054500-9f1c2ab3" / "audio.flac"
    path.parent.mkdir()
    path.write_bytes(b"a")
    if before_the_look:
        path.unlink()
    part = PartOfRecording(path)
    status, _, body = await given(part, path.unlink)
    assert status == 404
    assert json.loads(body)["error"]["code"] == "not_found"


def test_one_that_was_cut_off_can_still_be_found(tmp_path: Path):
    recorder = begin(tmp_path)
    assert [a.complete for a in RecordingList(tmp_path).newest()] == [False]
    recorder.close()
    assert [a.complete for a in RecordingList(tmp_path).newest()] == [True]


def test_a_folder_that_cannot_be_is_refused_at_once(tmp_path: Path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigurationError, match="Nothing can be recorded in"):
        begin(tmp_path / "file")


def test_a_disk_that_stands_still_and_goes_on_later_keeps_no_thread(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("coda_voice.server.recording.CLOSE_SECONDS", 0.1)
    recorder = begin(tmp_path)
    begun, go_on, write = threading.Event(), threading.Event(), recorder._write

    def when_the_disk_goes_on(item: object) -> None:
        begun.set()
        assert go_on.wait(60)
        write(item)  # type: ignore[arg-type]

    monkeypatch.setattr(recorder, "_write", when_the_disk_goes_on)
    latency = TurnLatency(conversation_id="c1", seconds=0.24, time=0.0)
    recorder.event(latency)
    assert begun.wait(60)
    for _ in range(QUEUED):
        recorder.event(latency)
    recorder.close()
    go_on.set()
    recorder._thread.join(60)
    assert not recorder._thread.is_alive()
    (about,) = RecordingList(tmp_path).newest()
    assert about.complete and about.dropped == 1


def test_nothing_is_left_of_a_recording_that_cannot_begin(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(soundfile, "SoundFile", full)
    with pytest.raises(ConfigurationError, match="No space left"):
        begin(tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_full_disk_holds_up_nobody_and_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    logger = logging.getLogger("coda_voice.server.recording")  # whatever others set up above it
    logger.addHandler(caplog.handler)
    caplog.set_level(logging.INFO, logger=logger.name)
    recorder = begin(tmp_path)
    with Path("/dev/full").open("wb") as full:
        os.dup2(full.fileno(), recorder._events.fileno())
    latency = TurnLatency(conversation_id="c1", seconds=0.24, time=0.0)
    for _ in range(2 * QUEUED):  # more than may wait
        recorder.event(latency)
    closing = threading.Thread(target=recorder.close, daemon=True)
    closing.start()
    closing.join(60)
    assert not closing.is_alive()
    (about,) = RecordingList(tmp_path).newest()
    assert not about.complete and about.dropped > 0
    logger.removeHandler(caplog.handler)
    assert about.name in caplog.text and "No space left" in caplog.text
