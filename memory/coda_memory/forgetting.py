"""What a user asks to have forgotten, in words: "forget that I like tea", "forget my address".

What is forgotten is what was asked and no more: the facts that say so, and the turns that hold
them, but not what else was read from these turns. Words that fit nothing forget nothing.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from coda_memory.asking import answers, asked_subjects
from coda_memory.coordination import in_full
from coda_memory.distill import fact_as_ruled
from coda_memory.doubt import request_to_forget, sentences
from coda_memory.fact_finder import facts_in, one_thing, subject_key, third_person
from coda_memory.fact_rules import RULES, Fact
from coda_memory.quoting import once_said
from coda_memory.record import Memory

_ABOUT = re.compile(
    r"(?:(?:everything|anything|all|what) (?:(?:that )?(?:you (?:know|remember)|i (?:just |ever )?"
    r"(?:said|told you|mentioned)) )?)?(?:about|on) ",
    re.IGNORECASE,
)
_THAT = re.compile(r"(?:(?:the fact )?that |what i said that )", re.IGNORECASE)
_REMEMBER = re.compile(r"^.*?\bremember (?:that )?", re.IGNORECASE)
_JUST_SAID = re.compile(r"what i (?:just )?(?:said|told you)(?: just now)?", re.IGNORECASE)
_WHOSE = re.compile(r"(?:my|our) (?P<whose>.+?)(?:'s|s'?)? (?P<what>name|birthday)", re.IGNORECASE)
_NOBODY = frozenset(
    ("me", "us", "it", "that", "this", "him", "her", "them", "you", "all", "everything")
)
LONGEST = 400
"""Characters of a request; more is a story."""
FEW_WORDS = 3
"""Fewer stand by chance in what says something else."""
_NO_WORDS = frozenset(("a", "an", "the"))
_DENIALS = frozenset(("not", "no", "never"))
_SUBJECTS = tuple(dict.fromkeys(rule.subject for rule in RULES if "{" in rule.subject))


@dataclass(frozen=True, slots=True)
class Chosen:
    """Memories to forget, and what they say of the user."""

    ids: frozenset[str] = frozenset()
    texts: tuple[str, ...] = ()


def without_requests(turn: str) -> str:
    """Give a turn without what asks to forget: kept, it would tell what is to be forgotten."""
    said = sentences(turn)
    kept = [sentence for sentence in said if not request_to_forget(sentence)]
    return turn if len(kept) == len(said) else " ".join(kept)


def to_forget(what: str, memories: Sequence[Memory]) -> Chosen:
    """Choose what ``what`` names: what is said behind "forget", or a fact in the third person."""
    what = " ".join(what[:LONGEST].replace("’", "'").split()).rstrip(" .!?")
    if _JUST_SAID.fullmatch(what):
        turns = [memory for memory in memories if memory.kind == "turn"]
        return _with_turns({m.id for m in turns[-1:]}, memories, lambda fact: True)
    about = _ABOUT.match(what)
    what = what[about.end() :] if about else _THAT.sub("", what, count=1)
    known = _known(memories)
    for fits in _readings(what, known, about=about is not None):
        if found := {m.id for m in memories if fits(m)}:
            return _with_turns(found, memories, fits)
    return Chosen()


_Fits = Callable[[Memory], bool]


def _readings(what: str, known: Mapping[str, Sequence[Fact]], *, about: bool) -> Iterable[_Fits]:
    """Give what the words may mean, the most exact first."""
    ruled = fact_as_ruled(what)
    facts = [ruled] if ruled else facts_in(what)
    if facts and not about:
        yield lambda memory: any(_same(fact, one) for fact in facts for one in known[memory.id])
    key = subject_key(what)
    if not key or key in _NOBODY:
        return
    subjects = _subjects(what, key)
    yield lambda memory: any(subjects.fullmatch(one.subject) for one in known[memory.id])
    if asked := asked_subjects(what):
        yield lambda memory: answers([one.subject for one in known[memory.id]], asked)
    if about or (not facts and len(what.split()) >= FEW_WORDS):
        spoken = {key} if about else {_plain(what), _plain(third_person(what))}
        mention = re.compile(rf"\b(?:{'|'.join(map(re.escape, spoken))})(?:s|es|ed|ing)?\b")
        yield lambda memory: mention.search(_plain(memory.text)) is not None


def _known(memories: Sequence[Memory]) -> dict[str, Sequence[Fact]]:
    """Give what each memory says of the user; the same words are read once."""
    read: dict[tuple[str, str, str | None], Sequence[Fact]] = {}
    for memory in memories:
        said = (memory.kind, memory.text, memory.subject)
        if said not in read:
            read[said] = _facts(memory)
    return {m.id: read[m.kind, m.text, m.subject] for m in memories}


def _facts(memory: Memory) -> Sequence[Fact]:
    """Give what a memory says of the user, whether it was believed or not."""
    if memory.kind == "turn":
        said = [in_full(one.rstrip("?")) for one in sentences(memory.text)]
        said += [_REMEMBER.sub("", one) for one in said if _REMEMBER.search(one)]
        return [fact for sentence in said for fact in facts_in(sentence)]
    if memory.subject is not None:
        return [Fact(memory.text, memory.subject, memory.kind, memory.importance)]
    ruled = fact_as_ruled(memory.text)
    return [ruled] if ruled else []


def _same(asked: Fact, known: Fact) -> bool:
    words, said = set(_words(asked.text)), set(_words(known.text))
    return (
        asked.subject == known.subject
        and words - _NO_WORDS <= said
        and words.isdisjoint(_DENIALS) == said.isdisjoint(_DENIALS)
    )


def _subjects(what: str, key: str) -> re.Pattern[str]:
    """Give the subjects on which something is said of a thing: "my dog" has a name as well."""
    if whose := _WHOSE.fullmatch(what):
        return re.compile(re.escape(f"{whose['what']} of {subject_key(whose['whose'])}".lower()))
    things = "|".join(re.escape(thing) for thing in {key, one_thing(key)})
    patterns = [rf"(?:{things})"]
    for subject in _SUBJECTS:
        thing = "{what}" if "{what}" in subject else "{key}"
        pattern = re.escape(subject).replace(re.escape(thing), rf"(?:{things})")
        patterns.append(re.sub(r"\\\{\w+\\\}", ".+", pattern))
    return re.compile("|".join(patterns))


def _with_turns(found: set[str], memories: Sequence[Memory], fits: _Fits) -> Chosen:
    """Add the turns that facts came from, and of what came from these what says the same."""
    turns = {m.source_id or m.id for m in memories if m.id in found}
    also = {m.id for m in memories if m.source_id in turns and fits(m)}
    ids = found | turns | also
    facts = [m for m in memories if m.id in ids and m.kind != "turn"]
    told = [m.text for m in facts if m.valid] or [m.text for m in facts]
    told = told or [once_said(m.text) for m in memories if m.id in ids]
    return Chosen(frozenset(m.id for m in memories if m.id in ids), tuple(dict.fromkeys(told)))


def _words(text: str) -> list[str]:
    return re.findall(r"\w+", text.casefold())


def _plain(text: str) -> str:
    return " ".join(_words(text))
