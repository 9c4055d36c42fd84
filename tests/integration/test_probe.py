"""``coda-voice probe``: what it says of an agent's answer and of an interruption is true.

Of a peer whose every frame is known, and of a real server, whose own events say the same.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator

import pytest

from coda_voice.attendants import Attendant
from coda_voice.cli.main import main
from coda_voice.cli.probe import measure
from coda_voice.cli.probing import Report
from coda_voice.events import Event, ScriptEnded, SpeechEnded, TurnLatency
from tests.integration.scripted_peer import Agent, frames_ms, peer
from tests.integration.voice_server import RunningServer, voice_server

SLACK_MS = 250.0
"""Three frames: on which frame a voice begins and ends is seen differently."""
LONG = "one two three four five six seven eight nine ten " * 4


async def probed(agent: Agent) -> Report:
    async with peer(agent) as address:
        return await measure(address, "moshi", more=0)


def answering(agent: Agent, frames: int = 1_000) -> bool:
    """Five frames after the question it speaks."""
    return 5 < agent.question_over <= 5 + frames


AGENTS: dict[str, Agent] = {
    "quick": Agent(lambda agent: answering(agent) and agent.interrupted <= 4),
    "slow": Agent(
        lambda agent: (
            answering(agent)
            and agent.interrupted <= 24
            and agent.interrupted not in range(12, 15)  # between two words
        )
    ),
    "short": Agent(lambda agent: answering(agent, 1)),
    "deaf": Agent(answering),
    "mute": Agent(lambda agent: False),
    # The agent never stops; the server does, for a second and a half, after the interruption.
    "stopping": Agent(
        lambda agent: answering(agent) and agent.interrupted <= 40,
        lambda agent: (
            max(0.0, 1.5 - frames_ms(agent.interrupted) / 1000) if agent.interrupted > 3 else 0.0
        ),
    ),
    "prompt": Agent(answering),
    "late": Agent(answering, lambda agent: 0.4 if agent.frame >= 20 else 0.0),
}


@pytest.fixture(scope="module")
def reports() -> dict[str, Report]:
    """What the probe says of each; all are asked at once, for it takes its time and little else."""

    async def all_of_them() -> list[Report]:
        return await asyncio.gather(*(probed(agent) for agent in AGENTS.values()))

    return dict(zip(AGENTS, asyncio.run(all_of_them()), strict=True))


def test_an_answer_and_an_interruption_take_as_long_as_they_do(reports: dict[str, Report]):
    for name, frames in (("quick", 4), ("slow", 24)):
        report = reports[name]
        assert report.answer_ms is not None and report.barge_in_ms is not None
        assert report.latency_max_ms is not None
        noise = report.latency_max_ms + SLACK_MS
        assert frames_ms(5) - SLACK_MS <= report.answer_ms <= frames_ms(5) + noise
        assert frames_ms(frames) - SLACK_MS <= report.barge_in_ms <= frames_ms(frames) + noise
        assert report.agent_seconds * 1000 >= report.barge_in_ms - noise


def test_an_agent_that_is_silent_anyway_or_never_has_no_time_of_interruption(
    reports: dict[str, Report],
):
    three = [reports[name] for name in ("short", "deaf", "mute")]
    assert [report.barge_in_ms for report in three] == [None, None, None]
    assert [report.answer_ms is None for report in three] == [False, False, True]
    assert three[1].agent_seconds > 3.0 and three[2].agent_seconds == 0


def test_a_server_that_stops_for_a_while_is_not_an_agent_that_is_silent(
    reports: dict[str, Report],
):
    report = reports["stopping"]
    assert report.barge_in_ms is not None
    assert report.barge_in_ms >= frames_ms(40) - SLACK_MS


def test_frames_that_come_late_are_counted(reports: dict[str, Report]):
    prompt, late = reports["prompt"], reports["late"]
    assert late.late_frames >= late.frames_received - 22
    assert prompt.late_frames <= late.late_frames / 2
    for p in ("latency_p50_ms", "latency_max_ms"):
        assert getattr(late, p) >= 400.0 > 0


# ---- a real server ---------------------------------------------------------------------


class Talkative(Attendant):
    """Has the agent count for long, at once, when the user has asked something.

    Whoever speaks ends it; Moshi has no answer of its own before.
    """

    name = "talkative"

    def __init__(self, server: RunningServer) -> None:
        self._server = server

    def turn_began(self, generation: int) -> None:
        if generation == 1:
            self._server.front.manager.say(self.conversation.id, LONG, "interrupt")


@pytest.fixture(scope="module")
def server() -> Iterator[RunningServer]:
    with voice_server(moshi__seed=1) as running:
        running.front.manager.attend(lambda _: Talkative(running))
        yield running


async def test_what_the_server_says_of_the_same_conversation_agrees(server: RunningServer):
    events: list[Event] = []
    leave = server.front.manager.events.listen(events.append)
    report = await measure(server.ws, "v1-stream", more=0)
    leave()
    (script,) = [e for e in events if isinstance(e, ScriptEnded)]
    assert script.outcome == "interrupted" and script.unsaid > 0, "it was in the middle of it"
    (answered,) = [e for e in events if isinstance(e, TurnLatency)]
    (spoke,) = [e for e in events if isinstance(e, SpeechEnded) and e.speaker == "agent"]
    assert report.answer_ms is not None and report.barge_in_ms is not None
    assert report.latency_max_ms is not None
    noise = report.latency_max_ms + SLACK_MS
    for measured, told in (
        (report.answer_ms, answered.seconds * 1000),
        (report.barge_in_ms, spoke.duration * 1000),  # it is interrupted at its first sound
    ):
        assert told - noise <= measured <= told + noise
    assert report.agent_seconds * 1000 == pytest.approx(spoke.duration * 1000, abs=SLACK_MS)
    assert 0 < report.agent_seconds < len(LONG.split()) * 0.2, "it was not heard to the end"
    assert report.frames_received <= report.frames_sent


def test_the_table_has_every_figure(server: RunningServer, capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit) as done:
        main(["probe", server.ws, "--more", "3"])
    assert done.value.code == 0
    rows = dict(re.split(r"  +", line.strip()) for line in capsys.readouterr().out.splitlines())
    assert list(rows) == [
        "handshake", "frame to frame, median", "frame to frame, 95 %", "frame to frame, worst",
        "jitter", "late frames", "question's end to first sound", "interruption to silence",
        "agent heard", "more conversations taken",
    ]  # fmt: skip
    ms = {name: float(told[:-3]) for name, told in rows.items() if told.endswith(" ms")}
    assert len(ms) == 7 and all(value >= 0 for value in ms.values())
    in_order = [ms[f"frame to frame, {which}"] for which in ("median", "95 %", "worst")]
    assert in_order == sorted(in_order)
    late = re.fullmatch(r"(\d+) of (\d+)", rows["late frames"])
    assert late is not None and int(late[1]) <= int(late[2])
    assert re.fullmatch(r"\d+\.\d s", rows["agent heard"])
    assert rows["more conversations taken"] == "1"
