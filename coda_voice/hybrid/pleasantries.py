"""Greetings, thanks and backchannels: what needs no answer but Moshi's, in every mode."""

from __future__ import annotations

import re

_GREETING = (
    r"hi|hello|hey|good (?:morning|evening|afternoon|night|day)|welcome(?: back)?|bye(?: bye)?|"
    r"goodbye|(?:see|catch|talk to) you(?: (?:later|soon|around|tomorrow|then))?|take care|"
    r"have a (?:nice|good) (?:day|evening|one|night|weekend)|nice to (?:meet|see|hear) you|"
    r"long time no (?:see|hear)|how are you(?: doing)?(?: today)?|how have you been|"
    r"how's (?:it going|your day|everything)|how do you do|what's up"
)
_THANKS = (
    r"thanks?|thank you|cheers|much appreciated|you're welcome|no (?:problem|worries)|my pleasure|"
    r"never mind|you too|same here|sorry|(?:excuse|pardon) me|please|congratulations|well done|"
    r"good job|happy (?:birthday|new year|holidays)|merry christmas"
)
_BACKCHANNEL = (
    r"yes|yeah|yep|yup|no|nope|nah|ok|okay|alright|all right|right|sure|of course|exactly|indeed|"
    r"absolutely|definitely|maybe|not really|i see|i know|i (?:don't|do not) know|i'm not sure|"
    r"i guess(?: so)?|i (?:think|hope) so|you know|let me (?:think|see)|got it|mhm|mm(?: h?mm)?|"
    r"u[hm] huh|hm+|huh|oh|wow|really|no way|well|cool|great|nice|fine|good|lovely|perfect|"
    r"wonderful|awesome|amazing|funny|interesting|fair enough|"
    r"good (?:to know|for you|idea|point|one)|makes sense|"
    r"(?:sounds|looks) (?:good|great|nice|fun)|too bad|not bad|my (?:god|goodness)|that's all|"
    r"(?:that's|that is|it's|you're) (?:so |very |really |too )?(?:right|great|nice|good|cool|"
    r"true|fine|okay|ok|funny|lovely|sweet|kind|amazing|interesting|awesome|sad|the best)"
)
_TO_WHOM = (
    r"there|coda|again|everyone|my friend|to (?:you|me)|of you|so much|very much|a lot|too|then|"
    r"now|for (?:now|that|this|everything|asking|the help|your help|your time|telling me|"
    r"letting me know)"
)
_ONE = rf"(?:{_GREETING}|{_THANKS}|{_BACKCHANNEL})(?: (?:{_TO_WHOM}))*"
_PLEASANTRY = re.compile(rf"{_ONE}(?: {_ONE})*")


MAX_WORDS = 12
"""More are no pleasantry; without a limit, "thank you too" over and over took for ever."""


def is_pleasantry(words: str) -> bool:
    """Whether ``words`` (normalised) are a greeting, thanks or a backchannel and nothing else."""
    return len(words.split()) <= MAX_WORDS and _PLEASANTRY.fullmatch(words) is not None
