# ruff: noqa: E501  (a phrase book)
"""The corpus: what users say, what coda-tiny answers, what it reads aloud.

Everything is lower case without punctuation except the full stop between the facts of a prompt.
All drawing is from a `random.Random`, so that a seed fixes the corpus.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from .lexicon import (
    ADJECTIVES,
    AGENTS,
    DAYS,
    LIKES,
    MONTHS,
    NAMES,
    NOUNS,
    PLACES,
    UNITS,
    VERBS,
    frequent_words,
    invented_word,
    number,
)

LEADS = ("let me check that", "one moment please", "let me think")
BACKCHANNELS = ("mm hm", "yes", "okay", "right", "i see", "yeah", "sure", "uh huh")


@dataclass(frozen=True)
class Facts:
    """What the model has been told: about itself and about the user."""

    agent: str = "coda"
    name: str | None = None
    likes: tuple[str, ...] = ()
    place: str | None = None


@dataclass(frozen=True)
class Question:
    """A user's utterance: its words, its kind, and what in it must be understood."""

    text: str
    kind: str
    item: str | None = None


@dataclass
class Vocabulary:
    """The names and things of one split; training and held-out lists share no copied item."""

    names: list[str]
    likes: list[str]
    agents: list[str] = field(default_factory=lambda: list(AGENTS))
    places: list[str] = field(default_factory=lambda: list(PLACES))

    def __add__(self, others: Vocabulary) -> Vocabulary:
        """The names and things of both, in this order."""
        names, likes = self.names + others.names, self.likes + others.likes
        return replace(self, names=names, likes=likes)


def vocabularies(seed: int = 7) -> tuple[Vocabulary, Vocabulary]:
    """Training and held-out vocabularies: the latter's names and things are never trained on."""
    rng = random.Random(seed)
    names, likes = list(NAMES), list(LIKES)
    rng.shuffle(names)
    rng.shuffle(likes)
    held = Vocabulary(names[:20], likes[:20])
    taken = {*names, *likes}
    invented: list[str] = []
    while len(invented) < 700:
        word = invented_word(rng)
        if word not in taken:
            taken.add(word)
            invented.append(word)
    common = [w for w in frequent_words(5000) if len(w) > 3 and w not in {*held.names, *held.likes}]
    things = rng.sample(common, 600)
    return Vocabulary(names[20:] + invented[:400], likes[20:] + things + invented[400:]), held


def as_spoken(words: Vocabulary, real: float = 0.95) -> Vocabulary:
    """`words` as they are said: real names and things are the share `real` of each, by repetition.

    Invented words teach to copy what is read; to tell by ear "milk" from "golf", each of the real
    ones has to be heard many times. Who hears invented ones often writes "alelel" for "milk". And
    to say "kim" so that nobody takes it for "ken", each has to be said many times.
    """
    names, likes = real_often(words.names, real), real_often(words.likes, real)
    return replace(
        words, names=[words.names[i] for i in names], likes=[words.likes[i] for i in likes]
    )


def real_often(items: Sequence[str], share: float = 0.8) -> list[int]:
    """The indices of `items`, those of real names and things repeated until they are `share`."""
    real = {*NAMES, *LIKES}
    known = [index for index, item in enumerate(items) if item in real]
    times = round(share / (1 - share) * (len(items) - len(known)) / len(known)) if known else 1
    return [*range(len(items)), *known * max(0, times - 1)]


def prompt_text(rng: random.Random, facts: Facts) -> str:
    """A system prompt that states the facts in varying words, order and company."""
    about_self = rng.choice(["your name is {}", "you are {}", "your name is {}"]).format(
        facts.agent
    )
    parts = []
    if facts.name:
        parts.append(
            rng.choice(
                [
                    "the user is {}",
                    "the user is {}",
                    "the user's name is {}",
                    "you are talking to {}",
                ]
            ).format(facts.name)
        )
    if facts.likes:
        joined = " and ".join(facts.likes)
        parts.append(
            rng.choice(["the user likes {}", "the user likes {}", "they like {}"]).format(joined)
        )
    if facts.place:
        parts.append(f"the user lives in {facts.place}")
    while rng.random() < 0.25:
        parts.append(rng.choice(REMARKS).format(day=rng.choice(DAYS), n=rng.choice(UNITS)))
    rng.shuffle(parts)
    if rng.random() < 0.8:
        parts.insert(0, about_self)
    else:
        parts.insert(rng.randint(0, len(parts)), about_self)
    return ". ".join(parts)


REMARKS = (
    "be brief and friendly", "you are a helpful assistant", "today is {day}", "speak clearly",
    "answer in one sentence", "the user has a meeting at {n}", "be polite", "it is {n} o'clock",
    "help the user", "the user is at home", "be kind",
)  # fmt: skip

# kind -> phrasings; {item} is what must be understood, the other fields are filled at random
PHRASINGS: dict[str, tuple[str, ...]] = {
    "greet": ("hello", "hi", "hi there", "hello there", "good morning", "good evening",
              "good afternoon", "hey", "hello {agent}", "hi {agent}", "hey {agent}"),
    "agent": ("what is your name", "who are you", "tell me your name", "what's your name",
              "what are you called", "who am i talking to", "may i know your name"),
    "name": ("what is my name", "who am i", "do you know my name", "do you know who i am",
             "what's my name", "tell me my name", "say my name", "can you say my name"),
    "likes": ("what do i like", "do you know what i like", "tell me what i like",
              "what are the things i like", "can you tell me what i like", "what is it that i like"),
    "place": ("where do i live", "do you know where i live", "tell me where i live"),
    "remember": ("remember that i like {item}", "please remember that i like {item}", "i like {item}",
                 "i really like {item}", "remember i like {item}"),
    "introduce": ("my name is {item}", "i am {item}", "remember that my name is {item}",
                  "hello my name is {item}", "hi i am {item}"),
    "feel": ("how are you", "how are you today", "how do you do", "how are you doing",
             "how is it going"),
    "thanks": ("thank you", "thank you very much", "thanks", "thanks a lot", "many thanks",
               "thank you so much"),
    "bye": ("goodbye", "bye bye", "see you later", "bye", "good night", "goodbye {agent}",
            "see you tomorrow"),
    "stop": ("stop", "please stop", "be quiet", "stop talking", "that is enough", "stop it",
             "wait", "hold on"),
    "check": (
        "what time is it", "what time is it in {place}", "what is the time", "tell me the time",
        "what is the weather in {place}", "what is the weather like today", "how is the weather",
        "how is the weather in {place}", "will it rain in {place} tomorrow", "will it rain today",
        "how far is {place} from {place}", "how far is it to {place}", "what day is it",
        "what is the date today", "what is the capital of {place}", "how big is {place}",
        "search for {thing}", "search the web for {thing}", "look up {thing}", "find {thing} near me",
        "who invented the {noun}", "what is a {noun}", "tell me about {place}", "tell me about {thing}",
        "how do i cook {thing}", "when is my next meeting", "what is on my calendar",
        "what is the news today", "how many people live in {place}", "what does {thing} mean",
        "what day is it today", "what's the time", "what is today's date", "what time is it now",
        "what did i tell you about {thing}", "how is the system doing", "and in {place}",
        "convert {n} miles to kilometers", "how many minutes are in {n} hours",
    ),
    "moment": (
        "set a timer for {n} minutes", "set an alarm for {n}", "call {name}", "call {name} at {n}",
        "send a message to {name}", "send an email to {name}", "remind me to call {name}",
        "remind me to buy {thing}", "play some music", "play {thing}", "turn on the lights",
        "turn off the lights", "book a table for {n}", "order {thing}", "start a timer",
        "cancel my meeting", "add {thing} to my list", "set a timer for {n} seconds",
        "please set a timer for {n} minutes", "set a {n} minute timer", "cancel the timer",
        "remind me in {n} minutes to call {name}", "remind me to call {name} in {n} minutes",
        "wake me up at {n}",
    ),
    "think": (
        "what is {n} plus {n}", "what is {n} minus {n}", "what is {n} times {n}", "how much is {n} plus {n}",
        "how much is {n} times {n}", "what is {n} divided by {n}", "add {n} and {n}",
        "what's {n} plus {n}", "what's {n} times {n}", "calculate {n} plus {n}", "{n} plus {n}",
    ),
}  # fmt: skip

WEIGHTS: dict[str, float] = {
    "greet": 9, "agent": 7, "name": 12, "likes": 13, "place": 4, "remember": 10, "introduce": 6,
    "feel": 4, "thanks": 5, "bye": 5, "stop": 4, "check": 12, "moment": 8, "think": 6, "unknown": 5,
}  # fmt: skip


def question(
    rng: random.Random, words: Vocabulary, facts: Facts, kind: str | None = None
) -> Question:
    """One utterance of the user."""
    kind = kind or rng.choices(list(WEIGHTS), list(WEIGHTS.values()))[0]
    if kind == "unknown":
        return Question(
            " ".join(rng.choice(frequent_words()) for _ in range(rng.randint(3, 6))), kind
        )
    item = None
    if kind == "remember":
        item = rng.choice(words.likes)
    elif kind == "introduce":
        item = rng.choice(words.names)
    return Question(fill(rng, rng.choice(PHRASINGS[kind]), words, facts.agent, item), kind, item)


def fill(rng: random.Random, template: str, words: Vocabulary, agent: str, item: str | None) -> str:
    """Fill every field of a template, each with its own draw."""
    while "{" in template:
        head, _, rest = template.partition("{")
        name, _, tail = rest.partition("}")
        value = {
            "agent": lambda: agent,
            "item": lambda: item or "",
            "place": lambda: rng.choice(words.places),
            "name": lambda: rng.choice(words.names[:360]),
            "thing": lambda: rng.choice(LIKES),
            "noun": lambda: rng.choice(NOUNS),
            "verb": lambda: rng.choice(VERBS),
            "adj": lambda: rng.choice(ADJECTIVES),
            "word": lambda: rng.choice(frequent_words()),
            "n": lambda: number(rng, 1, 12) if rng.random() < 0.6 else number(rng, 1, 99),
            "big": lambda: number(rng, 100, 4000),
            "day": lambda: rng.choice(DAYS),
            "month": lambda: rng.choice(MONTHS),
            "part": lambda: rng.choice(("morning", "afternoon", "evening")),
        }[name]()
        template = head + value + tail
    return template


def answer(asked: Question, facts: Facts) -> str:
    """What coda-tiny says to a question, given what it knows; empty for silence."""
    match asked.kind:
        case "greet":
            return (
                f"hello {facts.name} how can i help you"
                if facts.name
                else "hello how can i help you"
            )
        case "agent":
            return f"my name is {facts.agent}"
        case "name":
            return f"your name is {facts.name}" if facts.name else "i do not know your name"
        case "likes":
            return (
                f"you like {' and '.join(facts.likes)}"
                if facts.likes
                else "i do not know what you like"
            )
        case "place":
            return f"you live in {facts.place}" if facts.place else "i do not know where you live"
        case "remember":
            return f"i will remember that you like {asked.item}"
        case "introduce":
            return f"nice to meet you {asked.item}"
        case "feel":
            return "i am fine thank you"
        case "thanks":
            return "you are welcome"
        case "bye":
            return f"goodbye {facts.name}" if facts.name else "goodbye"
        case "stop":
            return ""
        case "check":
            return LEADS[0]
        case "moment":
            return LEADS[1]
        case "think":
            return LEADS[2]
        case _:
            return "sorry i did not understand"


# sentences to read aloud: what an LLM would say through coda-tiny, and plain English
SPOKEN = (
    "the weather in {place} is {adj} and {adj}", "it is {n} o'clock in {place}", "it is {n} thirty",
    "{n} plus {n} is {n}", "{n} times {n} is {big}", "{n} minus {n} is {n}", "the answer is {n}",
    "your meeting with {name} is at {n}", "your timer for {n} minutes is set", "i will call {name} at {n}",
    "{place} is {big} miles from {place}", "it will rain in {place} on {day}", "today is {day}",
    "today is {day} {month} {n}", "the next train to {place} leaves at {n}", "i found {n} results for {thing}",
    "the capital of {place} is {place}", "about {n} million people live in {place}",
    "i sent your message to {name}", "{name} called you on {day}", "you have {n} new messages",
    "the {noun} is {adj}", "the {adj} {noun} is in the {noun}", "i {verb} the {adj} {noun}",
    "we {verb} the {noun} every {day}", "{name} and {name} {verb} a {noun} in {place}",
    "she will {verb} the {noun} tomorrow", "they {verb} {thing} and {thing}", "do you like {thing} or {thing}",
    "the {noun} and the {noun} are {adj}", "there is a {adj} {noun} near the {noun}",
    "my favorite {noun} is the {adj} one", "he wants to {verb} a {adj} {noun}",
    "you can {verb} the {noun} with a {noun}", "please {verb} the {noun} for {name}",
    "{name} lives in {place} with a {adj} {noun}", "the price of the {noun} is {n} dollars",
    "i think the {noun} was too {adj}", "in {month} we will visit {place}",
    "the temperature in {place} is {n} degrees", "here is what i found about {thing}",
    "your {noun} will be ready in {n} minutes", "i have added {thing} to your list",
    "the lights are on now", "i am playing {thing} for you", "your alarm is set for {n}",
    "that is a good question", "i could not find the {noun}", "tomorrow will be {adj} and {adj}",
    "the {noun} opens at {n} and closes at {n}", "it takes {n} hours from {place} to {place}",
    "a {noun} is a {adj} kind of {noun}", "the first {noun} was made in {place}",
)  # fmt: skip

# what the built-in tools say; apart, so that the evaluation draws what it always drew
SAID_BY_TOOLS = (
    "{n}", "{n}", "{n}", "{big}", "your {n} second timer is done",
    "your {n} minute timer is done", "your {n} hour timer is done", "a timer for {n} seconds is running",
    "a timer for {n} minutes is running", "it is {n} {n} in the {part}", "it is {n} in the {part}",
    "in {place} it is {n} {n} in the {part} on {day}", "i will remember that",
    "nothing is remembered about that", "i will remind you at {n} {n} in the {part}",
    "i will remind you in {n} minutes", "the {n} minute timer is cancelled", "you told me about {thing}",
)  # fmt: skip
# and what they are asked for beyond the phrasings above
ASKED_OF_TOOLS = (
    "set a {n} second timer", "set a timer for {n} seconds", "start a timer for {n} seconds",
    "start a timer for {n} minutes", "start a {n} minute timer", "set a timer for {n} minutes",
    "remind me in {n} seconds to call {name}",
)  # fmt: skip


LISTS = ("{}", "{}", "i like {}", "we have {}", "my friends are {}", "you said {}")


def listed(rng: random.Random, words: Vocabulary) -> str:
    """A few names and things in one breath, real ones and invented as often as in `words`."""
    some = [
        rng.choice(words.likes if rng.random() < 0.57 else words.names)
        for _ in range(rng.randint(2, 5))
    ]
    return rng.choice(LISTS).format(rng.choice((" ", " ", " and ", " or ")).join(some))


def sentence(rng: random.Random, words: Vocabulary) -> str:
    """One sentence to read aloud: mostly from templates, otherwise words at random."""
    share = rng.random()
    if share < 0.55:
        return fill(rng, rng.choice(SPOKEN), words, rng.choice(words.agents), None)
    if share < 0.9:
        common = frequent_words()
        pick = [
            common[min(int(rng.paretovariate(0.35)) - 1, 10**9) % len(common)]
            for _ in range(rng.randint(3, 8))
        ]
        return " ".join(pick)
    return " ".join(rng.choice(words.likes + words.names) for _ in range(rng.randint(2, 5)))
