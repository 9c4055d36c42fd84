"""What the user's explicit feedback asks of the agent's traits: "shorter, please", "stop joking".

Only what is said to the agent about its manner counts; a request about something else ("a
shorter route", "tell me about jokes") does not. A firm "stop" moves a trait to its bound.
"""

# ruff: noqa: E501 - a rule is easier to read on one line

from __future__ import annotations

import re
from dataclasses import dataclass

LITTLE, SOME, ALL = 0.1, 0.2, 1.0
MAX_WORDS = 14
"""Longer sentences are about something else."""


@dataclass(frozen=True, slots=True)
class Wish:
    """Move ``trait`` by ``by`` (0–1, signed) because the user said ``words``."""

    trait: str
    by: float
    words: str


@dataclass(frozen=True, slots=True)
class _Rule:
    pattern: re.Pattern[str]
    trait: str
    sign: int


_LEAD = (
    r"^(?:(?:ok|okay|well|hey|oh|no|and|but|so|from now on|in future|could you|can you|would you|"
    r"will you|i want you to|i'd like you to|i would like you to|you (?:should|could|can)|"
    r"(?:just )?(?:try to|try and)|please|just|a bit|a little|much|try|be|make it|keep it|"
    r"give me|answer|talk|speak|"
    r"your answers? (?:should be|are|is)|that (?:is|was)|that's|you are|you're|i prefer|"
    r"i like it when you(?: are|'re)?|way|far|even|always|\w{2,12}(?=,))[\s,]+)*"
)
_TAIL = r"(?:[\s,]+(?:please|answers?|with me|now|from now on|then|thanks|thank you|next time|when you (?:talk|speak|answer)(?: to me)?|okay|ok|again|at all|all the time|so much))*[.!?\s]*$"
_STOP = r"(?:stop(?: with)?(?: the)?|no more|quit|enough(?: of| with)?(?: the| your)?|don't|do not|never|cut(?: out)?(?: the)?|without(?: the| your)?|enough)\s+"
_SO = r"(?:be\s+)?(?:not\s+)?(?:so|that|too)\s+"


_REMARK = (
    r"(?!(?:that|this|it|you)(?:'s|'re| is| was| are| were) (?!(?:\w+ )?(?:too|so|not|way)\b))"
    r"(?!(?:(?:that|this|it)(?:'s| is| was) )?(?:(?:way|much|far|a bit|a little) )*(?:too|so) (?:cold|sweet|nice)\b)"
)
"""A plain "that was short" tells nothing; "that was too short" does. What is too cold or too sweet
is the coffee."""


def _rule(pattern: str, trait: str, sign: int) -> _Rule:
    return _Rule(
        re.compile(_REMARK + _LEAD + r"(?:" + pattern + r")" + _TAIL, re.IGNORECASE), trait, sign
    )


_RULES = (
    _rule(_STOP + r"(?:be(?:ing)? (?:so |too )?(?:short|brief|terse)|(?:short|brief) answers)", "verbosity", 1),
    _rule(r"no (?:short|brief|one word) answers", "verbosity", 1),
    _rule(r"no long answers", "verbosity", -1),
    _rule(r"(?:shorter|briefer|more (?:brief|concise|to the point)|less (?:detail(?:ed|s)?|wordy|talkative)|brief|concise|short|in short|"
          r"in (?:a|one) (?:word|(?:short )?sentence)|get to the point|come to the point|to the point|keep it (?:short|brief)|"
          r"(?:too|so) (?:long|wordy|talkative|chatty|much detail)|(?:you )?talk(?:ing)? (?:(?:way |far )?(?:so much|too much)|less)|(?:ramble|rambling|babbling|babble)|fewer words|short answers|(?:just |only )?the facts(?: only)?|(?:keep )?(?:your answers?|it|them)? ?(?:under|to|within|below|in) (?:one|two|three|a few|\d) (?:sentences?|words?)|skip the details|spare me the details)",
          "verbosity", -1),
    _rule(_STOP + r"(?:talking so much|rambling|babbling|going on(?: and on)?|explain(?:ing)? everything|long answers|ramble)", "verbosity", -1),
    _rule(r"(?:longer|more detail(?:ed|s)?|in (?:more|greater) detail|say more|tell me more each time|elaborate(?: more)?|more (?:thorough|elaborate|talkative)|"
          r"(?:too|so) (?:short|brief)|explain more|(?:less|not so) (?:brief|short)|thorough|detailed)", "verbosity", 1),
    _rule(_STOP + r"(?:jok(?:e|es|ing)(?: around)?|being funny|be(?:ing)? silly|kidding(?: around)?|the jokes|your jokes|humou?r|mak(?:e|ing) jokes|tell(?:ing)? (?:me )?jokes|fool(?:ing)? around)", "humor", -1),
    _rule(r"(?:more serious|serious|less (?:funny|silly|jokes|humou?r|joking)|fewer jokes|too (?:silly|funny|many jokes)|not funny)", "humor", -1),
    _rule(r"(?:funnier|more (?:funny|fun|jokes|humou?r|humorous|playful)|(?:tell|make|crack)(?: me)? more jokes|joke more|lighten up|too serious|less serious|so serious|be funny|cheekier|more witty|wittier|a sense of humou?r)", "humor", 1),
    _rule(_STOP + r"be(?:ing)? (?:so |too )?serious", "humor", 1),
    _rule(r"(?:less formal|more casual(?:ly)?|casual(?:ly)?|more relaxed|informal(?:ly)?|(?:to me )?like (?:a |my )?(?:friend|buddy|mate)|" + _SO + r"formal(?:ly)?|(?:too|so) (?:formal|stiff)|loosen up)", "formality", -1),
    _rule(_STOP + r"(?:be(?:ing)? (?:so |too )?(?:formal|stiff|polite)|calling me (?:sir|madam|ma'am))", "formality", -1),
    _rule(r"(?:more formal(?:ly)?|formal(?:ly)?|less (?:casual|familiar)|more polite(?:ly)?|(?:too|so) (?:casual|familiar))", "formality", 1),
    _rule(r"(?:(?:nicer|kinder|warmer|friendlier|gentler|be (?:nice|kind|friendly|gentle))(?: (?:to|with) me)?|cheer up|(?:sound )?more (?:friendly|kind|warm|gentle|caring|cheerful|enthusiastic|positive|encouraging|empathetic)|(?:too|so) (?:cold|harsh|rude|unfriendly)|less (?:cold|harsh|rude))", "warmth", 1),
    _rule(r"(?:less (?:friendly|cheerful|gushing|enthusiastic|sweet)|more (?:matter of fact|neutral|sober)|too (?:cheerful|sweet|nice|friendly|enthusiastic|gushing)|(?:so|too) gushing)", "warmth", -1),
    _rule(_STOP + r"(?:flatter(?:ing|y)?(?: me)?|be(?:ing)? (?:so )?(?:cheerful|sweet|nice)|compliment(?:ing|s)?(?: me)?)", "warmth", -1),
    _rule(r"(?:only answer (?:what i ask|my questions?|the question)|just answer (?:my|the) questions?|less pushy|(?:too|so) pushy|fewer suggestions|(?:ask (?:me )?)?fewer questions|less questions)", "proactivity", -1),
    _rule(_STOP + r"(?:suggest(?:ing|ions)?(?: things)?|offer(?:ing)?(?: me)?(?: help| things)?|ask(?:ing)? (?:me )?(?:so many )?questions|mak(?:e|ing) suggestions|giv(?:e|ing)(?: me)? (?:advice|suggestions)|recommend(?:ing|ations)?)", "proactivity", -1),
    _rule(r"(?:more (?:proactive|helpful|suggestions)|suggest (?:more|things)(?: to me)?|(?:give me )?more suggestions|make (?:more )?suggestions|offer more help)", "proactivity", 1),
    _rule(r"(?:more (?:direct|honest|decisive|frank)|direct|decisive|(?:too|so) (?:vague|hesitant)|less (?:vague|hesitant)|say what you think|be (?:honest|frank|straight)(?: with me)?|tell it (?:to me )?straight)", "assertiveness", 1),
    _rule(_STOP + r"(?:hedg(?:e|ing)|sugar ?coat(?:ing)?(?: it| things)?|be(?:ing)? (?:so )?vague|apologi[sz](?:e|ing)|beat(?:ing)? around the bush)", "assertiveness", 1),
    _rule(r"(?:less (?:bossy|direct|pushy with opinions|blunt)|(?:too|so) (?:bossy|blunt|sure of yourself)|more (?:careful|cautious|modest|humble))", "assertiveness", -1),
    _rule(_STOP + r"(?:be(?:ing)? (?:so )?(?:bossy|blunt)|tell(?:ing)? me what to do|lectur(?:e|ing)(?: me)?|patroni[sz](?:e|ing)(?: me)?)", "assertiveness", -1),
)  # fmt: skip
_FIRM = re.compile(
    r"^(?!.*\b(?:so|too|as|not \w+ at all)\b).*\b(?:stop|no more|never|don't|do not|quit|enough|cut|at all)\b",
    re.IGNORECASE,
)
_SLIGHT = re.compile(r"\b(?:a bit|a little|slightly|somewhat|a tad)\b", re.IGNORECASE)
_DENIED = re.compile(r"\b(?:don't|do not|not|never|no need to)\s+(?:\w+\s+){0,2}?"
                     r"(?:shorter|longer|funnier|nicer|more|less)\b", re.IGNORECASE)  # fmt: skip
_SENTENCES = re.compile(r"(?<=[.!?;])\s+")


def wishes(said: str) -> list[Wish]:
    """Read what the user said; usually nothing in it is about the agent's manner."""
    found: dict[str, Wish] = {}
    for sentence in _SENTENCES.split(said.replace("’", "'").strip()):
        if len(sentence.split()) > MAX_WORDS or _DENIED.search(sentence):
            continue
        # "shorter and less formal": each half is a wish of its own
        for part in (sentence, *re.split(r"\s+and\s+|,\s*", sentence)):
            for rule in _RULES:
                if rule.trait not in found and rule.pattern.match(part.strip()):
                    by = LITTLE if _SLIGHT.search(part) else ALL if _FIRM.match(part) else SOME
                    found[rule.trait] = Wish(rule.trait, rule.sign * by, sentence.strip())
                    break
    return list(found.values())
