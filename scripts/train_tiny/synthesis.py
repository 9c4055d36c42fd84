"""Stage "synthesis": the agent's and the users' recordings, with word times.

The agent is flite's slt, a little slower than its own pace and put on the frame grid. Users are
flite's awb, rms and kal16 (men), Pico's two women and espeak-ng's variants, each spoken at its own
speed and then resampled, which moves pitch and formants together: many speakers out of few. Of the
synthesizers that learn from recordings, RHVoice has the one woman, clb, besides the one that is
kept for the evaluation; men of flite and RHVoice, raised as a whole, stand in for others.
"""

from __future__ import annotations

import json
import multiprocessing
import random
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
from scipy.signal import resample_poly

from . import corpus, speech
from .clips import Clip, write_clips
from .grid import align_to_frames
from .rhvoice import rhvoice
from .tokenizer import load_tokenizer

FLITE_USERS = ("awb", "rms", "kal16")
# men, raised until they pass for women
RAISED_USERS = ("awb", "rms", "rhvoice:alan", "rhvoice:bdl")
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
)
USER_SHARES = (0.17, 0.17, 0.2, 0.22, 0.24)
HELD_OUT_USERS = ("festival:cmu_us_slt_arctic_hts", "en-us+f5", "en-gb-x-rp+m8")
AGENT_STRETCH = 1.12
AGENT_SENTENCES = 12_000  # to read, of its own recordings
TOOLS_SAY = 6  # one more for so many of these
Job = TypeVar("Job")


@dataclass(frozen=True)
class UserLine:
    """One utterance of a user: what is said, its kind, what must be understood, by whom and how."""

    text: str
    kind: str
    item: str | None
    voice: str
    rate: int = 165
    pitch: int = 50
    resample: float = 1.0


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


def user_lines(words: corpus.Vocabulary, count: int, seed: int = 12) -> list[UserLine]:
    """Draw what users say: questions of every kind, backchannels, sentences for the STT."""
    rng = random.Random(seed)
    words = corpus.as_spoken(words)
    lines = []
    for _index in range(count):
        facts = corpus.Facts(rng.choice(words.agents))
        share = rng.random()
        if share < 0.05:
            template = rng.choice(corpus.ASKED_OF_TOOLS)
            text = corpus.fill(rng, template, words, facts.agent, None)
            asked = corpus.Question(text, "moment")
        elif share < 0.3:
            asked = corpus.question(rng, words, facts)
        elif share < 0.65:  # names and things are told apart only when each is heard often
            asked = corpus.question(rng, words, facts, rng.choice(["remember", "introduce"]))
        elif share < 0.78:  # short as they are, it takes many to know them from "stop"
            asked = corpus.Question(rng.choice(corpus.BACKCHANNELS), "backchannel")
        elif share < 0.91:
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
            )
        )
    return lines


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
    up = round(100 / line.resample)
    pcm = resample_poly(spoken.pcm, up, 100).astype(np.float32)
    factor = up / 100
    return speech.Speech(pcm, [(w, a * factor, b * factor) for w, a, b in spoken.words])


def pcm16(pcm: np.ndarray) -> np.ndarray:
    """Float PCM to int16."""
    return (np.clip(pcm, -1, 1) * 32767).astype(np.int16)


_tokenizer = None


def make_agent(job: tuple[Path, str]) -> tuple[Clip, np.ndarray]:
    """Synthesize one text of the agent on the frame grid."""
    global _tokenizer
    folder, text = job
    if _tokenizer is None:
        _tokenizer = load_tokenizer(folder)
    spoken = speech.flite_voice("slt").speak(text, AGENT_STRETCH)
    least = [len(_tokenizer.encode(word)) + 1 for word in text.split()]
    spoken = align_to_frames(spoken, least)
    return Clip(text, "slt", spoken.words), pcm16(spoken.pcm)


def make_user(line: UserLine) -> tuple[Clip, np.ndarray]:
    """Synthesize one line of a user."""
    spoken = speak_user(line)
    return Clip(line.text, line.voice, spoken.words), pcm16(spoken.pcm)


def in_parallel(
    make: Callable[[Job], tuple[Clip, np.ndarray]], jobs: list[Job], workers: int, label: str
) -> Iterator[tuple[Clip, np.ndarray]]:
    """Map `make` over `jobs` in `workers` processes, keeping the order and showing progress."""
    with multiprocessing.get_context("spawn").Pool(workers) as pool:
        for done, result in enumerate(pool.imap(make, jobs, chunksize=32), 1):
            if done % 500 == 0 or done == len(jobs):
                print(
                    f"\r{label} {done}/{len(jobs)}",
                    end="\n" if done == len(jobs) else "",
                    flush=True,
                )
            yield result


def synthesize(
    folder: Path, sentences: int, users: int, workers: int = 2, user_seed: int = 12
) -> None:
    """Write `agent.*` and `user.*` clips and `user_lines.jsonl` unless they are there already."""
    words, _ = corpus.vocabularies()
    if not (folder / "agent.jsonl").exists():
        jobs = [(folder, text) for text in agent_texts(words, sentences)]
        write_clips(folder, "agent", in_parallel(make_agent, jobs, workers, "agent"))
    if not (folder / "user.jsonl").exists():
        lines = user_lines(words, users, user_seed)
        write_clips(folder, "user", in_parallel(make_user, lines, workers, "user"))
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
        spoken: dict[int, speech.Speech] = {}
        bulk = [i for i, line in enumerate(lines) if line.voice.startswith("festival:")]
        for at in range(0, len(bulk), 40):
            part = bulk[at : at + 40]
            voice = lines[part[0]].voice.removeprefix("festival:")
            spoken.update(
                zip(part, speech.festival([lines[i].text for i in part], voice), strict=False)
            )
        clips = []
        for index, line in enumerate(lines):
            said = spoken[index] if index in spoken else speak_user(line)
            clips.append((Clip(line.text, line.voice, said.words), pcm16(said.pcm)))
        write_clips(folder, "held", clips)
    return lines
