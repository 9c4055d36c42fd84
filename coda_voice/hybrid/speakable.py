"""Turn what an LLM writes into sentences that can be spoken, while it is still writing.

Markdown, links, code and emoji go; numbers and units become words; a sentence is given as
soon as it is complete, and the first one in clauses: what is said goes on without a gap, and
the user need not wait for a full stop. What an inline ``<think>`` block holds is never spoken.
"""

from __future__ import annotations

import html
import re
import unicodedata
from collections.abc import Iterator

from coda_voice.hybrid.spoken_numbers import with_numbers_as_words
from coda_voice.hybrid.written_forms import written_out
from coda_voice.hybrid.written_formulas import plain_formulas

MAX_SENTENCE = 240
"""Characters after which a sentence is broken at a comma, or at a space."""

MAX_PIECE = 2 * MAX_SENTENCE
"""Characters that the rules read at once: their time grows with the square."""

CLAUSE_WORDS = 3
"""So many words before a comma are enough to begin an answer with."""
PHRASE_WORDS = 6
"""The same before a conjunction without a comma."""

_ABBREVIATIONS = {
    "mr", "mrs", "ms", "dr", "prof", "st", "vs", "etc", "e.g", "i.e", "approx", "a.m", "p.m",
    "u.s", "jr", "sr", "inc", "gen", "sen", "gov", "capt", "col", "lt", "sgt", "rev", "al",
}  # fmt: skip
_BEFORE_A_NUMBER = {
    "no", "nr", "fig", "vol", "ch", "art", "jan", "feb", "mar", "apr", "jun", "jul", "aug", "sep",
    "sept", "oct", "nov", "dec",
}  # fmt: skip
"""Abbreviations there; else words that may end a sentence: "He said no." """
_INITIALS = re.compile(r"(?:[a-z]{1,2}\.)+[a-z]{1,2}")
"""D.C., Ph.D.: they end no sentence that goes on with a small letter."""
_END = re.compile(r"([.!?…]+[\"')\]*_]*)(\s+)|\n+|;\s+")
_CLAUSE = re.compile(
    r"(?<=[a-z])(?:(,)\s+(?=[a-z])|"
    r"\s+(?=(?:and|but|because|which|while|although|so|who|where|when)\s))"
)
_MARKUP = re.compile(r"[*_`#|<>\\\[\]()\"“”]|https?:|^\s*-")
_FENCE = re.compile(r"```.*?(?:```|\Z)", re.DOTALL)
_THINK = re.compile(r"<think>.*?(?:</think>|\Z)", re.DOTALL)
_ITEM = re.compile(r"\s*(\d{1,2})[.)]\s+")
_REWRITES = (
    (re.compile(r"<\|[^|<>]{1,40}\|>"), ""),  # a token of the chat template, leaked
    (
        re.compile(r"&(?:#\d{2,6}|#x[\da-fA-F]{2,5}|[a-zA-Z]{2,8});"),
        lambda entity: html.unescape(entity[0]),
    ),
    (re.compile(r"!\[([^\]]*)\]\([^)]*\)"), r"\1"),
    (re.compile(r"\[([^\]]+)\]\([^)]*\)"), r"\1"),
    (re.compile(r"https?://(?:www\.)?([\w.-]*\w)(?:[:/?#]\S*)?"), r"\1"),
    (re.compile(r"^\s{0,3}#{1,6}\s+", re.MULTILINE), ""),
    (re.compile(r"^\s*[-*+•]\s+(?:\[[ xX]\]\s+)?", re.MULTILINE), ""),
    (re.compile(r"(?:(?<=[.,;:!?)])|(?<=[a-z]{3})|\s)\[\d{1,3}\](?=[\s.,;:!?\[]|$)"), ""),
    (re.compile(r"^\s*>\s?", re.MULTILINE), ""),
    (re.compile(r"^\s*[-*_=|: ]{3,}\s*$", re.MULTILINE), ""),
    (re.compile(r"(\*\*|__|~~|`)"), ""),
    (re.compile(r"(?<![\w*])\*(?=\S)|(?<=[^\s*])\*(?![\w*])"), ""),
    (re.compile(r"(?<!\w)_(?=\w)|(?<=\w)_(?!\w)"), ""),
    (re.compile(r"\|[ \t]*\n\s*(?=\|)"), "; "),
    (re.compile(r"^[ \t]*\||\|[ \t]*$|(?<=; )\|", re.MULTILINE), " "),
    (re.compile(r"[ \t]*\|[ \t]*"), ", "),
    (re.compile(r"</?[a-zA-Z][^>]{0,80}>"), ""),
    (re.compile(r"\s*→\s*"), " to "),
    (re.compile(r"\s*&\s*"), " and "),
    (re.compile(r"≈|~(?=\d)"), "about "),
    (re.compile(r"\be\.g\.,?"), "for example"),
    (re.compile(r"\bi\.e\.,?"), "that is"),
    (re.compile(r"\betc\."), "and so on"),
    (re.compile(r"\bDr\.\s"), "Doctor "),
    (re.compile(r"\bProf\.\s"), "Professor "),
    (re.compile(r"\bSt\.\s(?=[A-Z])(?<!\w St\. )"), "Saint "),
    (re.compile(r"\bMr\.\s"), "Mister "),
    (re.compile(r"\bMrs\.\s"), "Missus "),
    (re.compile(r"\bvs\.?\s"), "versus "),
)


_WITHOUT_END = (
    (re.compile(r"[^\S\n]{2,}"), " "),
    (re.compile(r"(?: ?\n){3,}"), "\n\n"),
    (re.compile(r"\d{61,}"), lambda digits: f"a number of {len(digits[0])} digits"),
    (re.compile(r"[⁰¹²³⁴-⁹]{13,}"), lambda digits: f" to a power of {len(digits[0])} digits"),
    (re.compile(r"([^\w\s])\1{9,}"), r"\1\1\1"),
)
"""What nobody would listen to, and what takes the rules below a time that grows with its square."""


def speakable(text: str, items_before: int = 0) -> str:
    """Give ``text`` without markup, numbers as words, on one line; "" if nothing is left.

    ``items_before``: so many items of a list have been said; the next one's number is left out.
    """
    text = _FENCE.sub(" ", _THINK.sub(" ", text))
    for pattern, replacement in _WITHOUT_END:
        text = pattern.sub(replacement, text)
    text = _without_item_numbers(text, items_before)
    kept = " ".join(said for piece in _pieces(text) if (said := _spoken(piece)))
    return kept if any(c.isalnum() for c in kept) else ""


def _pieces(text: str) -> Iterator[str]:
    """Cut ``text`` where it may be cut at all, into pieces short enough for the rules."""
    while len(text) > MAX_PIECE:
        ends = (text.rfind(gap, 0, MAX_PIECE) for gap in ("\n", ". ", " "))
        end = next((at + 1 for at in ends if at > 0), MAX_PIECE)
        yield text[:end]
        text = text[end:]
    yield text


def _spoken(text: str) -> str:
    text = plain_formulas(text)
    for pattern, replacement in _REWRITES:
        text = pattern.sub(replacement, text)
    text = with_numbers_as_words(written_out(text))
    kept = "".join(
        c for c in text if unicodedata.category(c) not in ("So", "Sk", "Cs", "Co", "Cf", "Me")
    )
    kept = kept.replace("\ufe0f", "")  # what makes a sign an emoji
    kept = re.sub(r"\s+", " ", kept)
    return re.sub(r"\s+([,.!?;:])", r"\1", kept).strip(" ,;|*#_")


def _item_number(text: str, items_before: int) -> int | None:
    """The number of the list's item that ``text`` begins; None for a number that is said.

    A list counts: "7. Anything else?" is the answer to three plus four.
    """
    match = _ITEM.match(text)
    return int(match[1]) if match and int(match[1]) in (1, items_before + 1) else None


def _without_item_numbers(text: str, items_before: int) -> str:
    lines = text.split("\n")
    for at, line in enumerate(lines):
        if number := _item_number(line, items_before):
            lines[at], items_before = _ITEM.sub("", line), number
    return "\n".join(lines)


class SentenceStream:
    """Takes text in pieces, gives speakable sentences as they become complete.

    The first sentence comes in two pieces where it has a clause to begin with. What is given
    does not depend on how the text was cut.
    """

    def __init__(self) -> None:
        self._text = ""
        self._begun = False
        self._items = 0

    def feed(self, piece: str) -> list[str]:
        """Add ``piece``; give the sentences that it completes."""
        self._text += piece
        sentences: list[str] = []
        while (end := self._next_end()) is not None:
            written = self._text[:end].rstrip()
            sentence = speakable(written, self._items)
            self._items = _item_number(written, self._items) or self._items
            self._text = self._text[end:]
            if sentence:
                self._begun = True
                sentences.append(f"{sentence}," if written.endswith(",") else sentence)
        return sentences

    def flush(self) -> list[str]:
        """Give what is left, complete or not."""
        rest, self._text = speakable(self._text, self._items), ""
        return [rest] if rest else []

    def _next_end(self) -> int | None:
        """Where the first sentence ends, or None while that is not certain."""
        closed = self._drop_blocks()
        sentence = self._sentence_end(closed)
        clause = None if self._begun else self._clause_end(closed if sentence is None else sentence)
        return sentence if clause is None else clause

    def _clause_end(self, closed: int) -> int | None:
        """Where the first clause of the answer ends; None if there is none to begin with."""
        for match in _CLAUSE.finditer(self._text, 0, closed):
            before = self._text[: match.start()]
            enough = CLAUSE_WORDS if match[1] else PHRASE_WORDS
            if len(before.split()) >= enough:
                return None if _MARKUP.search(before) else match.end()
        return None

    def _sentence_end(self, closed: int) -> int | None:
        for match in _END.finditer(self._text, 0, closed):
            if match[1] and match[1].startswith("."):
                follows = self._text[match.end() : match.end() + 1]
                if self._is_abbreviation(match.start(), follows):
                    continue
                if not follows and self._depends_on_what_follows(match.start()):
                    return None
            return match.end()
        if closed > MAX_SENTENCE:
            comma = self._text.rfind(", ", 40, MAX_SENTENCE)
            space = self._text.rfind(" ", 40, MAX_SENTENCE)
            return (comma if comma > 0 else space if space > 0 else MAX_SENTENCE - 1) + 1
        return None

    def _drop_blocks(self) -> int:
        """Take out complete blocks of code and thinking; give where the readable text ends."""
        for opening, closing in (("```", "```"), ("<think>", "</think>")):
            while (start := self._text.find(opening)) >= 0:
                end = self._text.find(closing, start + len(opening))
                if end < 0:
                    break
                self._text = self._text[:start] + "\n" + self._text[end + len(closing) :]
        starts = [self._text.find(mark) for mark in ("```", "<think>")]
        return min((start for start in starts if start >= 0), default=len(self._text))

    def _is_abbreviation(self, dot: int, follows: str) -> bool:
        """Whether the full stop at ``dot`` ends no sentence, but an abbreviation or a number."""
        last = self._last_word(dot)
        if last in _BEFORE_A_NUMBER:
            return follows.isdigit()
        if _INITIALS.fullmatch(last) and last not in _ABBREVIATIONS:
            return follows.islower()
        listed = last.isdigit() and self._text[:dot].strip() == last
        return (
            last in _ABBREVIATIONS
            or (len(last) == 1 and last.isalpha() and last != "i")
            or (listed and _item_number(f"{last}. ", self._items) is not None)
        )

    def _depends_on_what_follows(self, dot: int) -> bool:
        last = self._last_word(dot)
        return last in _BEFORE_A_NUMBER or _INITIALS.fullmatch(last) is not None

    def _last_word(self, dot: int) -> str:
        word = self._text[:dot].split()[-1:] or [""]
        return word[0].lower().strip("(\"'*_")
