"""What a recogniser makes of requests: numbers as words that sound like others, no commas."""

import pytest

from coda_voice.hybrid.offline_brain import understand

TOOLS = {
    "get_time", "get_date", "days_until", "set_timer", "set_reminder", "cancel_timer",
    "list_timers", "convert_units", "calculate", "remember", "recall",
}  # fmt: skip


@pytest.mark.parametrize(
    ("said", "expression"),
    [
        ("what is two plus to", "2+2"),
        ("what's too plus too", "2+2"),
        ("what is for times for", "4*4"),
        ("what is ate times ate", "8*8"),
        ("what is won plus free", "1+3"),
        ("what is ten divided by to", "10/2"),
        ("what is twenty for minus thirty ate", "24-38"),
        ("what is ten percent of to hundred", "10/100*200"),
        ("add for to ten", "4+10"),
    ],
)
def test_a_sum_is_understood_whatever_its_numbers_sound_like(said, expression):
    assert understand(said, TOOLS) == ("calculate", {"expression": expression})


@pytest.mark.parametrize(
    ("said", "seconds", "label"),
    [
        ("timer for too minutes", 120.0, ""),
        ("set a timer for to minutes", 120.0, ""),
        ("set a timer for for minutes", 240.0, ""),
        ("set a timer four two minutes", 120.0, ""),
        ("set a timer for won minute", 60.0, ""),
        ("set a timer for free minutes", 180.0, ""),
        ("start a timer for twenty ate minutes", 1_680.0, ""),
        ("set a for minute pasta timer", 240.0, "pasta"),
        ("set a timer for an our", 3_600.0, ""),
        ("set a time for five minutes", 300.0, ""),
        ("set a timer five minutes", 300.0, ""),
        ("timer ten minutes", 600.0, ""),
        ("set a timer for ten minutes called pizza", 600.0, "pizza"),
        ("set a timer called pizza for ten minutes", 600.0, "pizza"),
    ],
)
def test_a_timer_is_as_long_as_was_meant(said, seconds, label):
    assert understand(said, TOOLS) == ("set_timer", {"seconds": seconds, "label": label})


@pytest.mark.parametrize(
    ("said", "arguments"),
    [
        ("remind me in to minutes to call mom", {"text": "call mom", "in_seconds": 120.0}),
        ("remind me to call mom in for minutes", {"text": "call mom", "in_seconds": 240.0}),
        ("remind me in half an our to check the oven",
         {"text": "check the oven", "in_seconds": 1_800.0}),
        ("remind me to buy milk at ate pm", {"text": "buy milk", "at_time": "20:00"}),
        ("remind me at five pm too call mom", {"text": "call mom", "at_time": "17:00"}),
        ("remind me two call mom at five pm", {"text": "call mom", "at_time": "17:00"}),
        ("remind me two hours from now to call mom", {"text": "call mom", "in_seconds": 7_200.0}),
        ("remind me at ten to eight pm to call mom", {"text": "call mom", "at_time": "19:50"}),
        ("remind me at ten to ate pm to call mom", {"text": "call mom", "at_time": "19:50"}),
        ("set an alarm for for thirty am", {"text": "wake up", "at_time": "04:30"}),
    ],
)  # fmt: skip
def test_a_reminder_is_for_the_time_that_was_meant(said, arguments):
    """ "At ten to eight to call mom" was ten o'clock, and "eight to call mom"."""
    assert understand(said, TOOLS) == ("set_reminder", arguments)


@pytest.mark.parametrize(
    ("said", "value", "source", "target"),
    [
        ("convert for feet to inches", 4.0, "feet", "inches"),
        ("how many kilometres in too miles", 2.0, "miles", "kilometres"),
        ("what is twenty degrees in fahrenheit", 20.0, "celsius", "fahrenheit"),
        ("seventy degrees to celsius", 70.0, "fahrenheit", "celsius"),
        ("convert a hundred degrees fahrenheit to celsius", 100.0, "fahrenheit", "celsius"),
        ("convert ten miles in to kilometers", 10.0, "miles", "kilometers"),
    ],
)
def test_a_quantity_is_what_was_meant(said, value, source, target):
    arguments = {"value": value, "from_unit": source, "to_unit": target}
    assert understand(said, TOOLS) == ("convert_units", arguments)


@pytest.mark.parametrize(
    ("said", "tool", "arguments"),
    [
        ("what day is it in to weeks", "get_date", {"days_from_today": 14}),
        ("how many days until july the fourth", "days_until", {"day": "4 july"}),
        ("cancel the timer for for minutes", "cancel_timer",
         {"kind": "timer", "label": "4 minute"}),
        ("what reminders do i have", "list_timers", {"kind": "reminder"}),
        ("what is the current time", "get_time", {}),
        ("what am i allergic to", "recall", {"query": "what am i allergic to"}),
        ("do i have a dog", "recall", {"query": "do i have a dog"}),
        ("do i wear glasses", "recall", {"query": "do i wear glasses"}),
        ("can i swim", "recall", {"query": "can i swim"}),
        ("what am i afraid of", "recall", {"query": "what am i afraid of"}),
        ("which hand do i write with", "recall", {"query": "which hand do i write with"}),
        ("how old am i", "recall", {"query": "how old am i"}),
    ],
)  # fmt: skip
def test_other_requests_are_understood_as_they_were_meant(said, tool, arguments):
    assert understand(said, TOOLS) == (tool, arguments)


@pytest.mark.parametrize(
    "said",
    ["what is for and to", "what is too much", "what is free", "for minutes to hours",
     "how many feet to miles", "set a timer for minutes", "set a time for the meeting",
     "what's the time difference between london and new york", "what time zone are we in",
     "what's the time limit", "do i have to go", "what am i doing wrong"],
)  # fmt: skip
def test_what_only_sounds_like_a_request_is_none(said):
    """ "What's the time difference" was told the time."""
    assert understand(said, TOOLS) is None


@pytest.mark.parametrize(
    ("said", "tool", "arguments"),
    [
        ("do you know what time it is", "get_time", {}),
        ("can you tell me what time it is in tokyo", "get_time", {"place": "tokyo"}),
        ("current time in tokyo", "get_time", {"place": "tokyo"}),
        ("do you know what day it is", "get_date", {}),
        ("day after tomorrow", "get_date", {"days_from_today": 2}),
        ("what's the day in three days", "get_date", {"days_from_today": 3}),
        ("so what's my name", "recall", {"query": "what's my name"}),
        ("can you tell me where i live", "recall", {"query": "where i live"}),
        ("i was wondering what my boss is called", "recall", {"query": "what my boss is called"}),
        ("how many cats do i have", "recall", {"query": "how many cats do i have"}),
        ("how old is my son", "recall", {"query": "how old is my son"}),
        ("do i still like tea", "recall", {"query": "do i still like tea"}),
        ("what's my battery level", "get_system_status", {}),
    ],
)
def test_a_question_is_understood_however_it_is_put(said, tool, arguments):
    assert understand(said, TOOLS | {"get_system_status"}) == (tool, arguments)


@pytest.mark.parametrize(
    "said",
    [
        "i know what i like",
        "tell me a joke when i say go",
        "call me when i am home",
        "i don't know what i want",
        "when i was young i lived in rome",
        "you know what i mean",
        "remind me to call my sister when i get home",
        "do you know what the capital of france is",
    ],
)
def test_what_asks_for_no_memory_is_not_answered_from_the_memory(said):
    """ "Nothing is remembered about that" was the answer to all of them."""
    assert understand(said, TOOLS) is None


@pytest.mark.parametrize(
    "said",
    [
        "what time is it in two hours",
        "what time is it over there",
        "i had a great time in rome",
        "i have a day off tomorrow",
        "have a nice day tomorrow",
        "what will the weather be the day after tomorrow",
        "what's the date of the battle of hastings",
        "what day works best for you",
        "remind me to call anna at nine and ben at ten",
        "remind me to take a break in an hour and then again in two hours",
    ],
)
def test_of_times_that_are_not_understood_no_other_is_given(said):
    """It told the date of a day off, the time of a great time, and forgot to call Anna."""
    assert understand(said, TOOLS) is None
