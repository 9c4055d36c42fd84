"""Conversations made of codes: what the language model is trained on.

A conversation is a row of events on one time line of 80 ms frames: a prompt, pauses, questions
with their answers, facts that arrive through the reference stream, interruptions, backchannels,
sentences read aloud. Nothing is synthesized here; clips' codes are put side by side.
"""

from __future__ import annotations

import random
from collections import defaultdict, deque
from dataclasses import dataclass, field, replace

import numpy as np
import sentencepiece

from . import corpus
from .corpus import Facts
from .encode import Codes
from .synthesis import UserLine
from .tokenizer import EPAD, PAD, monologue, transcript

PROMPT_BEFORE = PROMPT_AFTER = 4
STOP_AFTER = 4  # frames from the user's onset to the agent's silence
ANSWER_AFTER = (3, 5)  # frames from the end of the user's speech to the answer
WORD_WEIGHT, FIRST_WEIGHT, COPY_WEIGHT = 1.0, 2.0, 3.0
ANSWERS = (
    "hello ", "goodbye", "your name is ", "my name is ", "you like ", "you live in ",
    "nice to meet you ", "i will remember that you like ",
)  # fmt: skip
"""What the agent says with a name or a thing in it begins so; all else that it says can be read."""
BEGUN_ALIKE = 0.2  # of what is read or said: what begins as answers do, and is none
ANSWERS_READ = 0.7  # of what is read, answers with a name or a thing: they must be told apart
PAD_WEIGHT = 0.5  # EPAD's, too: whether to speak must be learned without a bias towards it


HEARD_LATEST = 8  # frames by which the transcript may outlast the recording

READS_ALONG = 0.75  # of the conversations: the transcriber's words come in as they are written
OVERHEARD = 0.6  # of what is said: as the transcriber wrote it; otherwise as said, but for
MISHEARD, MISSED = 0.06, 0.02  # of the words, others in their place, and none


@dataclass
class Sample:
    """One training sequence of T frames.

    `text`, `reference` int64 [T] (reference -1: none); `agent`, `user` int64 [8, T]; `heard`
    int64 [T] what the user says, as a transcript a little later; `written` int64 [T] the pieces of
    it that the transcriber has written one frame before (-1: none), with its mistakes;
    `text_weight` float32 [T] (0: not trained on); `audio` bool [T]: the agent's codes are trained
    on; `started`: the sequence begins a conversation (otherwise it is cut from the middle of one).
    """

    text: np.ndarray
    reference: np.ndarray
    agent: np.ndarray
    user: np.ndarray
    heard: np.ndarray
    written: np.ndarray
    text_weight: np.ndarray
    audio: np.ndarray
    started: bool


@dataclass(frozen=True)
class Mix:
    """What a conversation is made of (probabilities).

    `rest`: that nothing more happens in it; `told`: that a question is a name or a thing told,
    which only the ear can know, beyond what the domain's weights give; `far`: that other
    questions come between what is told and the question for it.
    """

    prompt: float = 0.68
    noise: float = 0.5
    read: float = 0.16
    say: float = 0.14
    idle_backchannel: float = 0.05
    long_pause: float = 0.22
    rest: float = 0.04
    interrupt: float = 0.22
    backchannel: float = 0.25
    reference: float = 0.45
    kinds: tuple[str, ...] = tuple(corpus.WEIGHTS)
    told: float = 0.2
    far: float = 0.0


COPYING = Mix(
    prompt=0.95, read=0.0, say=0.12, idle_backchannel=0.0, long_pause=0.0, rest=0.0,
    interrupt=0.0, backchannel=0.0,
    kinds=("name", "likes", "agent", "greet", "bye", "place", "remember"), told=0.3,
)  # fmt: skip

TELLING = replace(COPYING, prompt=0.5, told=0.6)  # what is told now, and asked for later on


# what is told now, and asked for when there has been talk of something else
RECALLING = Mix(
    prompt=0.6, read=0.04, say=0.02, long_pause=0.3, rest=0.0, interrupt=0.04, backchannel=0.1,
    reference=0.15, told=0.45, far=0.9,
)  # fmt: skip
BETWEEN = (
    "feel", "feel", "thanks", "greet", "agent", "check", "place", "name", "likes", "unknown",
)  # fmt: skip
"""What is asked between; what was told may be among it."""

# the agent says what it is given, and mostly somebody speaks meanwhile
DISTURBED = Mix(
    prompt=0.6, read=0.0, say=0.75, idle_backchannel=0.0, long_pause=0.0, rest=0.0, noise=0.3,
    interrupt=0.42, backchannel=0.8,
)  # fmt: skip

READING = Mix(prompt=0.3, read=1.0, long_pause=0.0, rest=0.0, interrupt=0.05, backchannel=0.05)


@dataclass
class Material:
    """All clips as codes, and ways to find them.

    `overheard`: what the transcriber wrote of each of the users' clips, if it was asked.
    """

    agent: Codes
    user: Codes
    noise: Codes
    quiet: Codes
    lines: list[UserLine]
    silence: np.ndarray
    sine: np.ndarray
    tokenizer: sentencepiece.SentencePieceProcessor
    overheard: list[np.ndarray] = field(default_factory=list)
    by_text: dict[str, int] = field(default_factory=dict)
    by_kind: dict[str, list[int]] = field(default_factory=lambda: defaultdict(list))
    pairs: dict[str, tuple[str, str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.by_text = {text: index for index, text in enumerate(self.agent.texts)}
        for index, line in enumerate(self.lines):
            self.by_kind[line.kind].append(index)
        for kind in ("remember", "introduce"):  # an ear for real words, not for invented ones
            heard = self.by_kind[kind]
            often = corpus.real_often([self.lines[index].item or "" for index in heard])
            self.by_kind[kind] = [heard[at] for at in often]
        # "hi" alone is as short as a backchannel, and to be answered
        brief = [index for index in self.by_kind["greet"] if " " not in self.lines[index].text]
        self.by_kind["greet"] += brief * 2
        for text in self.agent.texts:
            words = text.split()
            if len(words) == 5 and words[:2] == ["you", "like"] and words[3] == "and":
                self.pairs[words[2]] = (words[2], words[4])
        self.readable = [text for text in self.agent.texts if not text.startswith(ANSWERS)]
        first = {answer.split()[0] for answer in ANSWERS} - {"i"}
        self.begun_alike = [text for text in self.readable if text.split()[0] in first]
        unread, known = set(self.agent.texts) - set(self.readable), {*corpus.NAMES, *corpus.LIKES}
        self.answers = sorted(t for t in unread if known.intersection(t.split()))
        self._pieces: dict[str, list[list[int]]] = {}

    def background(self, rng: random.Random, noisy: float) -> np.ndarray | None:
        """Codes [8, n] of what is heard while nobody speaks; None for the constant silence."""
        share = rng.random()
        if share > noisy + 0.75 * (1 - noisy):
            return None
        source = self.noise if share < noisy else self.quiet
        return source.clip(rng.randrange(len(source))).numpy()

    def pieces(self, text: str) -> list[list[int]]:
        """The pieces of every word of `text`."""
        if text not in self._pieces:
            self._pieces[text] = [self.tokenizer.encode(word) for word in text.split()]
        return self._pieces[text]

    def contains(self, written: np.ndarray, text: str) -> bool:
        """Whether the transcript `written` has all pieces of `text`."""
        return set(self.tokenizer.encode(text)) <= set(written.tolist())

    def spoken(self, text: str) -> tuple[np.ndarray, np.ndarray]:
        """The agent saying `text`: monologue [n] and codes [8, n]."""
        index = self.by_text[text]
        codes = self.agent.clip(index).numpy()
        frames = [round(start) for _, start, _ in self.agent.words[index]]
        return np.array(monologue(self.pieces(text), frames, codes.shape[1])), codes


class Conversation:
    """Builds one sample event by event."""

    def __init__(
        self,
        rng: random.Random,
        material: Material,
        words: corpus.Vocabulary,
        mix: Mix,
        frames: int,
    ) -> None:
        self.rng, self.material, self.words, self.mix, self.frames = (
            rng,
            material,
            words,
            mix,
            frames,
        )
        size = frames + 600
        self.text = np.full(size, PAD)
        self.reference = np.full(size, -1)
        self.agent = np.repeat(material.silence[:, None], size, 1)
        self.user = np.repeat(material.silence[:, None], size, 1)
        self.heard = np.full(size, PAD)
        self.written = np.full(size, -1)
        self._written_after = rng.choice((1, 1, 2)) if rng.random() < READS_ALONG else None
        self.weight = np.full(size, PAD_WEIGHT, np.float32)
        self.audio = np.ones(size, bool)
        self.now = 0
        self.facts = Facts()
        self._to_ask: deque[str] = deque()
        self._room = material.background(rng, mix.noise)

    def _background(self, start: int, end: int) -> None:
        if self._room is not None and end > start:
            offset = self.rng.randrange(self._room.shape[1])
            take = (offset + np.arange(end - start)) % self._room.shape[1]
            self.user[:, start:end] = self._room[:, take]

    def _write(self, target: np.ndarray, at: int, values: np.ndarray) -> int:
        end = min(at + values.shape[-1], target.shape[-1])
        target[..., at:end] = values[..., : end - at]
        return end

    def begin(self) -> bool:
        """Prompt, no prompt, or the middle of an earlier conversation; True when it is a start."""
        rng, words = self.rng, self.words
        share = rng.random()
        if share > self.mix.prompt:
            return share < self.mix.prompt + (1 - self.mix.prompt) / 2
        likes: tuple[str, ...] = ()
        if rng.random() < 0.6:
            like = rng.choice(words.likes)
            likes = self.material.pairs.get(like, (like,)) if rng.random() < 0.25 else (like,)
        self.facts = Facts(
            rng.choice(words.agents) if rng.random() < 0.6 else rng.choice(words.names),
            rng.choice(words.names) if rng.random() < 0.6 else None,
            likes,
            rng.choice(words.places) if rng.random() < 0.15 else None,
        )
        prompt = self.material.tokenizer.encode(
            f"<system> {corpus.prompt_text(rng, self.facts)} <system>"
        )
        length = len(prompt) + PROMPT_BEFORE + PROMPT_AFTER
        self.text[PROMPT_BEFORE : length - PROMPT_AFTER] = prompt
        self.user[:, :length] = self.material.sine[:, None]
        self.weight[:length] = 0
        self.audio[:length] = False
        self.now = length
        return True

    def pause(self) -> None:
        """Nothing happens for 0.2...1.1 s, now and then much longer, or until the end."""
        share = self.rng.random()
        if share < self.mix.rest:
            length = max(self.frames - self.now, 2)
        elif share < self.mix.rest + self.mix.long_pause:
            length = self.rng.randint(20, 110)
        else:
            length = self.rng.randint(2, 14)
        self._background(self.now, self.now + length)
        self.now += length

    def speak(self, text: str, at: int, weigh: tuple[str, ...] = ()) -> int:
        """The agent says `text` from frame `at`; the end. Words in `weigh` count more."""
        text_tokens, codes = self.material.spoken(text)
        end = self._write(self.agent, at, codes)
        self._write(self.text, at, text_tokens)
        said = self.text[at:end]
        rhythm = (said == PAD) | (said == EPAD)
        self.weight[at:end] = np.where(rhythm, PAD_WEIGHT, WORD_WEIGHT)
        if not rhythm.all():
            self.weight[at + int(rhythm.argmin())] = FIRST_WEIGHT  # it decides the rest
        copied = [piece for word in weigh for piece in self.material.tokenizer.encode(word)]
        if copied:
            self.weight[at:end][np.isin(said, copied)] = COPY_WEIGHT
        return end

    def read(self) -> None:
        """Read a sentence nobody asked for: only its rhythm and its sound are trained on."""
        begin = self.now
        texts = self._readable()
        if self.material.answers and self.rng.random() < ANSWERS_READ:
            texts = self.material.answers
        end = self.speak(self.rng.choice(texts), self.now)
        self._background(self.now, end)
        said = self.text[self.now : end]
        weight = np.where((said == PAD) | (said == EPAD), PAD_WEIGHT, 0.0)
        words = np.flatnonzero(said == EPAD)
        weight[: words[0] + 1] = 0  # when to begin was not the model's choice
        weight[words[-1] + 1 :] = 0  # nor that there is no further word
        self.weight[self.now : end] = weight
        self.now = end
        self._disturb(begin, end)

    def _readable(self) -> list[str]:
        alike = self.material.begun_alike
        return alike if alike and self.rng.random() < BEGUN_ALIKE else self.material.readable

    def say(self) -> None:
        """Read a sentence that the reference stream has just spelled out: practice in copying."""
        text = self.rng.choice(self._readable())
        pieces = self.material.tokenizer.encode("say " + text)
        start = self.now
        self._write(self.reference, start, np.array(pieces))
        begin = start + len(pieces) + self.rng.randint(0, 3)
        self.now = self.speak(text, begin)
        self._background(start, self.now)
        self._disturb(begin, self.now)

    def ask(self) -> None:
        """The user asks, perhaps a fact arrives, the agent answers, perhaps is interrupted."""
        rng, material = self.rng, self.material
        kind = self._kind()
        if not material.by_kind[kind]:
            return
        index = rng.choice(material.by_kind[kind])
        line = material.lines[index]
        start, end = self._user_speaks(index, self.now)
        facts = self._deliver(kind, start, end)
        text = corpus.answer(corpus.Question(line.text, kind, line.item), facts)
        copied = tuple(
            filter(None, (line.item, facts.name, facts.agent, facts.place, *facts.likes))
        )
        self.facts = learned(facts, line)
        if text and text not in material.by_text:
            text = ""
        if not text:
            self.now = end + rng.randint(4, 10)
            if kind != "stop":
                self.weight[end : self.now] = 0
            self._background(end, self.now)
            return
        begin = end + rng.randint(*ANSWER_AFTER)
        stop = self.speak(text, begin, copied)
        self._background(end, stop)
        self.now = stop
        self._disturb(begin, stop)

    def _kind(self) -> str:
        """What is asked next."""
        rng, kinds = self.rng, self.mix.kinds
        if self._to_ask:
            return self._to_ask.popleft()
        if rng.random() >= self.mix.told:
            return rng.choices(kinds, [corpus.WEIGHTS[kind] for kind in kinds])[0]
        kind = rng.choice(("remember", "introduce"))
        if rng.random() < self.mix.far:
            self._to_ask.extend(rng.choices(BETWEEN, k=rng.randint(1, 4)))
            self._to_ask.append("likes" if kind == "remember" else "name")
        return kind

    def _disturb(self, begin: int, stop: int) -> None:
        """Perhaps the user speaks while the agent does."""
        if self.rng.random() < self.mix.interrupt:
            self._interrupt(begin, stop)
        elif self.rng.random() < self.mix.backchannel:
            self._backchannel(begin, stop)

    def _user_speaks(self, index: int, at: int) -> tuple[int, int]:
        """Write the user's clip; (first frame, frame after the last) of speech."""
        codes = self.material.user.clip(index).numpy()
        words = self.material.user.words[index]
        self._write(self.user, at, codes)
        pieces = [self.material.tokenizer.encode(word) for word, _, _ in words]
        end = at + codes.shape[1] + HEARD_LATEST
        self._write(self.heard, at, np.array(transcript(words, pieces, 0, end - at)))
        if self._written_after is not None:
            written = self._transcript(index, pieces, end - at)
            self._write(
                self.written, at + self._written_after, np.where(written > PAD, written, -1)
            )
        return at + int(words[0][1]), at + int(np.ceil(words[-1][2]))

    def _transcript(self, index: int, pieces: list[list[int]], length: int) -> np.ndarray:
        """What the transcriber makes of the user's clip, [length].

        The name or thing that is told is always right in it: where the transcriber took it for
        another, the ear rarely knows better, and who was taught to doubt doubts what is right.
        """
        words, item = self.material.user.words[index], self.material.lines[index].item
        if self.material.overheard:
            written = self.material.overheard[index]
            lost = item is not None and not self.material.contains(written, item)
            if not lost and self.rng.random() < OVERHEARD:
                return written[:length]
        told = (item or "").split()
        pieces = [
            p if word in told else self._as_written(p)
            for (word, _, _), p in zip(words, pieces, strict=True)
        ]
        return np.array(transcript(words, pieces, 0, length))

    def _as_written(self, pieces: list[int]) -> list[int]:
        """What the transcriber makes of a word's pieces: now and then another word, or none."""
        share = self.rng.random()
        if share < MISSED:
            return []
        if share > MISSED + MISHEARD:
            return pieces
        other = self.rng.choice((self.words.names, self.words.likes))
        return self.material.tokenizer.encode(self.rng.choice(other).split()[0])

    def _deliver(self, kind: str, start: int, end: int) -> Facts:
        """Sometimes send a fact through the reference stream while the user speaks."""
        rng, facts = self.rng, self.facts
        if rng.random() > (self.mix.reference if kind in ("name", "likes", "place") else 0.06):
            return facts
        topic = (
            kind
            if kind in ("name", "likes", "place") and rng.random() < 0.85
            else rng.choice(["name", "likes"])
        )
        if topic == "name":
            facts = replace(facts, name=rng.choice(self.words.names))
            message = f"the user is {facts.name}"
        elif topic == "likes":
            facts = replace(facts, likes=(rng.choice(self.words.likes),))
            message = f"the user likes {facts.likes[0]}"
        else:
            facts = replace(facts, place=rng.choice(self.words.places))
            message = f"the user lives in {facts.place}"
        pieces = self.material.tokenizer.encode(message)
        first, last = max(start - 3, 0), max(start - 3, end - len(pieces))
        at = rng.randint(first, max(first, last))
        self.reference[at : at + len(pieces)] = pieces
        return facts

    def _silence_agent(self, at: int, until: int) -> None:
        self.text[at:until] = PAD
        self.weight[at:until] = 1.0
        self.agent[:, at:until] = self.material.silence[:, None]

    def _interrupt(self, begin: int, stop: int) -> None:
        """The user speaks over the agent, who falls silent `STOP_AFTER` frames later."""
        rng = self.rng
        kind = (
            "stop"
            if rng.random() < 0.75
            else rng.choice(["name", "likes", "check", "moment", "greet"])
        )
        if stop - begin < 18 or not self.material.by_kind[kind]:
            return
        index = rng.choice(self.material.by_kind[kind])
        lead = int(self.material.user.words[index][0][1])
        onset = rng.randint(begin + 6, stop - 8)
        start, end = self._user_speaks(index, onset - lead)
        silent = start + STOP_AFTER
        self._silence_agent(silent, max(stop, end))
        line = self.material.lines[index]
        text = corpus.answer(corpus.Question(line.text, kind, line.item), self.facts)
        self.now = max(stop, end) if stop > end + 12 else end + rng.randint(*ANSWER_AFTER)
        self._background(end, self.now)
        if text in self.material.by_text:
            at = end + rng.randint(*ANSWER_AFTER)
            self.now = self.speak(
                text, at, tuple(filter(None, (self.facts.name, *self.facts.likes)))
            )
            self._background(end, self.now)
        elif kind != "stop":
            self.weight[end : self.now] = 0

    def _backchannel(self, begin: int, stop: int) -> None:
        """The user says "mm hm" over the agent, who goes on."""
        if stop - begin < 20 or not self.material.by_kind["backchannel"]:
            return
        index = self.rng.choice(self.material.by_kind["backchannel"])
        lead = int(self.material.user.words[index][0][1])
        onset = self.rng.randint(begin + 6, stop - 10)
        _, end = self._user_speaks(index, onset - lead)
        self.now = max(stop, end + 2)

    def murmur(self) -> None:
        """A backchannel while the agent is silent: it stays silent."""
        if self.material.by_kind["backchannel"]:
            _, end = self._user_speaks(
                self.rng.choice(self.material.by_kind["backchannel"]), self.now
            )
            self.now = end + self.rng.randint(2, 8)
            self._background(end, self.now)

    def build(self) -> Sample:
        """Fill the whole length with events."""
        started = self.begin()
        while self.now < self.frames:
            self.pause()
            share = self.rng.random()
            if self.now >= self.frames:
                break
            if share < self.mix.read:
                self.read()
            elif share < self.mix.read + self.mix.say:
                self.say()
            elif share < self.mix.read + self.mix.say + self.mix.idle_backchannel:
                self.murmur()
            else:
                self.ask()
        n = self.frames
        return Sample(
            self.text[:n], self.reference[:n], self.agent[:, :n], self.user[:, :n], self.heard[:n],
            self.written[:n], self.weight[:n], self.audio[:n], started,
        )  # fmt: skip


def learned(facts: Facts, line: UserLine) -> Facts:
    """What is known after the user's line."""
    if line.kind == "remember" and line.item:
        return replace(facts, likes=(line.item,))
    if line.kind == "introduce" and line.item:
        return replace(facts, name=line.item)
    return facts
