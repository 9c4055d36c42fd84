"""Whether a fact that somebody else read from a turn really stands in it, word for word.

An LLM that distils facts invents some: words that were never said, another person's facts, "likes"
where "does not like" was said. So a fact comes with the piece of the turn it was read from, and is
taken only where that piece was said, by the user, of the user, and holds every word of the fact but
the glue. Made for English; a fact that cannot be checked is refused, and the turn stays as it is.
"""

from __future__ import annotations

import re

from coda_memory.corrections import as_meant
from coda_memory.doubt import sentences, takes_back, unsure

MAX_WORDS = 30
"""Of a fact, and of the piece of the turn it stands in."""
_WORDS = re.compile(r"[^\W_]+(?:'[a-z]+)?")


def _set_of(words: str) -> frozenset[str]:
    return frozenset(words.split())


_FIRST_PERSON = _set_of("i i'm i've i'd i'll im ive my mine me myself we we're we've our ours us")
_GLUE = _set_of(
    "the user user's a an and or of in on at to for from by with as about their they them "
    "theirs themselves his her its it is are was were be been being am has have had do "
    "does did not no longer any more anymore now currently who that which there this "
    "these those i my me mine we our us"
)
_SAME = (
    "like love enjoy adore fond keen into fan favourite favorite prefer best dislike hate detest "
    "loathe stand bear",
    "live home move relocate settle base stay reside",
    "work job employ profession",
    "own get got adopt buy bought keep",
    "call name",
    "learn study",
    "age old year turn",
    "allergic allergy",
    "birthday born",
    "eat eating food",
    "quit stop gave give",
)
"""Words that say the same of a user; how (likes, does not like) is looked at apart."""
_NEGATIVE = _set_of(
    "not no never none neither nor without dislike dislikes disliked hate hates hated "
    "detest detests loathe loathes quit quits stopped stops stop avoids avoid cannot dont "
    "cant gave gives"
)
_PEOPLE = _set_of(
    "brother sister friend wife husband partner mother mum mom father dad son daughter "
    "boss neighbour neighbor colleague boyfriend girlfriend uncle aunt cousin grandmother "
    "grandma grandfather grandpa parents children child kids kid flatmate roommate "
    "teacher doctor he she"
)
_TOGETHER = re.compile(r"\bmy \w+ and (?:i|me)\b|\b(?:i|me) and my \w+\b|\bwith my \w+\b")


def may_tell_of_the_user(turn: str) -> bool:
    """Tell whether the user speaks of himself at all: else nothing in it can be a fact."""
    return not _FIRST_PERSON.isdisjoint(_words(turn))


def flaw(fact: str, quote: str, turn: str) -> str | None:
    """Say why ``fact`` does not stand in ``turn``; None where it does.

    quote: the piece of the turn that is said to hold it.
    """
    told, said = _words(fact), _words(quote)
    if told[:1] != ["the"] or told[1:2] not in (["user"], ["user's"]) or len(told) < 4:
        return 'it is no sentence that begins with "The user"'
    if "\n" in fact.strip() or max(len(told), len(said)) > MAX_WORDS:
        return f"it is longer than one sentence of {MAX_WORDS} words"
    context = _context(said, turn)
    if context is None:
        return "its quote was not said"
    if _context(said, _last_meant(turn)) is None:
        return "it was taken back"
    if context.endswith("?") or unsure(context):
        return "it was asked, wished or told of somebody, not said"
    if _FIRST_PERSON.isdisjoint(said):
        return "its quote does not speak of the user"
    if _negative(told) != _negative(said):
        return "it denies what was said, or says what was denied"
    others = (_PEOPLE & {word.removesuffix("'s") for word in said}) - set(told)
    others -= {word.removesuffix("'s") for word in told}
    if others and not _TOGETHER.search(" ".join(said)):
        return f"it leaves out of whom it was said ({', '.join(sorted(others))})"
    stems = {_stem(word) for word in said}
    meant = {_stem(word) for word in _words(" ".join(as_meant(turn)))}
    for word in told:
        if word not in _GLUE and _alike(_stem(word)).isdisjoint(stems):
            return f"{word!r} was not said"
        if word not in _GLUE and _alike(_stem(word)).isdisjoint(meant):
            return f"{word!r} was taken back"
    return None


def _context(said: list[str], turn: str) -> str | None:
    """Give the sentences of the turn that hold ``said``; None where none do."""
    spans: list[tuple[int, str]] = []
    words: list[str] = []
    for sentence in sentences(turn):
        words += _words(sentence)
        spans.append((len(words), sentence))
    for start in range(len(words) - len(said) + 1 if said else 0):
        if words[start : start + len(said)] == said:
            first = next(i for i, (end, _) in enumerate(spans) if end > start)
            last = next(i for i, (end, _) in enumerate(spans) if end >= start + len(said))
            return " ".join(sentence for _, sentence in spans[first : last + 1])
    return None


def _last_meant(turn: str) -> str:
    """Give what was said after the last sentence that takes all before it back."""
    said = sentences(turn)
    ends = [at for at, sentence in enumerate(said, 1) if takes_back(sentence)]
    return " ".join(said[ends[-1] if ends else 0 :])


def _negative(words: list[str]) -> bool:
    return any(word in _NEGATIVE or word.endswith("n't") for word in words)


def _words(text: str) -> list[str]:
    return _WORDS.findall(text.casefold().replace("’", "'"))


def _stem(word: str) -> str:
    word = word.removesuffix("'s")
    stem = re.sub(r"(?:ing|ed|es|s|e)$", "", word) if len(word) > 3 else word
    return stem[:-1] + "y" if len(stem) > 3 and stem.endswith("i") else stem


def _alike(stem: str) -> set[str]:
    """Give ``stem`` and those that say the same."""
    return {stem}.union(*(group for group in _GROUPS if stem in group))


_GROUPS = tuple(frozenset(_stem(word) for word in group.split()) for group in _SAME)
