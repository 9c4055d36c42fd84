"""The log: one line per event, for people or for machines; and the two files by option."""

import json
import logging

import pytest

from coda_voice.config import LoggingConfig
from coda_voice.errors import ConfigurationError
from coda_voice.events import ConversationStarted, FramesDropped, WordSpoken
from coda_voice.logs import HumanFormatter, JsonFormatter, Logs


@pytest.fixture
def log(caplog):
    caplog.set_level(logging.DEBUG, logger="coda_voice")
    return caplog


def published(logs: Logs) -> None:
    logs.event(ConversationStarted(conversation_id="c", user_id="ada", checkpoint="coda-tiny"))
    logs.event(FramesDropped(conversation_id="c", where="inbox", count=3))
    logs.event(WordSpoken(conversation_id="c", speaker="agent", text="hello", start=1.0, end=1.2))


def test_events_have_the_level_they_deserve(log):
    published(Logs(LoggingConfig(level="debug")))
    assert [(r.getMessage(), r.levelname) for r in log.records] == [
        ("conversation_started", "INFO"),
        ("frames_dropped", "WARNING"),
        ("word", "DEBUG"),
    ]


def test_a_line_for_people(log):
    published(Logs(LoggingConfig()))
    line = HumanFormatter().format(log.records[0])
    assert "\n" not in line
    assert line.endswith(
        "INFO    conversation_started conversation_id=c time=0.000 user_id=ada mode=moshi_only "
        "checkpoint=coda-tiny"
    )


def test_what_a_client_has_made_up_is_no_line_of_its_own(log):
    record = logging.makeLogRecord({"msg": "client_refused"})
    record.fields = {"edge": "/x\n12:00:00 INFO all_is_well\x1b[2K", "code": "slots_full"}
    line = HumanFormatter().format(record)
    assert line.isprintable() and line.endswith(" code=slots_full")


def test_a_line_for_machines(log):
    published(Logs(LoggingConfig()))
    line = json.loads(JsonFormatter().format(log.records[1]))
    assert (line["level"], line["message"]) == ("warning", "frames_dropped")
    assert (line["conversation_id"], line["count"]) == ("c", 3)


def test_the_text_log_holds_what_was_said(tmp_path):
    path = tmp_path / "text.log"
    logs = Logs(LoggingConfig(text_log=str(path)))
    logs.open()
    published(logs)
    logs.close()
    logs.close()
    assert path.read_text().split() == ["c", "1.00", "1.20", "agent", "hello"]
    assert logs.dropped_lines == 0


def test_a_log_that_cannot_be_written_is_a_clear_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigurationError, match=r"logging\.timing_log"):
        Logs(LoggingConfig(timing_log=str(tmp_path / "file" / "t.log"))).open()


def test_the_level_is_the_newest_managers_and_in_the_end_what_it_was(log):
    log.set_level(logging.WARNING, logger="coda_voice")
    logger = logging.getLogger("coda_voice")
    first, second = Logs(LoggingConfig(level="error")), Logs(LoggingConfig(level="debug"))
    first.open()
    second.open()
    assert logger.level == logging.DEBUG
    first.close()
    assert logger.level == logging.DEBUG
    second.close()
    second.close()
    assert logger.level == logging.WARNING
