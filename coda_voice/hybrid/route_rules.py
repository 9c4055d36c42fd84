"""Kinds of utterances that a pattern recognises for certain.

Patterns see lower-case words without punctuation. Order matters: the first that fits wins.
What none recognises goes to the classifier.
"""

from __future__ import annotations

import re
from typing import Literal, NamedTuple

from coda_voice.number_names import UP_TO_TWELVE

Kind = Literal["social", "question", "follow_up", "tool", "memory", "stop"]
KINDS: tuple[Kind, ...] = ("social", "question", "follow_up", "tool", "memory", "stop")


class Rule(NamedTuple):
    """A named pattern; ``needs_previous``: only after something else was answered."""

    kind: Kind
    name: str
    pattern: re.Pattern[str]
    needs_previous: bool = False


def _rule(kind: Kind, name: str, pattern: str, needs_previous: bool = False) -> Rule:
    return Rule(kind, name, re.compile(pattern), needs_previous)


_SOFT = (
    r"(?:(?:oh|ok|okay|alright|all right|no|yes|yeah|sorry|please|hey|coda|just|would you|can you|"
    r"could you|well|thanks|thank you|i said)\s+)*"
)
_AFTER = (
    r"(?:\s+(?:please|now|it|that|this|already|thank you|thanks|a (?:second|moment|minute|sec)|"
    r"talking|speaking|up|coda|stop|wait|again|there|right there|right now))*"
)
_QUESTION_INSIDE = (
    r"\b(?:what (?:can|should|do|is|are|would|does)|how (?:do|can|to|should|much|many|long|far|"
    r"old|does|is)|where (?:is|are|can|do)|when (?:is|does|will)|why (?:is|do|does|are)|"
    r"should i|tell me|what is it|(?:don't|do not) know (?:how|what|why|where|when|which)|"
    r"wondering (?:how|what|why|where|when|if|whether))\b"
)
_NO_QUESTION = rf"(?!.*{_QUESTION_INSIDE})"
_PLEASE = r"^(?:(?:please|can you|could you|would you|will you|hey|coda|ok|okay|so|and)\s+)*"
_NUMBER_ENDS = (
    rf"(?:\d|zero|{UP_TO_TWELVE}|teen|ty|hundred|"
    r"thousand|million|billion|half|thirds?|quarters?|percent|\b(?:it|that|this|[a-z]))"
)
_OFTEN = (
    r" (?:a (?:day|week|month|year)|per|every|each|already|before|now|in|on|the|this|last|as)\b"
)
"""Behind "three times" where nothing is multiplied."""
_CLOCK = (
    r"(?:time is it|late is it|the time\b(?! of)|(?:current|local) time|(?:^|what )time in \w+)"
)

RULES: tuple[Rule, ...] = (
    _rule(
        "stop",
        "stop word",
        rf"^{_SOFT}(?:stop|quit|halt|hush|shush|silence|quiet|be (?:quiet|silent)|shut|zip it|"
        rf"can it|enough|that's enough|wait|hold on|hang on|pause|cancel|abort){_AFTER}$",
    ),
    _rule(
        "stop",
        "let me speak",
        rf"^{_SOFT}(?:let me (?:speak|talk|finish)|(?:one|just a) moment|"
        r"just (?:a|one) (?:second|minute)|one (?:second|minute) please|"
        r"no more (?:talking|words)|i (?:was|am|'m) (?:still )?talking|that will do|forget it|"
        rf"never mind stop){_AFTER}$",
    ),
    _rule(
        "memory",
        "store",
        rf"{_PLEASE}(?:remember (?!what|who|where|when|how|me\b)|don't forget|keep in mind|"
        r"make a note|note (?:that|down)|write (?:this |that )?down|memori[sz]e|"
        r"store (?:that|this|my)|save (?:that|this|my)|learn that|add to your memory)",
    ),
    _rule(
        "memory",
        "tells of oneself",
        r"^(?:for the record|just so you know|you should know|for next time|by the way my)\b|"
        r"\bmy name is\b",
    ),
    _rule(
        "memory",
        "erase",
        rf"{_PLEASE}(?:(?:now|also|but|you can|you should) )*(?:forget (?:what|that|my|our|i|i'm|"
        r"we|me|where|who|how|the fact|everything|all|about)\b|"
        r"(?:don't|do not|no need to) remember (?:that|what|my|i)\b|"
        r"(?:erase|delete|wipe) (?:that|this|the|my|your|all) memor|"
        r"(?:delete|erase|wipe) (?:everything|all|what) you)",
    ),
    _rule(
        "memory",
        "what was said",
        r"\b(?:what|who|which|when|where|how old|how)\b.*\b(?:did|have) (?:i|we) "
        r"(?:\w+ )?(?:say|said|tell|told|mention|talk|discuss|like|park)|"
        r"^(?:did|have) i (?:ever )?(?:mention|tell|told|say)|\bi (?:told you|mentioned)\b",
    ),
    _rule(
        "memory",
        "do you remember",
        r"\bdo you (?:still )?(?:remember|know) (?:my|about me|me\b|(?:what|where|who|when|how) i|"
        r"what we|who came|about my)|\byou (?:know|remember) about (?:me|my)\b",
    ),
    _rule(
        "memory",
        "remind me what",
        rf"{_PLEASE}remind me (?:what|who|where|when|which|how|"
        r"about(?!.*\b(?:in|at|on|tomorrow|tonight|later)\b))\b",
    ),
    _rule("tool", "clock", rf"\b{_CLOCK}"),
    _rule(
        "tool",
        "calendar day",
        r"\b(?:what|which) (?:day|date)\b.*\b(?:today|tomorrow|yesterday|week|it)\b|"
        r"\b(?:today's|tomorrow's|the) date\b",
    ),
    _rule("tool", "timer or reminder", r"\b(?:timers?|alarms?|reminders?|remind me|wake me)\b"),
    _rule(
        "tool",
        "arithmetic",
        rf"{_NUMBER_ENDS} (?:(?:plus|minus)\b|times\b(?!{_OFTEN}))|"
        r"\bminus \w+ (?:plus|minus|times)\b|"
        r"\b(?:divided by|multiplied by|percent of|square root|squared|cubed|"
        r"calculate|compute|(?:half|third|quarter) of (?:an? )?(?:\w+ )?(?:hundred|thousand|"
        r"million|\w*ty|"
        r"\w*teen|ten|twelve|eight|six|\d+))\b(?!.*\b(?:history|meaning)\b)",
    ),
    _rule(
        "tool",
        "units",
        r"\b(?:convert|turn|change)\b.*\b(?:in)?to\b (?:kilo|meter|mile|gram|pound|ounce|liter|"
        r"gallon|fahrenheit|celsius|inch|feet|foot|centi|yard|euro|dollar)|"
        r"\bhow many (?:kilometers|meters|miles|grams|kilograms|pounds|ounces|liters|gallons|"
        r"inches|feet|centimeters|yards|cups|euros|dollars)\b (?:are|is)\b|"
        r"\b(?:pounds|ounces|miles|feet|inches|celsius|fahrenheit|kilometers|kilos|liters) in "
        r"(?:\w+)$",
    ),
    _rule(
        "tool",
        "switch",
        rf"{_PLEASE}(?:turn|switch|dim|open|close|lock|unlock)\b.*\b(?:on|off|up|down|lights?|"
        r"lamps?|blinds?|doors?|windows?|heating|volume)\b",
    ),
    _rule(
        "tool",
        "weather",
        r"\b(?:weather|umbrella|forecast)\b|\b(?:will it|is it going to|is it gonna) (?:rain|"
        r"snow|be (?:warm|cold|sunny))\b|"
        r"\bhow (?:warm|cold|hot) (?:will|is) it\b",
    ),
    _rule(
        "tool",
        "media",
        rf"{_PLEASE}(?:play|pause|skip|resume)\b|^(?:next|previous) (?:song|track)\b",
    ),
    _rule(
        "tool",
        "messages",
        rf"{_PLEASE}(?:send|text|call|phone|ring|read me my|"
        r"write (?:an? )?(?:email|message) to my)\b",
    ),
    _rule(
        "tool",
        "lists",
        r"\b(?:calendar|shopping list|to do list|my next (?:meeting|appointment))\b",
    ),
    _rule(
        "tool",
        "search",
        rf"{_PLEASE}(?:search|google|look up|find me|book)\b|\b(?:the|latest) news\b",
    ),
    _rule(
        "tool",
        "system",
        r"\b(?:system|battery|processor|machine|disk|memory)\b.*\b(?:status|doing|left|busy|full|"
        r"machine|usage)\b|\bsystem status\b|\bhow busy\b",
    ),
    _rule(
        "memory",
        "about oneself",
        r"^(?:what|who|when|where|how|how old)(?:'s| is| was| are| were) my\b|"
        r"^where (?:did|do) i\b|^what (?:was|am) i\b",
    ),
    _rule(
        "social",
        "greeting",
        r"^(?:(?:hi|hello|hey|good (?:morning|evening|afternoon|night)|bye|goodbye)\s?)+"
        r"(?:there|coda|again|everyone|my friend|to you)?(?: my friend)?$",
    ),
    _rule(
        "social",
        "thanks",
        r"^(?:no |ok |okay )?(?:thanks?|thank you|cheers)(?: (?:a lot|so much|very much|again|coda|"
        r"for .*))?$",
    ),
    _rule(
        "social",
        "about the agent",
        r"^(?:and )?(?:how are you|how have you been|who are you|what are you|are you (?:a|an|real|"
        r"okay|well|there)(?! \w+ who)|what can you do(?! (?:about|for|to|if|against))|"
        r"what do you like|can you hear me|what's your(?! (?:battery|system|processor|memory))|"
        r"what's (?:up|new)(?! (?:in|on|at|about|"
        r"with (?!you)))|how (?:was|is|did) you|how's (?:your|life|everything)|"
        r"do you (?:like|dream|ever|"
        r"sleep|feel|love|have a favou?rite))\b",
    ),
    _rule(
        "tool",
        "asked behind a statement",
        r"^(?:\w+(?:'\w+)? ){2,}(?<!\bto )(?<!\bi )(?<!\bwe )(?<!\byou )(?<!\bthey )(?<!ll )"
        r"(?<!\bwill )(?<!\bwould )(?<!\bcould )(?<!\bcan )(?<!\bnot )(?<!n't )(?<!\band )"
        r"(?<!\bor )(?<!\balways )(?<!\bnever )(?<!\boften )"
        r"(?:(?:turn|switch) (?:it|that|them|on|off|up|down|(?:the|that) \w+ (?:on|off|up|down))|"
        r"find me|show me|look up|play (?:me|some)|(?:open|close|lock|dim) the|"
        r"set (?:a|an) (?:timer|alarm)|book (?:me|a))\b",
    ),
    _rule(
        "social",
        "small talk",
        rf"^{_NO_QUESTION}(?:i'm|i am|i feel|i love|i hate|i like|i missed|i just|i had|i guess|"
        r"you are|you're|"
        r"that's|it's (?:so |good |nice |raining|snowing)|we (?:went|had|saw)|my (?:cat|dog|kids) "
        r"(?:is|are)|what a\b|how's it|oh (?:wow|no|dear|really)|really$|nice to)\b",
    ),
    _rule(
        "follow_up",
        "what about",
        r"^(?:and|but|or)\b|^(?:what|how) about\b|^what if\b|^then\b",
        needs_previous=True,
    ),
    _rule(
        "follow_up",
        "why",
        r"^(?:why|why not|how so|how come|since when|says who)(?: (?:is|was) (?:that|this|it))?$",
        needs_previous=True,
    ),
    _rule(
        "follow_up",
        "more",
        r"\b(?:tell me more|more about (?:that|it|this)|go on|continue|keep going|more detail|"
        r"anything else|what else|another one|another \w+|what(?: comes)? next|then what)\b|"
        r"^something \w+$",
        needs_previous=True,
    ),
    _rule(
        "follow_up",
        "again",
        r"\b(?:repeat|say (?:that|it|this)|one more time|"
        r"didn't (?:get|catch|understand) (?:that|it)|"
        r"what did you say|come again)\b",
        needs_previous=True,
    ),
    _rule(
        "follow_up",
        "sure",
        r"\b(?:are you (?:sure|certain)|how do you know|that can't be|is that (?:true|right|"
        r"really|correct))\b",
        needs_previous=True,
    ),
    _rule(
        "follow_up",
        "change it",
        r"^(?:make|keep|put) it\b|\b(?:shorter|longer|simpler|funnier|cheaper|which (?:one|of))\b|"
        r"^(?:a bit|not with|without|divided|times|plus|minus)\b",
        needs_previous=True,
    ),
    _rule(
        "follow_up",
        "too",
        r"^(?:do|does|is|are|can|did) .*\b(?:too|as well|also|either)$|"
        r"^i (?:don't|do not|didn't) (?:understand|get it|follow)",
        needs_previous=True,
    ),
    _rule(
        "follow_up",
        "which one",
        r"^(?:(?:no|yes|oh|just) )*(?:the|my|that) "
        r"(?:one (?:for|with|at|of) .+|(?:\w+ ){1,4}ones?)$",
        needs_previous=True,
    ),
    _rule(
        "follow_up",
        "refers back",
        r"^(?:when|where|how|who|what|is|was|does|did|can|are|were|could|should) "
        r"(?:\w+ ){0,2}(?:he|she|it|they|him|her|them|that|there|those)\b(?!.* (?:of|in|the|to) )",
        needs_previous=True,
    ),
    _rule(
        "social",
        "statement",
        rf"^{_NO_QUESTION}(?:the|my|our|we|we're|we've|they|they're|he|he's|she|she's|it's|it was|"
        r"you|this|"
        r"everyone|everybody|nobody|i've|i'd rather|i'll|sounds|looks|"
        r"i (?!want|need|wonder|would like|am wondering|have a question))\b",
    ),
    _rule(
        "question",
        "wants to know",
        r"^(?:any|got any|i (?:want|need|would like) to (?:know|understand|learn|hear)|"
        r"i(?: am|'m)? wonder(?:ing)?|i have a question)\b",
    ),
    _rule(
        "question",
        "asks",
        rf"{_PLEASE}(?:who|what|which|when|where|why|how|whose|what's|who's|where's|explain|define|"
        r"describe|compare|summari[sz]e|translate|recommend|suggest|write|plan|make up|tell me|"
        r"give me|help me|in which|do you know|does|did|do (?!you\b)|"
        r"is (?!that\b)|are (?!you\b)|was|"
        r"were|should|can (?!you\b|we\b)|could (?!you\b)|would (?!you\b)|will (?!you\b))\b",
    ),
    _rule("question", "asks in the end", _QUESTION_INSIDE),
)


def normalised(text: str) -> str:
    """Give the words of ``text`` in lower case, without punctuation or hesitation."""
    plain = text.lower().replace("’", "'")
    plain = re.sub(r"[^\w' ]", " ", plain)
    plain = re.sub(r"\b(?:um+|uh|er+|ah)\b(?! huh)", " ", plain)
    return " ".join(plain.split())


def matching_rule(words: str, has_previous: bool) -> Rule | None:
    """Give the first rule that recognises ``words`` (normalised), or None."""
    for rule in RULES:
        if (has_previous or not rule.needs_previous) and rule.pattern.search(words):
            # After an answer, "times thirteen" or "and in rome" goes on with it.
            if has_previous and rule.kind == "tool" and _continues(words):
                continue
            return rule
    return None


_WANTS_MORE = re.compile(
    r"(?:^|\b)(?:a|an|the|of|in|to|for|and|or|is|are|was|my|your|with|from|at|on|that|if|than|"
    r"as|its|some|very)$"
)
FRAGMENT_WORDS = 4
"""Longer ones say enough to be thought about, though their end is missing."""


def is_fragment(words: str) -> bool:
    """Whether ``words`` are a few that end in the middle: what a mishearing leaves.

    Only for what no rule recognises.
    """
    return len(words.split()) <= FRAGMENT_WORDS and _WANTS_MORE.search(words) is not None


def _continues(words: str) -> bool:
    return bool(re.match(r"(?:and|divided by|times|plus|minus|what about|how about)\b", words))
