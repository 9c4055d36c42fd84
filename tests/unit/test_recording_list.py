"""Somebody's recordings among everybody's: the right ones, and without reading all the others."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from coda_voice.events import ConversationStarted, SpeechStarted
from coda_voice.server import recording_list
from coda_voice.server.recording import About
from coda_voice.server.recording_list import RecordingList

USERS = ("anna", "bert", "carl")


def make(folder: Path, number: int, user_id: str) -> str:
    """Make a recording, later than those of lower numbers; gives its name."""
    name = f"20260101-{number // 3_600:02}{number // 60 % 60:02}{number % 60:02}-{number:08x}"
    (folder / name).mkdir(parents=True)
    About(name, f"c{number}", user_id, "2026-01-01T00:00:00+00:00", "by the test").write(
        folder / name
    )
    return name


def is_of(user_id: str) -> Callable[[str], bool]:
    return lambda owner: owner == user_id


def names(found: list[About]) -> list[str]:
    return [about.name for about in found]


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Which descriptions are read."""
    really, names_read = About.read, []

    def reading(folder: Path) -> About:
        names_read.append(folder.name)
        return really(folder)

    monkeypatch.setattr(About, "read", reading)
    yield names_read


def test_a_page_reads_what_it_shows_and_not_what_is_others(tmp_path: Path, read: list[str]):
    mine = [make(tmp_path, 100 * number, "anna") for number in range(1, 6)]
    for number in range(600):
        if number % 100 or not number:
            make(tmp_path, number, "bert")
    newest_first = mine[::-1]
    kept = RecordingList(tmp_path)
    assert names(kept.newest(of=is_of("anna"))) == newest_first
    read.clear()
    assert names(kept.newest(of=is_of("anna"))) == newest_first
    assert read == newest_first
    read.clear()
    assert names(kept.newest(before=newest_first[1], of=is_of("anna"), most=2)) == newest_first[2:4]
    assert read == newest_first[2:4]
    read.clear()
    assert kept.newest(of=is_of("carl")) == []
    assert read == []
    newer = make(tmp_path, 700, "bert")
    assert names(kept.newest(of=is_of("anna"))) == newest_first
    assert read == [newer, *newest_first]


def test_nobody_else_sees_what_has_been_listed_before(tmp_path: Path):
    name = make(tmp_path, 1, "anna")
    kept = RecordingList(tmp_path)
    for _ in range(2):
        assert kept.newest(of=is_of("bert")) == []
        assert names(kept.newest(of=is_of("anna"))) == [name]
        assert names(kept.newest()) == [name]
    give(tmp_path / name, "bert")
    for _ in range(2):
        assert kept.newest(of=is_of("anna")) == kept.newest(of=is_of("bert")) == []
        assert kept.find(name, is_of("anna")) is kept.find(name, is_of("bert")) is None
    assert names(kept.newest()) == [name], "who may see everybody's sees it"


def give(folder: Path, user_id: str) -> None:
    """Change whose a recording is, by hand."""
    about = json.loads((folder / "recording.json").read_text())
    (folder / "recording.json").write_text(json.dumps({**about, "user_id": user_id}))


def begins(folder: Path, user_id: str) -> None:
    """Write the beginning of a recording's events."""
    began = ConversationStarted(conversation_id="c1", user_id=user_id)
    heard = SpeechStarted(conversation_id="c1", speaker="user")
    lines = (event.model_dump_json() + "\n" for event in (began, heard))
    (folder / "events.jsonl").write_text("".join(lines))


def test_whose_description_was_changed_is_nobodys_and_the_log_says_so(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    name = make(tmp_path, 1, "anna")
    begins(tmp_path / name, "anna")
    give(tmp_path / name, "bert")  # before any server has read it
    kept = RecordingList(tmp_path)
    for _ in range(2):
        for user_id in "bert", "anna":
            assert kept.newest(of=is_of(user_id)) == []
            assert kept.find(name, is_of(user_id)) is None
    assert names(kept.newest()) == [name]
    assert kept.find(name, lambda user_id: True) == tmp_path / name
    (told,) = (r for r in caplog.records if r.getMessage() == "recording_owner_disputed")
    assert vars(told)["fields"] == {"recording": name}
    begins(tmp_path / name, "bert")  # who means it changes both, and starts the server anew
    kept = RecordingList(tmp_path)
    assert kept.newest(of=is_of("anna")) == []
    assert names(kept.newest(of=is_of("bert"))) == [name]
    assert kept.find(name, is_of("bert")) == tmp_path / name


@pytest.mark.parametrize("events", ["", "{", "[]\n", '{"type": "conversation_started"}\n', "\xff"])
def test_events_that_do_not_say_whose_they_are_contradict_nobody(tmp_path: Path, events: str):
    name = make(tmp_path, 1, "anna")
    (tmp_path / name / "events.jsonl").write_bytes(events.encode("latin-1"))
    kept = RecordingList(tmp_path)
    assert names(kept.newest(of=is_of("anna"))) == [name]
    assert kept.newest(of=is_of("bert")) == []


def test_what_is_gone_is_neither_shown_nor_kept_in_mind(tmp_path: Path):
    gone, stays = make(tmp_path, 1, "anna"), make(tmp_path, 2, "bert")
    kept = RecordingList(tmp_path)
    assert len(kept.newest()) == 2
    shutil.rmtree(tmp_path / gone)
    assert names(kept.newest()) == [stays]
    assert "anna" not in repr(vars(kept))
    shutil.rmtree(tmp_path)
    assert kept.newest() == []
    assert "bert" not in repr(vars(kept))


def test_what_cannot_be_read_is_shown_once_it_can(tmp_path: Path):
    name = make(tmp_path, 1, "anna")
    description = tmp_path / name / "recording.json"
    whole = description.read_text()
    kept = RecordingList(tmp_path)
    for broken in (None, "{", "[]", json.dumps({**json.loads(whole), "user_id": 7})):
        description.unlink(missing_ok=True)
        if broken is not None:
            description.write_text(broken)
        assert kept.newest(of=is_of("anna")) == kept.newest(of=is_of("bert")) == []
    description.write_text(whole)
    assert names(kept.newest(of=is_of("anna"))) == [name]


@pytest.mark.parametrize("remembered", [0, 5, 100_000])
def test_every_page_is_what_reading_all_would_give(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, remembered: int
):
    monkeypatch.setattr(recording_list, "OWNERS_REMEMBERED", remembered)
    chance = random.Random(1)
    there: dict[str, str] = {}
    kept = RecordingList(tmp_path)
    for number in chance.sample(range(1_000), 60):
        user_id = chance.choice(USERS)
        there[make(tmp_path, number, user_id)] = user_id
        if chance.random() < 0.3:
            gone = chance.choice(sorted(there))
            shutil.rmtree(tmp_path / gone)
            del there[gone]
        whose = chance.choice(USERS)
        before = chance.choice([None, *there, "20260101-000500-00000000"])
        most = chance.choice([None, 0, 1, 3])
        asked = (n for n in sorted(there, reverse=True) if before is None or n < before)
        expected = [name for name in asked if there[name] == whose][:most]
        assert names(kept.newest(before=before, of=is_of(whose), most=most)) == expected
        assert len(kept._owners) <= remembered
