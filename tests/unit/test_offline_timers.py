"""Timers, reminders and alarms without an LLM, in whole conversations."""

from __future__ import annotations

import pytest
from coda_tools import ToolRegistry
from coda_tools.builtin.timers import Timers

from coda_voice.errors import LlmError
from coda_voice.hybrid.llm import Message, TextDelta, ToolCallRequest
from coda_voice.hybrid.offline_brain import OfflineBrain, understand
from coda_voice.hybrid.reasoning_prompt import tool_message
from coda_voice.hybrid.router import Router

NOT_UNDERSTOOD = ""
TOOLS = {
    "set_timer", "set_reminder", "cancel_timer", "list_timers", "recall", "forget", "calculate",
}  # fmt: skip


class Talk:
    """What is said by turns, as the offline brain is given it."""

    def __init__(self) -> None:
        self.tools = ToolRegistry(Timers(lambda announcement: None).tools())
        self.said: list[Message] = []

    async def say(self, words: str) -> str:
        self.said.append(Message("user", words))
        brain = OfflineBrain()
        try:
            (asked, *_) = [chunk async for chunk in brain.stream(self.said, self.tools.specs())]
        except LlmError:
            return NOT_UNDERSTOOD
        assert isinstance(asked, ToolCallRequest)
        call = asked.call
        outcome = tool_message(await self.tools.call(call.name, call.arguments, call.call_id))
        (answer, *_) = [c async for c in brain.stream([*self.said, outcome], self.tools.specs())]
        assert isinstance(answer, TextDelta)
        self.said.append(Message("assistant", answer.text))
        return answer.text


@pytest.fixture
async def talk():
    talk = Talk()
    for words in (
        "set a timer for five minutes",
        "set a timer for ten minutes",
        "start a green tea timer for two minutes",
        "remind me to call anna tomorrow",
    ):
        await talk.say(words)
    return talk


ALL_THREE = "green tea timer or 5 minute timer or 10 minute timer"


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("cancel the timer", f"Nothing is stopped yet; which one: {ALL_THREE}?"),
        ("stop my timer please", f"Nothing is stopped yet; which one: {ALL_THREE}?"),
        ("cancel the timer for me", f"Nothing is stopped yet; which one: {ALL_THREE}?"),
        ("cancel the five minute timer", "Stopped: 5 minute timer."),
        ("cancel the timer for ten minutes now", "Stopped: 10 minute timer."),
        ("cancel the green tea timer", "Stopped: green tea timer."),
        ("cancel all timers", "Stopped: green tea timer, 5 minute timer, 10 minute timer."),
        ("cancel the timers", "Stopped: green tea timer, 5 minute timer, 10 minute timer."),
        ("stop both timers", "Stopped: green tea timer, 5 minute timer, 10 minute timer."),
        ("cancel the reminder", "Stopped: call anna."),
        ("remove the five minute timer", "Stopped: 5 minute timer."),
        ("cancel the ten minute timer and the five minute timer", NOT_UNDERSTOOD),
        ("cancel all timers but not the green tea one", NOT_UNDERSTOOD),
    ],
)
async def test_who_cancels_the_timer_is_asked_which_where_there_are_several(talk, said, told):
    """It stopped them all."""
    assert await talk.say(said) == told


@pytest.mark.parametrize(
    ("reply", "told"),
    [
        ("the five minute one", "Stopped: 5 minute timer."),
        ("five minute timer", "Stopped: 5 minute timer."),
        ("no the one for ten minutes", "Stopped: 10 minute timer."),
        ("the green tea", "Stopped: green tea timer."),
        ("all of them", "Stopped: green tea timer, 5 minute timer, 10 minute timer."),
        ("set a timer for three minutes", "A timer for 3 minutes is running."),
        ("the pasta timer", NOT_UNDERSTOOD),
    ],
)
async def test_which_one_can_be_answered(talk, reply, told):
    await talk.say("cancel the timer")
    assert await talk.say(reply) == told


async def test_what_was_heard_of_the_question_has_its_numbers_as_words(talk):
    await talk.say("cancel the timer")
    talk.said[-1] = Message("assistant", "nothing is stopped yet which one five minute timer or")
    assert await talk.say("the five minute one") == "Stopped: 5 minute timer."


async def test_of_alarms_the_hour_says_which(talk):
    await talk.say("set an alarm for tomorrow at seven")
    assert "which one: " in await talk.say("cancel the alarm")
    assert await talk.say("the one tomorrow at seven") == (
        "Stopped: wake up tomorrow at 7:00 in the morning."
    )


def test_an_answer_to_which_one_is_no_small_talk():
    router = Router()
    router.answered(0.0, 0.5)
    assert router.route("the five minute one", 5.0).target == "llm"
    assert Router().route("the old house is a lovely one", 5.0).target == "moshi"


def test_who_had_a_good_time_does_not_ask_for_it():
    assert Router().route("i had a great time in rome", 0.0).target == "moshi"
    assert Router().route("what's the time in rome", 0.0).target == "llm"


@pytest.mark.parametrize(
    "said",
    [
        "why did you set a timer for five minutes",
        "i already have a timer for five minutes",
        "i didn't ask for a timer for ten minutes",
        "i don't need an alarm for seven",
        "no timer for five minutes",
        "change the timer to ten minutes",
        "change the five minute timer to ten minutes",
        "you didn't wake me up at seven",
        "you forgot to remind me to call anna at five",
        "you don't have to remind me to call anna at five",
        "can you not remind me at five",
        "did you cancel the timer",
        "i didn't cancel the timer",
        "i don't want to cancel the timer",
        "how do i cancel the timer",
        "forget about the timer",
    ],
)
def test_who_speaks_of_a_timer_without_asking_for_one_gets_none(said):
    """Each of them set one, or stopped all."""
    assert understand(said, TOOLS) is None


@pytest.mark.parametrize(
    ("said", "tool"),
    [
        ("i have a cake in the oven set a timer for ten minutes", "set_timer"),
        ("i didn't sleep well so wake me at nine", "set_reminder"),
        ("i don't want to forget so remind me to call anna at five", "set_reminder"),
        ("how about a timer for ten minutes", "set_timer"),
        ("can i have a timer for ten minutes", "set_timer"),
        ("why don't you set a timer for ten minutes", "set_timer"),
        ("do me a favour and set a timer for ten minutes", "set_timer"),
        ("i want to cancel the timer", "cancel_timer"),
    ],
)
def test_who_asks_for_a_timer_in_other_words_gets_it(said, tool):
    found = understand(said, TOOLS)
    assert found and found[0] == tool


@pytest.mark.parametrize(
    ("said", "kind"),
    [
        ("did you set a timer for five minutes", None),
        ("is there a timer for ten minutes", None),
        ("do i have an alarm for seven", "reminder"),
        ("when is my alarm", "reminder"),
        ("what time is my alarm set for", "reminder"),
        ("what alarms are set", "reminder"),
    ],
)
def test_who_asks_what_is_set_is_told_what_there_is(said, kind):
    """The alarm was looked for among the memories."""
    assert understand(said, TOOLS) == ("list_timers", {"kind": kind} if kind else {})
