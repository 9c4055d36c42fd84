"""Moshi's inner monologue, read out: text tokens to words with times, as they come.

Moshi's text stream has one token a frame, most of them PAD; EPAD announces that a word
starts in the next frame; a piece that begins with ▁ (a space) starts a word, the others
continue it. A word is complete when the next one starts or when nothing has been added to
it for a while. Source of the scheme: the Moshi paper, arXiv:2410.00037, section 3.4.4.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

from coda_voice.moshi.frames import FRAME_SECONDS, Word

_SPACE = "▁"
_SENTENCE_ENDS = (".", "!", "?", "…")
_CLOSING = "\"')]}»”’"


class Pieces(Protocol):
    """What the monologue needs of a tokenizer (sentencepiece has it)."""

    def id_to_piece(self, id: int) -> str:
        """Give the text of a token, ▁ standing for a space."""
        ...

    def is_control(self, id: int) -> bool:
        """Whether the token has no text of its own."""
        ...


@dataclass(slots=True)
class _Open:
    """The word that is being spoken."""

    pieces: list[str]
    first: int
    last: int


class Monologue:
    """Turns one conversation's text tokens into words, streaming.

    A word's start is the frame of its first piece; its end is where the next word starts,
    or ``hold`` frames after its last piece if nothing follows by then.
    """

    def __init__(self, pieces: Pieces, pad: int = 3, epad: int = 0, hold: int = 6) -> None:
        self._pieces = pieces
        self._silent = frozenset((pad, epad))
        self._pad = pad
        self._epad = epad
        self._hold = hold
        self._open: _Open | None = None

    def push(self, frame: int, token: int | None) -> tuple[Word, ...]:
        """Take the token of ``frame``; give the words that it completed (none, or one)."""
        if token is None:
            return ()
        if token in self._silent or token < 0:
            return self._silence(frame, ends_word=token == self._epad)
        if self._pieces.is_control(token):
            return self._silence(frame, ends_word=True)
        piece = self._pieces.id_to_piece(token)
        text = piece.removeprefix(_SPACE)
        if piece.startswith(_SPACE):
            # A lone ▁ only ends the word before: the pieces after it start the next.
            done = self._close(frame)
            if text:
                self._open = _Open([text], frame, frame)
            return done
        if self._open is None:
            self._open = _Open([text], frame, frame)
        else:
            self._open.pieces.append(text)
            self._open.last = frame
        return ()

    def flush(self) -> tuple[Word, ...]:
        """Give the word that is still open: at a reset, nothing is lost."""
        if self._open is None:
            return ()
        return self._close(self._open.last + 1)

    @property
    def partial(self) -> str:
        """What has been said of the word that is still open."""
        return _text(self._open.pieces) if self._open is not None else ""

    def copy(self) -> Monologue:
        """Give another that goes on from here by itself."""
        twin = Monologue(self._pieces, self._pad, self._epad, self._hold)
        if self._open is not None:
            twin._open = _Open(list(self._open.pieces), self._open.first, self._open.last)
        return twin

    def _silence(self, frame: int, *, ends_word: bool) -> tuple[Word, ...]:
        if self._open is None:
            return ()
        if ends_word or frame - self._open.last >= self._hold:
            return self._close(min(frame, self._open.last + self._hold))
        return ()

    def _close(self, end: int) -> tuple[Word, ...]:
        word, self._open = self._open, None
        if word is None:
            return ()
        text = _text(word.pieces)
        if not text:
            return ()
        stop = max(end, word.last + 1)
        return (
            Word(
                text,
                word.first * FRAME_SECONDS,
                stop * FRAME_SECONDS,
                sentence_end=text.rstrip(_CLOSING).endswith(_SENTENCE_ENDS),
            ),
        )


def _text(pieces: Iterable[str]) -> str:
    """Join pieces; sentencepiece spells a byte it has no piece for as <0xE2>."""
    raw = bytearray()
    for piece in pieces:
        if len(piece) == 6 and piece.startswith("<0x") and piece.endswith(">"):
            raw.append(int(piece[3:5], 16))
        else:
            raw.extend(piece.encode())
    return raw.decode(errors="replace").replace(_SPACE, "").strip()
