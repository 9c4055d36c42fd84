"""Who tells two things of himself says "I" once: "I live in Berlin and work in Potsdam".

The rules for facts want it twice, or the second thing is taken for a part of the first.
"""

from __future__ import annotations

import re

_ADVERBS = r"(?:(?:also|now|really|still|always|just|absolutely|currently) )*"
_NO_INFINITIVE = r"(?:don't|do not|dont|can't|cannot|am|no longer|hate|dislike)"
_VERB = (
    r"(?:live (?:in|at|near|on|with)|work (?:in|at|for|as|with|from)|like|prefer|enjoy|speak|have|"
    r"love (?!songs?\b|stor|letters?\b|films?\b|movies?\b)|own|play|drive (?:an?|the)|"
    r"moved (?:to|from)|bought|sold|quit|got|study|eat|drink|want|need)"
)
_SECOND = re.compile(
    r"(?<!\blive)(?<!\bwork)(?P<link>,? (?:and|but) |, )"
    rf"(?={_ADVERBS}(?:(?P<sure>{_NO_INFINITIVE})|{_VERB})\b ?\w)",
    re.IGNORECASE,
)
_FIRST = re.compile(
    r".*(?:^|[\s,;])(?P<who>i|we)(?:'m|'ve|'re)?\s(?P<clause>.+)", re.IGNORECASE | re.DOTALL
)
_ANOTHER = re.compile(
    r"\b(?:who|that|which|whose|would|will|could|can|might|may|should|must|if|when|while|where|"
    r"because|you|he|she|it|they|people|everyone|someone|let|want|wish|hope|used)\b",
    re.IGNORECASE,
)
"""Who else is spoken of then, or what is not so."""
_INFINITIVE = re.compile(
    r"\b(?:like|love|hate|prefer|need|try|trying|plan|planning|have|got|going|learn|learning|decided|"
    r"able|allowed|started) to \w|^(?!moved\b|relocated\b)(?:(?!allergic\b|married\b)\w+ )*to \w+$",
    re.IGNORECASE,
)
"""Of "to dance and play the piano" both are what one likes."""
_RUN_TOGETHER = re.compile(
    r"(?P<home>\b(?:i|we)(?:'m|'re| am| are)? liv(?:e|ing) in "
    r"(?:(?!(?:and|but|or|an?|the)\b)\w+ ){1,2})"
    r"(?=work(?:ing)? (?:in|at|for|as)\b)",
    re.IGNORECASE,
)
"""An "and" is easily not heard: "I live in Berlin work in Potsdam"."""
_BOTH = re.compile(
    r"(?P<who>\b(?:i|we)(?:'m|'re| am| are)?) (?P<one>live|living|work|working) and "
    r"(?P<other>live|living|work|working) "
    r"(?P<place>(?:in|near) (?!the same\b)[\w'-]+(?: [\w'-]+)??)"
    r"(?=$|[.!?;,]|\s+(?:and|but|with|for|as|now)\b)",
    re.IGNORECASE,
)
"""Where one lives and works: "I live and work in Berlin"."""


def in_full(sentence: str) -> str:
    """Give ``sentence`` with its "I" before each verb: "I like tea and I hate coffee"."""
    sentence = _RUN_TOGETHER.sub(r"\g<home>and ", sentence)
    sentence = _BOTH.sub(r"\g<who> \g<one> \g<place> and \g<who> \g<other> \g<place>", sentence)
    told, at = "", 0
    for second in _SECOND.finditer(sentence):
        told += sentence[at : second.start("link")]
        at = second.end("link")
        first = _FIRST.fullmatch(told)
        told += second["link"]
        if first and _goes_on(first["clause"], second):
            told += f"{first['who']} "
    return told + sentence[at:]


def _goes_on(clause: str, second: re.Match[str]) -> bool:
    """Whether a verb behind ``clause`` has the same subject, and is not a part of it."""
    if _ANOTHER.search(clause):
        return False
    return second["sure"] is not None or not _INFINITIVE.search(clause)
