"""The text vocabulary and the monologue's rhythm.

Pieces of sentencepiece's unigram model, lower case. PAD is 3, EPAD 0, `<system>` one symbol.
"""

from __future__ import annotations

import io
import math
import random
from pathlib import Path

import sentencepiece

from . import corpus
from .lexicon import frequent_words

PAD = 3
EPAD = 0
VOCABULARY = 1200
TEXT_LEAD = 1  # frames by which a word's first piece precedes its sound
HEARD_AFTER = 6  # frames from the start of a heard word to its transcript
ENDED_AFTER = 2  # and from its end, where that is later


def train_tokenizer(folder: Path, seed: int = 3) -> Path:
    """Train `tokenizer.model` in `folder` on a draw of the corpus and the frequent words."""
    rng = random.Random(seed)
    words, _ = corpus.vocabularies()
    lines = list(frequent_words()) * 2
    for _ in range(12_000):
        facts = corpus.Facts(
            rng.choice(words.agents), rng.choice(words.names), (rng.choice(words.likes),)
        )
        asked = corpus.question(rng, words, facts)
        lines += [
            corpus.prompt_text(rng, facts),
            asked.text,
            corpus.answer(asked, facts),
            corpus.sentence(rng, words),
        ]
    model = io.BytesIO()  # from memory to memory: a file's path would end up in the model
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter([line for line in lines if line]),
        model_writer=model,
        vocab_size=VOCABULARY,
        unk_id=0,
        bos_id=1,
        eos_id=2,
        pad_id=PAD,
        user_defined_symbols=["<system>"],
        character_coverage=1.0,
        model_type="unigram",
        hard_vocab_limit=False,
        minloglevel=2,
    )
    path = folder / "tokenizer.model"
    path.write_bytes(model.getvalue())
    return path


def load_tokenizer(folder: Path) -> sentencepiece.SentencePieceProcessor:
    """Open `tokenizer.model` in `folder`."""
    return sentencepiece.SentencePieceProcessor(str(folder / "tokenizer.model"))


def monologue(pieces: list[list[int]], frames: list[int], length: int) -> list[int]:
    """Lay words out on `length` frames: EPAD, then one piece a frame, PAD in between.

    `frames[i]` is the frame in which word i starts to sound; its first piece comes `TEXT_LEAD`
    frames before. A word that finds the previous one still writing waits for it.
    """
    text = [PAD] * length
    free = 0
    for word, frame in zip(pieces, frames, strict=False):
        at = max(frame - TEXT_LEAD, free + 1)
        if at - 1 < length:
            text[at - 1] = EPAD
        for offset, piece in enumerate(word):
            if at + offset < length:
                text[at + offset] = piece
        free = at + len(word)
    return text


def transcript(
    words: list[tuple[str, float, float]], pieces: list[list[int]], at: int, length: int
) -> list[int]:
    """What a listener writes on `length` frames about words heard from frame `at` on.

    A word is written `HEARD_AFTER` frames after it began, or `ENDED_AFTER` after it ended where
    that is later; its times are (word, start, end) in frames.
    """
    frames = [
        max(round(start) + HEARD_AFTER, math.ceil(end) + ENDED_AFTER) for _, start, end in words
    ]
    return monologue(pieces, [at + frame + TEXT_LEAD for frame in frames], length)
