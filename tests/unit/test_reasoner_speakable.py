"""What is spoken: sentences out of a stream, no markup, numbers as words."""

from datetime import datetime

import pytest
from coda_tools import ToolRegistry
from coda_tools.builtin.timers import Timers
from hypothesis import given
from hypothesis import strategies as st

from coda_voice.hybrid.consent import consent
from coda_voice.hybrid.heard_numbers import parse_number
from coda_voice.hybrid.llm import Message, TextDelta
from coda_voice.hybrid.offline_brain import OfflineBrain, understand
from coda_voice.hybrid.speakable import MAX_SENTENCE, SentenceStream, speakable
from coda_voice.hybrid.spoken_numbers import number_words, with_numbers_as_words
from coda_voice.hybrid.spoken_times import clock_time, duration_seconds
from coda_voice.recollection import memories_for_llm

ANSWER = (
    "<think>They want a list. No.</think>**Sure!** Dr. Smith paid $5.50 on 21 November 2026. "
    "Here is what counts:\n\n1. First *item* at 3.14 m\n2. [Second](http://x.y/z) 😀\n\n"
    "```python\nprint('hi.')\n```\nSee https://www.example.com/foo?x=1. That is all"
)
SPOKEN = [
    "Sure!",
    "Doctor Smith paid five dollars and fifty cents on November twenty-first, twenty twenty-six.",
    "Here is what counts:",
    "First item at three point one four meters",
    "Second",
    "See example dot com",
    "That is all",
]


@pytest.mark.parametrize("size", [1, 2, 7, 1_000])
def test_a_stream_gives_the_same_sentences_however_it_is_cut(size):
    stream = SentenceStream()
    sentences = []
    for at in range(0, len(ANSWER), size):
        sentences += stream.feed(ANSWER[at : at + size])
    assert sentences + stream.flush() == SPOKEN


def test_a_sentence_comes_as_soon_as_the_next_one_begins():
    stream = SentenceStream()
    assert stream.feed("It is seven. T") == ["It is seven."]
    assert stream.feed("he sun is up") == []
    assert stream.flush() == ["The sun is up"]


def test_a_sentence_without_an_end_is_broken_where_one_breathes():
    stream = SentenceStream()
    sentences = stream.feed("and then, " * 100)
    assert len(sentences) > 3
    assert all(len(sentence) <= MAX_SENTENCE for sentence in sentences)
    assert all(sentence.endswith(("then", "then,")) for sentence in sentences)


@pytest.mark.parametrize("size", [1, 3, 1_000])
@pytest.mark.parametrize(
    ("written", "spoken"),
    [
        ("The capital of France is Paris, which lies on the Seine, I think. It is old, very old.",
         ["The capital of France is Paris,", "which lies on the Seine, I think.",
          "It is old, very old."]),
        ("Water boils and becomes steam that drives a piston and turns a wheel.",
         ["Water boils and becomes steam that drives a piston", "and turns a wheel."]),
        ("Well, it is seven.", ["Well, it is seven."]),
        ("You owe me 3, or 4, or 5 dollars.", ["You owe me three, or four, or five dollars."]),
        ("I met him in Paris, France, once.", ["I met him in Paris, France,", "once."]),
        ("The **big one, you know**, is gone.", ["The big one, you know, is gone."]),
        ("A [link, as it were](http://a.b/c, d) is here.", ["A link, as it were is here."]),
        ("It is seven.", ["It is seven."]),
    ],
)  # fmt: skip
def test_an_answer_begins_before_its_first_sentence_is_complete(written, spoken, size):
    stream = SentenceStream()
    sentences = []
    for at in range(0, len(written), size):
        sentences += stream.feed(written[at : at + size])
    assert sentences + stream.flush() == spoken


def test_the_first_clause_does_not_wait_for_the_second():
    stream = SentenceStream()
    assert stream.feed("The capital of France is Paris, w") == ["The capital of France is Paris,"]


@pytest.mark.parametrize(
    ("written", "spoken"),
    [
        ("It is 3:42 PM.", "It is three forty-two P M."),
        ("At 10:00 or 17:05", "At ten o'clock or seventeen oh five"),
        ("on 2026-11-21", "on November twenty-first, twenty twenty-six"),
        ("20 °C is 68 °F", "twenty degrees Celsius is sixty-eight degrees Fahrenheit"),
        ("1 kg, 2.5 km, 15%", "one kilogram, two point five kilometers, fifteen percent"),
        ("-5 degrees", "minus five degrees"),
        ("7 - 5 = 2 and 3 + 4 = 7", "seven minus five is two and three plus four is seven"),
        ("5-7 days", "five to seven days"),
        ("$1 or £3 million", "one dollar or three million pounds"),
        ("In 1984, 1984 people", "In nineteen eighty-four, one thousand nine hundred and "
         "eighty-four people"),
        ("the 23rd, and 0042", "the twenty-third, and zero zero four two"),
        ("MP3 v2.0", "MP three v two point zero"),
    ],
)  # fmt: skip
def test_numbers_are_written_as_one_says_them(written, spoken):
    assert with_numbers_as_words(written) == spoken


@pytest.mark.parametrize(
    ("written", "spoken"),
    [
        ("Open from 9 am to 5pm.", "Open from nine A M to five P M."),
        ("At 10 a.m. tomorrow", "At ten A M tomorrow"),
        ("In the 1990s, not the '80s.", "In the nineteen nineties, not the eighties."),
        ("It took 90s.", "It took ninety seconds."),
        ("He lived 1879–1955.", "He lived eighteen seventy-nine to nineteen fifty-five."),
        ("10-15 km, 20-30% or 20–25°C", "ten to fifteen kilometers, twenty to thirty percent or "
         "twenty to twenty-five degrees Celsius"),
        ("20 € or 15 EUR, $20-30", "twenty euros or fifteen euros, twenty dollars to thirty "
         "dollars"),
        ("$3.5k, £2m, $5bn", "three point five thousand dollars, two million pounds, "
         "five billion dollars"),
        ("9:00-17:30", "nine o'clock to seventeen thirty"),
        ("On 30/11/2026 or 11/30/2026", "On November thirtieth, twenty twenty-six or "
         "November thirtieth, twenty twenty-six"),
        ("On 3/4/2026", "On three four two thousand and twenty-six"),
        ("1/2 cup, 2 3/4 cups, 1½ cups", "one half cup, two and three quarters cups, "
         "one and one half cups"),
        ("6/3 = 2", "six over three is two"),
        ("2^10 = 1024, 7-3=4", "two to the power of ten is one thousand and twenty-four, "
         "seven minus three is four"),
        ("Python 3.11.2 in 3D, 24/7", "Python three point eleven point two in three D, "
         "twenty-four seven"),
        ("5-7 days, 10-15 people, -5 km", "five to seven days, ten to fifteen people, "
         "minus five kilometers"),
    ],
)  # fmt: skip
def test_shorter_notations_are_said_in_full(written, spoken):
    assert speakable(written) == spoken


@pytest.mark.parametrize(
    ("written", "spoken"),
    [
        ("It costs ¥500 or ₹1,000, not ¥1 or 5¢.",
         "It costs five hundred yen or one thousand rupees, not one yen or five cents."),
        ("It lost -$5; fuel is $1.859", "It lost minus five dollars; fuel is one point eight five "
         "nine dollars"),
        ("Call 555-1234 or (212) 555-0199.", "Call five five five, one two three four or two one "
         "two, five five five, zero one nine nine."),
        ("Ring +49 30 901820 or 911.",
         "Ring plus four nine, three zero, nine zero one eight two zero or nine hundred and "
         "eleven."),
        ("C$5 or US$1.5 million", "five Canadian dollars or one point five million US dollars"),
        ("The number of people is 500", "The number of people is five hundred"),
        ("Dial 112.", "Dial one one two."),
        ("Call 100 friends", "Call one hundred friends"),
        ("200-1000 people", "two hundred to one thousand people"),
        ("50 m², 1 km², 3 m³ and 1 kWh", "fifty square meters, one square kilometer, three cubic "
         "meters and one kilowatt hour"),
        ("10 €/m² and 1 km/h", "ten euros per square meter and one kilometer per hour"),
        ("x² is 10⁻³, H₂O", "x squared is ten to the power of minus three, H two O"),
        ("a ratio of 3:1, a scale of 1:50, 16:9", "a ratio of three to one, a scale of one to "
         "fifty, sixteen to nine"),
        ("at 14:05 or 00:00", "at fourteen oh five or midnight"),
        ("Python 3.11, iOS 17.1.2, 1.234.567", "Python three point eleven, iOS seventeen point "
         "one point two, one million two hundred and thirty-four thousand five hundred and "
         "sixty-seven"),
        ("on 2026-12-01T14:05:00Z", "on December first, twenty twenty-six at fourteen oh five"),
        ("on Dec. 5, or 1.12.2026", "on December fifth, or December first, twenty twenty-six"),
        ("Write to anna.smith@example.com.", "Write to anna dot smith at example dot com."),
        ("See www.python.org/about or https://docs.python.org/3/.",
         "See python dot org slash about or docs dot python dot org"),
        ("❤️ 1️⃣ hello 👨‍👩‍👧", "one hello"),
        ("| City | Temp |\n|---|---|\n| Rome | 20 |\n| Oslo | 5 |",
         "City, Temp; Rome, twenty; Oslo, five"),
        ("5 > 3, ±2, √2, #1, No. 5", "five is more than three, plus or minus two, the square root "
         "of two, number one, number five"),
        ("1 000 000 or 5 000 km", "one million or five thousand kilometers"),
        (".5, 3.5/5, 4/5 stars, 50/50", "zero point five, three point five out of five, four out "
         "of five stars, fifty fifty"),
        ("1.5e-3", "one point five times ten to the power of minus three"),
        ("7. Anything else?", "seven. Anything else?"),
    ],
)  # fmt: skip
def test_signs_and_addresses_are_said_as_one_says_them(written, spoken):
    assert speakable(written) == spoken


@pytest.mark.parametrize(
    ("written", "spoken"),
    [
        (r"\( 3 \times 4 = 12 \)", "three times four is twelve"),
        (r"It is $\frac{1}{2}$ of \[ x^{2} \].", "It is one half of x to the power of two."),
        (r"$\sqrt{16} = 4$ costs \$5", "the square root of sixteen is four costs five dollars"),
        ("It was $5 and is $6, or $5-$6.",
         "It was five dollars and is six dollars, or five dollars to six dollars."),
        ("Open 9am-5pm, Mon-Fri.", "Open nine A M to five P M, Monday to Friday."),
        ("Ask him and/or her; he/she has it w/o milk.",
         "Ask him and or her; he or she has it without milk."),
        ("He is 5'10\", or 5 ft 10 in.", "He is five feet ten, or five feet ten inches."),
        ("20° C, 10,5 km, +5%, UTC+2", "twenty degrees Celsius, ten point five kilometers, plus "
         "five percent, UTC plus two"),
        ("The 1969 moon landing", "The nineteen sixty-nine moon landing"),
        ("in 1066 AD", "in ten sixty-six AD"),
        ("a $5 bill, $12/hr, 2 tsp", "a five-dollar bill, twelve dollars per hour, two teaspoons"),
        ("Rome is old.[1] Very [2]. a &amp; b<|im_end|>", "Rome is old. Very. a and b"),
        ("- [x] milk\n- [ ] eggs", "milk eggs"),
        ("The zip code is 90210.", "The zip code is nine zero two one zero."),
        ("a + b = c is 3x faster", "a plus b equals c is three times faster"),
    ],
)  # fmt: skip
def test_shorthand_and_formulas_are_said_in_full(written, spoken):
    assert speakable(written) == spoken


@pytest.mark.parametrize("size", [1, 2, 3, 1_000])
@pytest.mark.parametrize(
    ("written", "spoken"),
    [
        ("7. Anything else?", ["seven.", "Anything else?"]),
        ("1. First\n2. Second\n\n1. Third", ["First", "Second", "Third"]),
        ("He said no. She left.", ["He said no.", "She left."]),
        ("See fig. 3. It is No. 5. Good.", ["See fig. three.", "It is number five.", "Good."]),
        ("On Dec. 5 it rains. Yes.", ["On December fifth it rains.", "Yes."]),
        ("Washington D.C. is big. Yes.", ["Washington D.C. is big.", "Yes."]),
        ("It is in Washington D.C. There it rains.", ["It is in Washington D.C.",
                                                      "There it rains."]),
        ("Gen. Lee met Dr. Ray. Good.", ["Gen. Lee met Doctor Ray.", "Good."]),
        ("It costs 3. 5 is more.", ["It costs three.", "five is more."]),
    ],
)  # fmt: skip
def test_sentences_end_where_they_end_however_they_are_cut(written, spoken, size):
    stream = SentenceStream()
    sentences = []
    for at in range(0, len(written), size):
        sentences += stream.feed(written[at : at + size])
    assert sentences + stream.flush() == spoken


@given(st.text(max_size=200))
def test_whatever_is_written_nothing_spoken_holds_digits_or_markup(written):
    spoken = speakable(written)
    assert not any(c.isdecimal() and c.isascii() for c in spoken)
    assert "**" not in spoken and "`" not in spoken and "\n" not in spoken


@given(st.integers(0, 10**12))
def test_numbers_written_as_words_are_read_back(number):
    words = number_words(str(number)).split()
    assert parse_number(words) == (number, len(words))


TOOLS = {
    "get_time", "get_date", "set_timer", "set_reminder", "cancel_timer", "list_timers",
    "convert_units", "calculate", "remember", "recall", "get_system_status",
}  # fmt: skip


@pytest.mark.parametrize(
    ("said", "tool", "arguments"),
    [
        ("What is three plus four?", "calculate", {"expression": "3+4"}),
        ("How much is 1,234.5 + 3?", "calculate", {"expression": "1234.5+3"}),
        ("fifteen percent of eighty", "calculate", {"expression": "15/100*80"}),
        ("the square root of 144", "calculate", {"expression": "sqrt(144)"}),
        ("Could you please tell me the time?", "get_time", {}),
        ("What time is it in New York right now?", "get_time", {"place": "new york"}),
        ("Which day is it tomorrow?", "get_date", {"days_from_today": 1}),
        ("Set a timer for two minutes and ten seconds.", "set_timer",
         {"seconds": 130.0, "label": ""}),
        ("set a ten minute timer", "set_timer", {"seconds": 600.0, "label": ""}),
        ("set a ten minute pasta timer", "set_timer", {"seconds": 600.0, "label": "pasta"}),
        ("Remind me in twenty minutes to call my mother", "set_reminder",
         {"text": "call your mother", "in_seconds": 1_200.0}),
        ("cancel the timer", "cancel_timer", {"kind": "timer"}),
        ("cancel all my timers", "cancel_timer", {"kind": "timer", "every": True}),
        ("cancel the pasta timer", "cancel_timer", {"kind": "timer", "label": "pasta"}),
        ("cancel the alarm", "cancel_timer", {"kind": "reminder"}),
        ("cancel my reminder to call my mother", "cancel_timer",
         {"kind": "reminder", "label": "call your mother"}),
        ("what is the day after tomorrow", "get_date", {"days_from_today": 2}),
        ("what day was it the day before yesterday", "get_date", {"days_from_today": -2}),
        ("what day is it in three days", "get_date", {"days_from_today": 3}),
        ("what date is it in two weeks", "get_date", {"days_from_today": 14}),
        ("what day is it twenty five days from today", "get_date", {"days_from_today": 25}),
        ("what day was it a week ago", "get_date", {"days_from_today": -7}),
        ("set a timer for a quarter of an hour", "set_timer", {"seconds": 900.0, "label": ""}),
        ("set a timer for three quarters of an hour", "set_timer",
         {"seconds": 2_700.0, "label": ""}),
        ("set a pasta timer for ten minutes", "set_timer", {"seconds": 600.0, "label": "pasta"}),
        ("set a timer for the pasta for ten minutes", "set_timer",
         {"seconds": 600.0, "label": "pasta"}),
        ("start a five minute timer", "set_timer", {"seconds": 300.0, "label": ""}),
        ("remind me to call mum at 17:30", "set_reminder",
         {"text": "call mum", "at_time": "17:30"}),
        ("wake me up at half past six in the morning", "set_reminder",
         {"text": "wake up", "at_time": "06:30"}),
        ("half of thirty", "calculate", {"expression": "30/2"}),
        ("how many feet are in a mile", "convert_units",
         {"value": 1.0, "from_unit": "mile", "to_unit": "feet"}),
        ("convert minus ten celsius to fahrenheit", "convert_units",
         {"value": -10.0, "from_unit": "celsius", "to_unit": "fahrenheit"}),
        ("Do you remember my name?", "recall", {"query": "my name"}),
        ("how much time is left on my timer", "list_timers", {}),
        ("convert ten miles to kilometers", "convert_units",
         {"value": 10.0, "from_unit": "miles", "to_unit": "kilometers"}),
        ("Remember that my dog is called Rex.", "remember",
         {"fact": "The user said: my dog is called Rex."}),
        ("What is my dog called?", "recall", {"query": "what is my dog called"}),
        ("system status", "get_system_status", {}),
    ],
)  # fmt: skip
def test_the_offline_brain_understands_its_domain(said, tool, arguments):
    assert understand(said, TOOLS) == (tool, arguments)


@pytest.mark.parametrize(
    ("said", "expression"),
    [
        ("2^8", "2**8"),
        ("what is 2 ^ 8", "2**8"),
        ("two to the power of eight", "2**8"),
        ("two to the eighth power", "2**8"),
        ("ten to the power of minus three", "10**-3"),
        ("three cubed", "3**3"),
        ("what's 15 percent of 80", "15/100*80"),
        ("fifteen per cent of eighty", "15/100*80"),
        ("minus five plus three", "-5+3"),
        ("what is five minus minus three", "5--3"),
        ("add five and three", "5+3"),
        ("subtract five from ten", "10-5"),
        ("multiply six by seven", "6*7"),
        ("what's the sum of five and six", "5+6"),
        ("what is a half plus a quarter", "0.5+0.25"),
        ("three quarters of eighty", "0.75*80"),
        ("two and a half times four", "2.5*4"),
        ("point five times four", "0.5*4"),
        ("five thousand million plus one", "5000000000+1"),
        ("what's 5x6", "5*6"),
        ("what's (3+4)*2", "(3+4)*2"),
        ("the cube root of twenty seven", "(27)**(1/3)"),
        ("what does two plus two make", "2+2"),
        ("what is ten divided by zero", "10/0"),
        ("what's eighty plus fifteen percent", "80*(1+15/100)"),
        ("how much is ten percent off fifty", "50*(1-10/100)"),
        ("what is one point five million divided by three", "1500000/3"),
        ("can you calculate twelve times twelve for me", "12*12"),
        ("what do you get when you multiply seven by nine", "7*9"),
    ],
)
def test_the_offline_brain_reads_sums_as_people_say_them(said, expression):
    assert understand(said, TOOLS) == ("calculate", {"expression": expression})


@pytest.mark.parametrize(
    ("said", "value", "source", "target"),
    [
        ("half a mile in metres", 0.5, "mile", "metres"),
        ("what is half a mile in metres", 0.5, "mile", "metres"),
        ("how many metres are in half a mile", 0.5, "mile", "metres"),
        ("two and a half pounds in grams", 2.5, "pounds", "grams"),
        ("how many seconds in an hour", 1.0, "hour", "seconds"),
        ("five feet in centimetres", 5.0, "feet", "centimetres"),
        ("minus forty degrees celsius in fahrenheit", -40.0, "celsius", "fahrenheit"),
        ("how far is ten miles in kilometres", 10.0, "miles", "kilometres"),
        ("how hot is thirty celsius in fahrenheit", 30.0, "celsius", "fahrenheit"),
        (
            "what's sixty miles an hour in kilometers an hour",
            60.0,
            "miles per hour",
            "kilometers per hour",
        ),
        ("convert three quarters of a cup to milliliters", 0.75, "cup", "milliliters"),
    ],
)
def test_the_offline_brain_reads_lengths_and_weights(said, value, source, target):
    arguments = {"value": value, "from_unit": source, "to_unit": target}
    assert understand(said, TOOLS) == ("convert_units", arguments)


@pytest.mark.parametrize(
    ("said", "day"),
    [
        ("how many days until christmas", "christmas"),
        ("how many days is it till friday", "friday"),
        ("how long is it until new year's eve", "new year's eve"),
        ("how many days until the first of march", "1 march"),
        ("how many days to the twenty fifth of december", "25 december"),
        ("how many days until my birthday", None),
        ("how many days until the meeting", None),
    ],
)
def test_the_offline_brain_counts_days_to_what_every_calendar_has(said, day):
    found = understand(said, TOOLS | {"days_until"})
    assert found == (("days_until", {"day": day}) if day else None)


@pytest.mark.parametrize(
    ("said", "arguments"),
    [
        ("cancel my five minute timer", {"kind": "timer", "label": "5 minute"}),
        ("cancel the ninety second timer", {"kind": "timer", "label": "1 minute 30 second"}),
        ("cancel the second timer", None),
        ("stop the last timer", None),
        ("cancel the timer for ten minutes", {"kind": "timer", "label": "10 minute"}),
        ("please cancel the timer for an hour and a half",
         {"kind": "timer", "label": "1 hour 30 minute"}),
        ("stop the timer for the pasta", {"kind": "timer", "label": "pasta"}),
        ("cancel the timer for ten minutes and set one for five", None),
    ],
)  # fmt: skip
def test_a_timer_is_known_by_its_length_and_not_by_its_place(said, arguments):
    found = understand(said, TOOLS)
    assert found == (("cancel_timer", arguments) if arguments else None)


@pytest.mark.parametrize(
    ("said", "at_time", "day"),
    [
        ("cancel the alarm for seven", "07:00 or 19:00", None),
        ("Cancel the seven o'clock alarm.", "07:00 or 19:00", None),
        ("cancel the 7:00 alarm", "07:00 or 19:00", None),
        ("cancel my 7 a.m. alarm", "07:00", None),
        ("turn off the alarm for noon", "12:00", None),
        ("cancel the alarm I set for half past six", "06:30 or 18:30", None),
        ("cancel the alarm for seven tomorrow morning", "07:00", "tomorrow"),
        ("cancel the alarm for tomorrow at seven", "07:00 or 19:00", "tomorrow"),
        ("cancel friday's seven o'clock alarm", "07:00 or 19:00", "friday"),
        ("cancel tomorrow's alarm", None, "tomorrow"),
        ("cancel tomorrow morning's alarm", "morning", "tomorrow"),
    ],
)
def test_an_alarm_is_known_by_when_it_rings(said, at_time, day):
    arguments = {"kind": "reminder", "at_time": at_time, "day": day}
    given = {name: value for name, value in arguments.items() if value}
    assert understand(said, TOOLS) == ("cancel_timer", given)


@pytest.mark.parametrize(
    ("said", "every"),
    [
        ("cancel all alarms tomorrow morning", True),
        ("cancel my alarms for tomorrow morning", True),
        ("cancel tomorrow morning's alarm", None),
    ],
)
def test_who_cancels_all_alarms_of_a_morning_is_not_asked_which(said, every):
    found, given = understand(said, TOOLS)
    assert (found, given["at_time"], given.get("every")) == ("cancel_timer", "morning", every)


@pytest.mark.parametrize(
    ("said", "text"),
    [
        ("Set a reminder to turn off the alarm at five pm.", "turn off the alarm"),
        ("set a reminder at five to cancel the alarm", "cancel the alarm"),
        ("remind us to stop the timer at nine", "stop the timer"),
        ("add a reminder to cancel the alarm at nine", "cancel the alarm"),
        ("Create a reminder to delete the alarm tomorrow at nine.", "delete the alarm"),
    ],
)
def test_who_wants_to_be_reminded_to_cancel_something_keeps_it_until_then(said, text):
    tool, arguments = understand(said, TOOLS)
    assert (tool, arguments["text"]) == ("set_reminder", text)


@pytest.mark.parametrize(
    ("said", "tool", "arguments"),
    [
        ("Please stop. Set a timer for five minutes.", "set_timer", {"seconds": 300.0}),
        ("cancel that, set a timer for ten minutes", "set_timer", {"seconds": 600.0}),
        ("Stop, I need a timer for five minutes.", "set_timer", {"seconds": 300.0}),
        ("stop singing now set an alarm for seven", "set_reminder", {"text": "wake up"}),
        ("cancel a timer for ten minutes", "cancel_timer", {"label": "10 minute"}),
        ("cancel the put the kettle on timer", "cancel_timer", {"label": "put the kettle on"}),
        ("I need you to cancel the timer.", "cancel_timer", {"kind": "timer"}),
        ("make sure you cancel the timer", "cancel_timer", {"kind": "timer"}),
    ],
)
def test_what_stops_something_else_before_it_sets_a_timer_cancels_none(said, tool, arguments):
    found, given = understand(said, TOOLS)
    assert found == tool
    assert arguments.items() <= given.items()


@pytest.mark.parametrize(
    "said",
    ["set an alarm at seven to turn off the timer", "wake me at seven and turn off the alarm"],
)
def test_of_what_sets_and_cancels_in_one_sentence_nothing_is_cancelled(said):
    assert understand(said, TOOLS) is None


def test_who_wants_to_be_reminded_of_cancelling_cancels_nothing():
    found = understand("remind me to cancel the alarm for seven at six pm", TOOLS)
    assert found[0] == "set_reminder"


async def test_of_several_alarms_the_one_that_is_asked_for_is_cancelled():
    timers = Timers(lambda announcement: None)
    registry = ToolRegistry(timers.tools())
    names = {spec.name for spec in registry.specs()}

    async def say(words):
        tool, arguments = understand(words, names)
        return (await registry.call(tool, arguments)).result

    for words in ("set an alarm for seven am tomorrow", "set an alarm for nine pm tomorrow"):
        await say(words)
    assert "No such reminder or alarm is set. There is: wake up" in await say(
        "cancel the alarm for eight"
    )
    assert await say("cancel the alarm for seven") == (
        "Stopped: wake up tomorrow at 7:00 in the morning."
    )
    assert [label for label, _ in timers.left()] == ["wake up"]
    assert "9:00 in the evening" in await say("cancel the nine o'clock alarm")
    timers.close()


def test_people_in_a_room_are_no_unit():
    assert understand("how many people are in a room", TOOLS) is None
    assert understand("five miles in total", TOOLS) is None


async def test_the_offline_brain_says_that_it_does_not_know_a_place():
    error = "Error: get_time failed: I do not know what time it is in Tokio; did you mean Tokyo?"
    result = Message("tool", error, tool_call_id="offline_1", tool_name="get_time")
    chunks = [chunk async for chunk in OfflineBrain().stream([Message("user", "x"), result])]
    assert chunks[0] == TextDelta(
        "That did not work: I do not know what time it is in Tokio; did you mean Tokyo?"
    )


@pytest.mark.parametrize(
    ("memories", "told"),
    [
        ("The user said: i like chess.\nThe user likes chess.", "You like chess."),
        ("The user's name is Ada.", "Your name is Ada."),
        ("The user lives in Oslo.\nThe user teaches.", "You live in Oslo. You teach."),
        ("The user no longer lives in Oslo.", "You no longer live in Oslo."),
        ("The user sold their car.", "You sold your car."),
        ("The user studies maths.", "You study maths."),
        ("The user has a dog.", "You have a dog."),
        ("The user said: my dog is called rex.", "You said that your dog is called rex."),
        ("please remember that i like music", "You said that you like music."),
        ("i'm told i was late", "You said that you're told you were late."),
        (
            "The user said: the train leaves at nine.\nThe user's wife is called eve.",
            "You said that the train leaves at nine.",
        ),
        (
            "The user has a cat.\nThe user has a dog.\nThe user has a cow.",
            "You have a cat. You have a dog. You have a cow.",
        ),
        ("Nothing is remembered about that.", "Nothing is remembered about that."),
    ],
)
async def test_the_offline_brain_tells_memories_to_the_user_and_not_about_him(memories, told):
    asked = Message("user", "what do i like")
    if not memories.startswith("Nothing"):
        memories = memories_for_llm(memories.splitlines())  # as the tool gives them
    result = Message("tool", memories, tool_call_id="offline_1", tool_name="recall")
    chunks = [chunk async for chunk in OfflineBrain().stream([asked, result])]
    assert chunks[0] == TextDelta(told)


@pytest.mark.parametrize(
    ("error", "told"),
    [
        ("Error: set_timer failed: There are 20 timers already.",
         "That did not work: There are 20 timers already."),
        ("Error: calculate failed: '3+' is no sum (line 1, <string>)", "That did not work."),
        ("Error: get_time failed: " + "word " * 40, "That did not work."),
    ],
)  # fmt: skip
async def test_the_offline_brain_says_why_a_tool_failed_where_that_can_be_listened_to(error, told):
    result = Message("tool", error, tool_call_id="offline_1", tool_name="calculate")
    chunks = [chunk async for chunk in OfflineBrain().stream([Message("user", "x"), result])]
    assert chunks[0] == TextDelta(told)


@pytest.mark.parametrize(
    "said",
    ["", "Who was Napoleon?", "seven", "tell me a joke", "set a timer", "what is six plus",
     "six plus times two", "seven eight", "don't cancel the timer",
     "what time did the train leave",
     "what's the date on friday", "what day is christmas", "i can't remember that song",
     "what's the square root of sixteen plus nine", "what day is it in tokyo",
     "set a timer for a third of an hour", "what's today like", "what is five percent",
     "set a timer for five minutes and another one for ten minutes",
     "how long is the flight in hours", "remind me to call anna",
     "remind me at the office to call anna",
     "remind me to call anna on the first of march at nine",
     "remind me to call anna next friday at nine", "remind me to call anna in two weeks at nine",
     "remind me to take my pills every day at nine", "remind me every day at nine to take my pills",
     "the alarm at seven did not ring", "can you remember that for me"],
)  # fmt: skip
def test_the_offline_brain_knows_what_it_does_not_know(said):
    assert understand(said, TOOLS) is None


@pytest.mark.parametrize(
    ("said", "text", "day", "at_time"),
    [
        ("remind me to buy milk tomorrow at nine", "buy milk", "tomorrow", "09:00"),
        ("remind me tomorrow at nine to buy milk", "buy milk", "tomorrow", "09:00"),
        ("remind me at nine tomorrow evening to buy milk", "buy milk", "tomorrow", "21:00"),
        ("remind me tomorrow evening at nine to buy milk", "buy milk", "tomorrow", "21:00"),
        ("remind me tomorrow at three to buy milk", "buy milk", "tomorrow", "15:00"),
        ("remind me of my date with anna tomorrow at nine", "your date with anna", "tomorrow",
         "09:00"),
        ("remind me to feed the cat tomorrow morning", "feed the cat", "tomorrow", "09:00"),
        ("remind me to call my mother on friday at nine", "call your mother", "friday", "09:00"),
        ("remind me on sunday morning at ten to call grandma", "call grandma", "sunday", "10:00"),
        ("remind me to pay the rent on monday", "pay the rent", "monday", "09:00"),
        ("remind me tonight at nine to call anna", "call anna", "today", "21:00"),
        ("remind me this evening to call anna", "call anna", "today", "19:00"),
        ("set a reminder for tomorrow at nine to call anna", "call anna", "tomorrow", "09:00"),
        ("set an alarm for six tomorrow morning", "wake up", "tomorrow", "06:00"),
        ("wake me up at six tomorrow", "wake up", "tomorrow", "06:00"),
        ("wake me up tomorrow at five", "wake up", "tomorrow", "05:00"),
        ("wake me up tomorrow morning at six", "wake up", "tomorrow", "06:00"),
        ("set an alarm tomorrow at seven", "wake up", "tomorrow", "07:00"),
        ("set an alarm for noon tomorrow", "wake up", "tomorrow", "12:00"),
    ],
)  # fmt: skip
def test_a_reminder_is_for_the_day_that_was_said(said, text, day, at_time):
    """ "On friday at nine" rang at nine this evening."""
    arguments = {"text": text, "at_time": at_time, "day": day}
    assert understand(said, TOOLS) == ("set_reminder", arguments)


@pytest.mark.parametrize(
    ("said", "arguments"),
    [
        ("in half an hour remind me to call anna", {"text": "call anna", "in_seconds": 1_800.0}),
        ("remind me that the cake is in the oven in twenty minutes",
         {"text": "the cake is in the oven", "in_seconds": 1_200.0}),
        ("remind me in ten minutes", {"text": "it is time", "in_seconds": 600.0}),
        ("set a reminder to call anna at five pm", {"text": "call anna", "at_time": "17:00"}),
        ("remind me of the meeting at 15:00", {"text": "the meeting", "at_time": "15:00"}),
        ("set my alarm to 7 am", {"text": "wake up", "at_time": "07:00"}),
        ("set an alarm in ten minutes", {"text": "wake up", "in_seconds": 600.0}),
    ],
)  # fmt: skip
def test_reminders_are_asked_for_in_many_ways(said, arguments):
    assert understand(said, TOOLS) == ("set_reminder", arguments)


@pytest.mark.parametrize(
    ("said", "seconds", "label"),
    [
        ("Set a 10-minute timer.", 600.0, ""),
        ("give me a five minute timer", 300.0, ""),
        ("start a ten minute timer for the pasta", 600.0, "pasta"),
        ("set a timer for a couple of minutes", 120.0, ""),
        ("set another timer for ten minutes", 600.0, ""),
        ("uh set me a timer for um like ten minutes", 600.0, ""),
    ],
)
def test_timers_are_asked_for_in_many_ways(said, seconds, label):
    assert understand(said, TOOLS) == ("set_timer", {"seconds": seconds, "label": label})


@pytest.mark.parametrize(
    ("said", "tool"),
    [
        ("what are my reminders", "list_timers"),
        ("do i have any timers", "list_timers"),
        ("show my reminders", "list_timers"),
        ("how much longer on the pasta timer", "list_timers"),
        ("how late is it", "get_time"),
        ("which month is it", "get_date"),
        ("what's today", "get_date"),
    ],
)
def test_what_is_asked_is_no_other_question(said, tool):
    """ "What are my reminders" was looked up in the memory, "cancel the alarm" set one."""
    assert understand(said, TOOLS)[0] == tool


def test_what_is_for_tomorrow_is_not_said_tomorrow():
    tool, arguments = understand("remind me to cook the dinner for tomorrow at five pm", TOOLS)
    assert (tool, arguments["at_time"]) == ("set_reminder", "17:00")
    assert arguments["text"] == "cook the dinner for tomorrow"


def test_durations_are_understood():
    for said, seconds in [
        ("an hour and a half", 5_400),
        ("one and a half hours", 5_400),
        ("half an hour", 1_800),
        ("ninety seconds", 90),
        ("half of an hour", 1_800),
        ("a quarter of an hour", 900),
        ("three quarters of an hour", 2_700),
        ("an hour and a quarter of an hour", 4_500),
        ("a few minutes", None),
    ]:
        assert duration_seconds(said) == seconds


@pytest.mark.parametrize(
    ("said", "shown"),
    [("eight at night", "20:00"), ("one at night", "01:00"),
     ("five", "17:00"), ("three", "15:00"), ("seven thirty", "19:30"), ("half past six", "18:30"),
     ("quarter to three", "14:45"), ("five am", "05:00"), ("five in the afternoon", "17:00"),
     ("eight o'clock", "20:00"), ("17 30", "17:30"), ("noon", "12:00"), ("twelve", "00:00"),
     ("ten to seven", "18:50"), ("five past six", "18:05"), ("half six", "18:30"),
     ("twenty five minutes to nine", "20:35"), ("six oh five", "18:05"),
     ("banana to six", None), ("ninety past six", None),
     ("midnight", "00:00"), ("banana", None), ("twenty six", None), ("five ninety", None)],
)  # fmt: skip
def test_times_of_day_are_the_next_ones_that_are_meant(said, shown):
    assert clock_time(said, datetime(2026, 1, 5, 14, 30)) == shown


def test_consent_is_only_what_is_clearly_a_yes():
    for reply in ["Yes.", "yeah, do it", "Okay, go ahead!", "Sure", "yes please",
                  "of course, thank you", "oh yes, please do it"]:  # fmt: skip
        assert consent(reply) is True
    for reply in ["No.", "yes, no, wait", "Don't!", "stop", "better not now"]:
        assert consent(reply) is False
    for reply in ["", "What is the weather like?", "which one", "yesterday was nice",
                  "okay what time is it", "okay but which of them", "ok hang on",
                  "correct me if i am wrong", "yes but tomorrow"]:  # fmt: skip
        assert consent(reply) is None


@pytest.mark.parametrize("written", [" " * 20_000 + "x", "\n" * 20_000 + "x", " \n" * 10_000 + "x"])
def test_a_desert_of_nothing_takes_no_time(written: str):
    """Three thousand blanks in an answer took half a minute, of everybody's."""
    assert speakable(f"Well,{written}.") == "Well, x."


def test_nobody_listens_to_a_number_of_a_thousand_digits():
    assert speakable(f"It is {'7' * 20_000}.") == "It is a number of twenty thousand digits."


@pytest.mark.timeout(60)
@pytest.mark.parametrize("written", ["1.1.1.1", "1990-", "000,", "²", "call 1 "])
def test_a_text_without_an_end_takes_a_time_that_grows_with_its_length(written: str):
    """A few kilobytes of digits and dots held up everybody for minutes."""
    said = speakable(written * (60_000 // len(written)))
    assert said and not any(c.isdigit() for c in said)


def test_a_long_text_is_said_as_its_sentences_are():
    written = "On 21 November 2026 it cost $12.50 for 3 km, e.g. at 5pm."
    assert speakable(" ".join([written] * 40)) == " ".join([speakable(written)] * 40)
