"""Stage "synthesis": the agent's and the users' recordings, with word times.

The agent is flite's slt, a little slower than its own pace and put on the frame grid. Users are
flite's awb, rms and kal16 (men), festival's two diphone voices, Pico's two women and espeak-ng's
variants, each spoken at its own speed and then resampled, which moves pitch and formants together:
many speakers out of few. Of the synthesizers that learn from recordings, RHVoice has the one woman,
clb, besides the one that is kept for the evaluation; men, raised as a whole, stand in for others.
"""

from __future__ import annotations

import json
import multiprocessing
import random
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np
from scipy.signal import resample_poly

from . import corpus, speech
from .clips import Clip, write_clips
from .grid import align_to_frames
from .other_voices import by_another
from .rhvoice import rhvoice
from .tokenizer import load_tokenizer

FLITE_USERS = ("awb", "rms", "kal16")
FESTIVAL_USERS = ("festival:ked_diphone", "festival:kal_diphone")
# men, raised until they pass for women
RAISED_USERS = ("awb", "rms", "rhvoice:alan", "rhvoice:bdl", *FESTIVAL_USERS)
# those of its voices that may be used for this: the others forbid derivatives
RHVOICE_USERS = ("rhvoice:clb", "rhvoice:clb", "rhvoice:bdl", "rhvoice:alan")
PICO_USERS = ("pico:en-US", "pico:en-GB")
ESPEAK_ACCENTS = (
    "en-us", "en-gb", "en-gb-scotland", "en-gb-x-rp", "en-gb-x-gbclan", "en-gb-x-gbcwmd", "en-029",
)  # fmt: skip
ESPEAK_VARIANTS = (
    "m1", "m2", "m3", "m4", "m5", "m6", "m7", "f1", "f2", "f3", "f4", "klatt", "klatt2", "klatt4",
    "steph", "steph2", "john", "Alex", "Alicia", "Andrea", "Andy", "Annie", "Diogo", "Gene", "Hugo",
    "Lee", "Marco", "Michael", "Mike", "adam", "anika", "antonio", "aunty", "belinda", "benjamin",
    "boris", "caleb", "david", "ed", "edward", "grandma", "grandpa", "linda", "marcelo", "max",
    "michel", "miguel", "norbert", "pablo", "paul", "pedro", "quincy", "rob", "robert", "sandro",
    "shelby", "travis", "victor", "zac",
)  # fmt: skip
ESPEAK_USERS = tuple(
    f"{accent}+{variant}"
    for accent in (*ESPEAK_ACCENTS, "en-us", "en-us", "en-gb")
    for variant in ESPEAK_VARIANTS
)
# voices and the range of their resampling
USERS: tuple[tuple[tuple[str, ...], float, float], ...] = (
    (FLITE_USERS, 0.85, 1.18),
    (RAISED_USERS, 1.15, 1.42),
    (PICO_USERS, 0.85, 1.18),
    (ESPEAK_USERS, 0.92, 1.1),
    (RHVOICE_USERS, 0.92, 1.12),
    (FESTIVAL_USERS, 0.88, 1.18),
)
USER_SHARES = (0.13, 0.19, 0.19, 0.2, 0.2, 0.09)
AT_ONCE = 64  # lines of users in one job: festival's start takes a second
HELD_OUT_USERS = ("festival:cmu_us_slt_arctic_hts", "en-us+f5", "en-gb-x-rp+m8")
AGENT_STRETCH = 1.12
AGENT_SENTENCES = 12_000  # to read, of its own recordings
TOOLS_SAY = 6  # one more for so many of these
Job = TypeVar("Job")


class Shares(NamedTuple):
    """What of all is said below each of these; the rest are sentences."""

    tools: float
    questions: float
    told: float
    listed: float
    backchannels: float
    stops: float
    another: float = 0.0
    """Of all voices, those of which another is made."""


LM_SHARES = Shares(0.05, 0.3, 0.65, 0.65, 0.78, 0.91)
# of more in lists it takes two syllables for two things ("dancing": "drums salmon")
STT_SHARES = Shares(0.06, 0.26, 0.72, 0.82, 0.88, 0.94, another=0.25)


@dataclass(frozen=True)
class UserLine:
    """One utterance of a user: what is said, its kind, what must be understood, by whom and how.

    `another`: the seed of the voice that is made of it (`other_voices.py`), if one is.
    """

    text: str
    kind: str
    item: str | None
    voice: str
    rate: int = 165
    pitch: int = 50
    resample: float = 1.0
    another: int | None = None


def agent_texts(words: corpus.Vocabulary, sentences: int, seed: int = 11) -> list[str]:
    """All that the agent says: every answer in the training vocabulary, sentences to read."""
    rng = random.Random(seed)
    kinds = [kind for kind in corpus.WEIGHTS if kind not in ("remember", "introduce", "stop")]
    blank = [corpus.Question("", kind) for kind in kinds]
    texts = [corpus.answer(asked, corpus.Facts(name)) for asked in blank for name in words.agents]
    for name in words.names:
        texts += [f"hello {name} how can i help you", f"your name is {name}", f"goodbye {name}"]
        texts += [f"nice to meet you {name}", f"my name is {name}"]
    for like in words.likes:
        texts += [f"you like {like}", f"i will remember that you like {like}"]
        texts += [f"you like {like} and {rng.choice(words.likes)}"]
    texts += [f"you live in {place}" for place in words.places]
    texts += [corpus.sentence(rng, words) for _ in range(sentences)]
    for _ in range(sentences // TOOLS_SAY):
        template = rng.choice(corpus.SAID_BY_TOOLS)
        texts.append(corpus.fill(rng, template, words, rng.choice(words.agents), None))
    return list(dict.fromkeys(text for text in texts if text))


def user_lines(
    words: corpus.Vocabulary,
    count: int,
    seed: int = 12,
    shares: Shares = LM_SHARES,
) -> list[UserLine]:
    """Draw what users say: questions of every kind, backchannels, sentences for the STT."""
    rng = random.Random(seed)
    words = corpus.as_spoken(words)
    lines = []
    for _index in range(count):
        facts = corpus.Facts(rng.choice(words.agents))
        share = rng.random()
        if share < shares.tools:
            template = rng.choice(corpus.ASKED_OF_TOOLS)
            text = corpus.fill(rng, template, words, facts.agent, None)
            asked = corpus.Question(text, "moment")
        elif share < shares.questions:
            asked = corpus.question(rng, words, facts)
        elif share < shares.told:  # names and things are told apart only when each is heard often
            asked = corpus.question(rng, words, facts, rng.choice(["remember", "introduce"]))
        elif share < shares.listed:  # several in one breath: the most names for a second of sound
            asked = corpus.Question(corpus.listed(rng, words), "sentence")
        elif share < shares.backchannels:  # short: it takes many to know them from "stop"
            asked = corpus.Question(rng.choice(corpus.BACKCHANNELS), "backchannel")
        elif share < shares.stops:
            asked = corpus.question(rng, words, facts, "stop")
        else:
            asked = corpus.Question(corpus.sentence(rng, words), "sentence")
        family, low, high = rng.choices(USERS, USER_SHARES)[0]
        lines.append(
            UserLine(
                asked.text,
                asked.kind,
                asked.item,
                rng.choice(family),
                rng.randint(135, 215),
                rng.randint(25, 75),
                rng.uniform(low, high),
                rng.randrange(1 << 30)
                if shares.another and rng.random() < shares.another
                else None,
            )
        )
    return lines


def speak_users(lines: list[UserLine]) -> list[speech.Speech]:
    """Synthesize lines of users, festival's in one run for each of its voices."""
    spoken: dict[int, speech.Speech] = {}
    voices = {line.voice for line in lines if line.voice.startswith("festival:")}
    for voice in sorted(voices):
        its = [index for index, line in enumerate(lines) if line.voice == voice]
        texts = [lines[index].text for index in its]
        by_festival = speech.festival(texts, voice.removeprefix("festival:"))
        for index, said in zip(its, by_festival, strict=True):
            spoken[index] = resampled(said, lines[index].resample)
    return [
        spoken[index] if index in spoken else speak_user(line) for index, line in enumerate(lines)
    ]


def speak_user(line: UserLine) -> speech.Speech:
    """Synthesize one user's line (not festival, which works in bulk)."""
    if line.voice in FLITE_USERS:
        spoken = speech.flite_voice(line.voice).speak(line.text, 165 / line.rate * line.resample)
    elif line.voice in PICO_USERS:
        spoken = speech.pico(line.voice.removeprefix("pico:")).speak(
            line.text, round(100 * line.rate / 165 / line.resample), 75 + line.pitch // 2 + 1
        )
    elif line.voice in RHVOICE_USERS:
        spoken = rhvoice().speak(
            line.text,
            line.voice.removeprefix("rhvoice:"),
            line.rate / 165 / line.resample,
            0.85 + 0.3 * (line.pitch - 25) / 50,
        )
    else:
        spoken = speech.espeak().speak(
            line.text, line.voice, round(line.rate / line.resample), line.pitch
        )
    return resampled(spoken, line.resample)


def resampled(spoken: speech.Speech, by: float) -> speech.Speech:
    """Raise a voice, pitch, formants and speed together; below 1 lowers it."""
    up = round(100 / by)
    pcm = resample_poly(spoken.pcm, up, 100).astype(np.float32)
    factor = up / 100
    return speech.Speech(pcm, [(w, a * factor, b * factor) for w, a, b in spoken.words])


def pcm16(pcm: np.ndarray) -> np.ndarray:
    """Float PCM to int16."""
    return (np.clip(pcm, -1, 1) * 32767).astype(np.int16)


_tokenizer = None


def make_agent(job: tuple[Path, str]) -> list[tuple[Clip, np.ndarray]]:
    """Synthesize one text of the agent on the frame grid."""
    global _tokenizer
    folder, text = job
    if _tokenizer is None:
        _tokenizer = load_tokenizer(folder)
    spoken = speech.flite_voice("slt").speak(text, AGENT_STRETCH)
    least = [len(_tokenizer.encode(word)) + 1 for word in text.split()]
    spoken = align_to_frames(spoken, least)
    return [(Clip(text, "slt", spoken.words), pcm16(spoken.pcm))]


def make_users(lines: list[UserLine]) -> list[tuple[Clip, np.ndarray]]:
    """Synthesize lines of users."""
    made = []
    for line, said in zip(lines, speak_users(lines), strict=True):
        spoken = said if line.another is None else by_another(said, line.another)
        made.append((Clip(line.text, line.voice, spoken.words), pcm16(spoken.pcm)))
    return made


def in_parallel(
    make: Callable[[Job], list[tuple[Clip, np.ndarray]]], jobs: list[Job], workers: int, label: str
) -> Iterator[tuple[Clip, np.ndarray]]:
    """Map `make` over `jobs` in `workers` processes, keeping the order and showing progress."""
    chunk = max(1, min(32, len(jobs) // (4 * workers)))
    with multiprocessing.get_context("spawn").Pool(workers) as pool:
        for done, results in enumerate(pool.imap(make, jobs, chunksize=chunk), 1):
            if done % 100 == 0 or done == len(jobs):
                print(
                    f"\r{label} {done}/{len(jobs)}",
                    end="\n" if done == len(jobs) else "",
                    flush=True,
                )
            yield from results


def synthesize(
    folder: Path,
    sentences: int,
    users: int,
    workers: int = 2,
    user_seed: int = 12,
    shares: Shares = LM_SHARES,
) -> None:
    """Write `agent.*` and `user.*` clips and `user_lines.jsonl` unless they are there already."""
    words, held = corpus.vocabularies()
    if sentences and not (folder / "agent.jsonl").exists():
        jobs = [(folder, text) for text in agent_texts(words, sentences)]
        write_clips(folder, "agent", in_parallel(make_agent, jobs, workers, "agent"))
    if not (folder / "user.jsonl").exists():
        if shares is STT_SHARES:  # what the language model has to copy unseen may well be heard
            words = held + words
        lines = user_lines(words, users, user_seed, shares)
        jobs_of_users = [lines[at : at + AT_ONCE] for at in range(0, len(lines), AT_ONCE)]
        write_clips(folder, "user", in_parallel(make_users, jobs_of_users, workers, "users"))
        with (folder / "user_lines.jsonl").open("w") as out:
            out.writelines(json.dumps(asdict(line)) + "\n" for line in lines)


def held_out_lines(count: int, seed: int) -> list[UserLine]:
    """What held-out voices say for the evaluation: every kind of question, backchannels, stops."""
    rng = random.Random(seed)
    words, _ = corpus.vocabularies()
    words = corpus.Vocabulary(words.names[:300], words.likes[:150])
    lines = []
    for index in range(count):
        share = rng.random()
        facts = corpus.Facts(rng.choice(words.agents))
        if share < 0.6:
            asked = corpus.question(rng, words, facts)
            while asked.kind in ("unknown", "stop") or (asked.item and not asked.item.isascii()):
                asked = corpus.question(rng, words, facts)
        elif share < 0.76:
            asked = corpus.question(rng, words, facts, rng.choice(["name", "likes"]))
        elif share < 0.9:
            asked = corpus.question(rng, words, facts, "stop")
        else:
            asked = corpus.Question(rng.choice(corpus.BACKCHANNELS[:2]), "backchannel")
        voice = HELD_OUT_USERS[index % len(HELD_OUT_USERS)]
        lines.append(UserLine(asked.text, asked.kind, asked.item, voice))
    return lines


def synthesize_held_out(folder: Path, count: int = 450, seed: int = 991) -> list[UserLine]:
    """Write `held.*` clips; the lines in the clips' order."""
    lines = sorted(held_out_lines(count, seed), key=lambda line: line.voice)
    if not (folder / "held.jsonl").exists():
        bulk = [line for line in lines if line.voice.startswith("festival:")]  # the last ones
        clips = make_users(lines[: len(lines) - len(bulk)])
        for at in range(0, len(bulk), 40):
            clips += make_users(bulk[at : at + 40])
        write_clips(folder, "held", clips)
    return lines
