"""The independent recogniser: PocketSphinx with an n-gram model or a grammar of the domain.

It has never seen a synthetic voice of this recipe. Always give its word error rate on the
original speech beside the one that is measured: it errs on the originals too.
"""

from __future__ import annotations

import random
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import product
from pathlib import Path

import numpy as np
from pocketsphinx import Decoder, get_model_path
from pocketsphinx.lm import ArpaBoLM
from scipy.signal import resample_poly

from . import corpus

DICTIONARY = get_model_path("en-us/cmudict-en-us.dict")


def pronounced() -> frozenset[str]:
    """Every word that the recogniser can pronounce."""
    with Path(DICTIONARY).open() as lines:
        return frozenset(line.split()[0].split("(")[0] for line in lines)


def domain_sentences(count: int, words: corpus.Vocabulary, seed: int) -> list[str]:
    """What the domain's language model is trained on: answers and sentences of the corpus."""
    rng = random.Random(seed)
    known = pronounced()
    lines = []
    while len(lines) < count:
        facts = corpus.Facts(
            rng.choice(words.agents),
            rng.choice(words.names) if rng.random() < 0.6 else None,
            (rng.choice(words.likes),) if rng.random() < 0.6 else (),
        )
        asked = corpus.question(rng, words, facts)
        share = rng.random()
        if share < 0.5:
            line = corpus.fill(rng, rng.choice(corpus.SPOKEN), words, facts.agent, None)
        else:
            line = corpus.answer(asked, facts) if share < 0.8 else asked.text
        if line and all(word in known for word in line.split()):
            lines.append(line)
    return lines


def write_language_model(path: Path, sentences: list[str]) -> None:
    """Write a trigram ARPA model (absolute back-off, discount 0.3) of `sentences`."""
    text = "\n".join(f"<s> {line} </s>" for line in sentences)
    model = ArpaBoLM(text=text, discount_mass=0.3)
    model.compute()
    model.write_file(str(path))


def write_grammar(
    path: Path,
    sentences: Sequence[str],
    slots: Mapping[str, Sequence[str]],
    several: bool = False,
) -> None:
    """Write a JSGF grammar: one of `sentences`, or `several`, `<slot>` being any of that slot's.

    What the recogniser cannot pronounce is left out of the slots.
    """
    known = pronounced()
    rules = {
        name: [text for text in dict.fromkeys(texts) if all(w in known for w in text.split())]
        for name, texts in slots.items()
    }
    lines = ["#JSGF V1.0;", f"grammar {path.stem};"]
    lines += [f"<{name}> = {' | '.join(texts)};" for name, texts in rules.items()]
    lines.append(f"<sentence> = {' | '.join(sentences)};")
    lines.append(f"public <speech> = <sentence>{'+' if several else ''};")
    path.write_text("\n".join(lines) + "\n")


def spelled_out(sentences: Sequence[str], slots: Mapping[str, Sequence[str]]) -> Iterator[str]:
    """Each of ``sentences`` with everything that its ``<slot>``s may be."""
    for sentence in sentences:
        names = re.findall(r"<(\w+)>", sentence)
        form = re.sub(r"<\w+>", "{}", sentence)
        for words in product(*(slots[name] for name in names)):
            yield form.format(*words)


@lru_cache
def pronunciations() -> dict[str, frozenset[str]]:
    """How the recogniser pronounces each word, in its own phones."""
    found: dict[str, set[str]] = defaultdict(set)
    with Path(DICTIONARY).open() as lines:
        for line in lines:
            word, _, phones = line.strip().partition(" ")
            found[word.split("(")[0]].add(phones)
    return {word: frozenset(ways) for word, ways in found.items()}


def sound_alike(one: str, other: str) -> bool:
    """Whether two texts are the same words to the ear: "brian" and "bryan" are."""
    left, right, ways = one.split(), other.split(), pronunciations()
    return len(left) == len(right) and all(
        a == b or ways.get(a, frozenset()) & ways.get(b, frozenset())
        for a, b in zip(left, right, strict=True)
    )


def to_16k(pcm: np.ndarray) -> np.ndarray:
    """Float PCM at 24 kHz to 16 kHz, with 0.3 s of silence on both sides."""
    low: np.ndarray = resample_poly(np.pad(pcm, 7200), 2, 3)
    return low


def to_16k_bytes(pcm: np.ndarray) -> bytes:
    """The same as int16 bytes."""
    return (np.clip(to_16k(pcm), -1, 1) * 32767).astype(np.int16).tobytes()


class Judge:
    """Recognises and aligns speech; not thread-safe."""

    def __init__(self, language_model: Path | None = None, grammar: Path | None = None) -> None:
        options = dict(samprate=16000, loglevel="FATAL", dict=DICTIONARY)
        if grammar:
            self._decoder = Decoder(jsgf=str(grammar), lm=None, **options)
        elif language_model:
            self._decoder = Decoder(lm=str(language_model), **options)
        else:
            self._decoder = Decoder(**options)
        self._options = options

    def recognise(self, pcm: np.ndarray) -> str:
        """The words in float32 PCM [samples] at 24 kHz."""
        self._decoder.start_utt()
        self._decoder.process_raw(to_16k_bytes(pcm), full_utt=True)
        self._decoder.end_utt()
        hypothesis = self._decoder.hyp()
        return hypothesis.hypstr if hypothesis else ""

    def align(self, pcm: np.ndarray, text: str) -> list[tuple[str, float]]:
        """Forced alignment: (word, start in seconds), empty when it fails."""
        decoder = Decoder(lm=None, **self._options)
        decoder.set_align_text(text)
        decoder.start_utt()
        decoder.process_raw(to_16k_bytes(pcm), full_utt=True)
        decoder.end_utt()
        if not decoder.hyp():
            return []
        starts = [
            (segment.word.split("(")[0], segment.start_frame / 100 - 0.3)
            for segment in decoder.seg()
            if not segment.word.startswith(("<", "["))
        ]
        return starts if [word for word, _ in starts] == text.split() else []
