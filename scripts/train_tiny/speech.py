"""Speech synthesis with word times: flite and espeak-ng through their libraries, Pico, festival.

Debian packages: `flite` (libflite1), `libespeak-ng1`, `festival` with its voices; Pico
comes with its voices from PyPI (`ttspico`, Apache 2.0). RHVoice is in rhvoice.py.
Every function returns float32 PCM at 24 kHz and word times in seconds.
"""

from __future__ import annotations

import ctypes
import subprocess
import tempfile
from dataclasses import dataclass
from functools import lru_cache
from math import gcd
from pathlib import Path

import numpy as np
from scipy.io import wavfile
from scipy.signal import resample_poly

SAMPLE_RATE = 24_000
WordTimes = list[tuple[str, float, float]]


class MissingDebianPackage(RuntimeError):
    """A synthesizer of the recipe is not installed."""


@dataclass(frozen=True)
class Speech:
    """PCM (float32 [samples], 24 kHz) and (word, start, end) in seconds."""

    pcm: np.ndarray
    words: WordTimes


def to_24k(pcm: np.ndarray, rate: int) -> np.ndarray:
    """Resample float PCM of any integer rate to 24 kHz."""
    if rate == SAMPLE_RATE:
        return pcm.astype(np.float32)
    common = gcd(rate, SAMPLE_RATE)
    return resample_poly(pcm, SAMPLE_RATE // common, rate // common).astype(np.float32)


def open_library(name: str, package: str) -> ctypes.CDLL:
    """Open a shared library or say which Debian package brings it."""
    try:
        return ctypes.CDLL(name, mode=ctypes.RTLD_GLOBAL)
    except OSError as error:
        raise MissingDebianPackage(f"{name} not found: apt-get install {package}") from error


class _Wave(ctypes.Structure):
    """flite's cst_wave."""

    _fields_ = [
        ("type", ctypes.c_char_p),
        ("sample_rate", ctypes.c_int),
        ("num_samples", ctypes.c_int),
        ("num_channels", ctypes.c_int),
        ("samples", ctypes.POINTER(ctypes.c_short)),
    ]


class Flite:
    """One flite voice: "slt", "awb", "rms" (clustergen, CMU ARCTIC) or "kal16" (diphones)."""

    START = b"R:SylStructure.daughter1.daughter1.R:Segment.p.end"
    END = b"R:SylStructure.daughtern.daughtern.R:Segment.end"

    def __init__(self, voice: str) -> None:
        library = open_library("libflite.so.1", "libflite1")
        for name in ("libflite_usenglish.so.1", "libflite_cmulex.so.1"):
            open_library(name, "libflite1")
        voices = open_library(f"libflite_cmu_us_{voice}.so.1", "libflite1")
        library.flite_init()
        pointers = ("flite_synth_text", "utt_wave", "utt_relation", "relation_head", "item_next")
        for name in pointers:
            getattr(library, name).restype = ctypes.c_void_p
        library.ffeature_float.restype = ctypes.c_float
        library.item_feat_string.restype = ctypes.c_char_p
        library.feat_set_float.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_float]
        register = getattr(voices, f"register_cmu_us_{voice}")
        register.restype = ctypes.c_void_p
        self._voice = ctypes.c_void_p(register(None))
        self._library = library

    def set_stretch(self, stretch: float) -> None:
        """Set the duration of every phone relative to the voice's own."""
        features = ctypes.cast(self._voice, ctypes.POINTER(ctypes.c_void_p))[1]
        self._library.feat_set_float(features, b"duration_stretch", stretch)

    def speak(self, text: str, stretch: float = 1.0) -> Speech:
        """Synthesize `text`."""
        lib = self._library
        self.set_stretch(stretch)
        utterance = ctypes.c_void_p(lib.flite_synth_text(text.encode(), self._voice))
        try:
            wave = ctypes.cast(lib.utt_wave(utterance), ctypes.POINTER(_Wave)).contents
            samples = np.ctypeslib.as_array(wave.samples, (wave.num_samples,))
            pcm = samples.astype(np.float32) / 32768
            words: WordTimes = []
            item = lib.relation_head(ctypes.c_void_p(lib.utt_relation(utterance, b"Word")))
            while item:
                here = ctypes.c_void_p(item)
                name = lib.item_feat_string(here, b"name").decode()
                start = lib.ffeature_float(here, self.START)
                words.append((name, start, lib.ffeature_float(here, self.END)))
                item = lib.item_next(here)
            return Speech(to_24k(pcm, wave.sample_rate), merge_words(text, words))
        finally:
            lib.delete_utterance(utterance)

    def phones(self, word: str) -> list[tuple[str, float]]:
        """The phones of `word` spoken alone: (name, end in seconds), the first after the silence.

        Silences ("pau") are left out; their ends count as starts of what follows.
        """
        lib = self._library
        self.set_stretch(1.0)
        utterance = ctypes.c_void_p(lib.flite_synth_text(word.encode(), self._voice))
        try:
            found = []
            item = lib.relation_head(ctypes.c_void_p(lib.utt_relation(utterance, b"Segment")))
            while item:
                here = ctypes.c_void_p(item)
                name = lib.item_feat_string(here, b"name").decode()
                found.append((name, lib.ffeature_float(here, b"end")))
                item = lib.item_next(here)
            return found
        finally:
            lib.delete_utterance(utterance)


def merge_words(text: str, pieces: WordTimes) -> WordTimes:
    """Give the synthesizer's own tokens ("user", "'s") the spelling and number of the text's words.

    Tokens are joined while they spell the next word; when they do not (the synthesizer expanded
    something), times are shared out by number of letters.
    """
    merged: WordTimes = []
    position = 0
    for word in text.split():
        plain, spelled, start, end = word.replace("'", ""), "", None, 0.0
        while position < len(pieces) and plain.startswith(
            spelled + pieces[position][0].lower().replace("'", "")
        ):
            token, left, end = pieces[position]
            start = left if start is None else start
            spelled += token.lower().replace("'", "")
            position += 1
            if spelled == plain:
                break
        if spelled != plain or start is None:
            return spread_words(text, pieces)
        merged.append((word, start, end))
    return merged


def spread_words(text: str, pieces: WordTimes) -> WordTimes:
    """Share the time from the first to the last token among the words by their letters."""
    words = text.split()
    first, last = pieces[0][1], pieces[-1][2]
    edges = np.cumsum([0] + [len(word) + 1 for word in words]) / (len(text) + 1)
    times = first + edges * (last - first)
    return [(w, float(a), float(b)) for w, a, b in zip(words, times, times[1:], strict=False)]


class _Event(ctypes.Structure):
    """espeak-ng's espeak_EVENT."""

    _fields_ = [
        ("type", ctypes.c_int),
        ("unique_identifier", ctypes.c_uint),
        ("text_position", ctypes.c_int),
        ("length", ctypes.c_int),
        ("audio_position", ctypes.c_int),
        ("sample", ctypes.c_int),
        ("user_data", ctypes.c_void_p),
        ("id", ctypes.c_longlong),
    ]


_CALLBACK = ctypes.CFUNCTYPE(
    ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(_Event)
)


class Espeak:
    """espeak-ng in one process; voices such as "en-us+f3". Word events carry the times."""

    WORD, RATE, PITCH, SYNCHRONOUS = 1, 1, 3, 2

    def __init__(self) -> None:
        self._library = open_library("libespeak-ng.so.1", "libespeak-ng1")
        self._rate = self._library.espeak_Initialize(self.SYNCHRONOUS, 0, None, 0)
        self._samples: list[np.ndarray] = []
        self._starts: list[tuple[int, float]] = []
        self._callback = _CALLBACK(self._receive)
        self._library.espeak_SetSynthCallback(self._callback)

    def _receive(self, wave: object, count: int, events: object) -> int:
        if wave and count:
            self._samples.append(np.ctypeslib.as_array(wave, (count,)).copy())  # type: ignore
        index = 0
        while events[index].type:  # type: ignore[index]
            event = events[index]  # type: ignore[index]
            if event.type == self.WORD and event.text_position > 0:  # 0: past the end, no word
                self._starts.append((event.text_position - 1, event.audio_position / 1000))
            index += 1
        return 0

    def speak(self, text: str, voice: str, rate: int = 165, pitch: int = 50) -> Speech:
        """Synthesize `text`; `rate` in words a minute, `pitch` 0...99."""
        self._samples, self._starts = [], []
        self._library.espeak_SetVoiceByName(voice.encode())
        self._library.espeak_SetParameter(self.RATE, rate, 0)
        self._library.espeak_SetParameter(self.PITCH, pitch, 0)
        raw = text.encode() + b"\0"
        self._library.espeak_Synth(raw, len(raw), 0, 0, 0, 1, None, None)
        self._library.espeak_Synchronize()
        pcm = np.concatenate(self._samples).astype(np.float32) / 32768
        last = sounding(pcm)[1] / self._rate
        starts = sorted(set(self._starts))
        ends = [start for _, start in starts[1:]] + [last]
        tokens = [
            (text[position:].split()[0] if text[position:].split() else "", start, end)
            for (position, start), end in zip(starts, ends, strict=False)
        ]
        return Speech(to_24k(pcm, self._rate), merge_words(text, tokens))


class Pico:
    """SVOX Pico, "en-US" or "en-GB": two women's voices. It tells no word times.

    They are estimated: the sounding part is shared out among the words by how long each sounds
    when it is spoken alone.
    """

    RATE = 16_000

    def __init__(self, language: str) -> None:
        from ttspico import TtsEngine

        self._engine = TtsEngine(language)
        self._alone: dict[str, float] = {}

    def _sound(self, text: str) -> np.ndarray:
        return np.frombuffer(self._engine.speak(text), np.int16).astype(np.float32) / 32768

    def _length_alone(self, word: str) -> float:
        if word not in self._alone:
            first, last = sounding(self._sound(word))
            self._alone[word] = (last - first) / self.RATE
        return self._alone[word]

    def speak(self, text: str, rate: int = 100, pitch: int = 100) -> Speech:
        """Synthesize `text`; `rate` and `pitch` in percent of the voice's own."""
        self._engine.rate = self._engine.pitch = 100
        shares = np.cumsum([0.0] + [self._length_alone(word) for word in text.split()])
        self._engine.rate, self._engine.pitch = rate, pitch
        pcm = self._sound(text)
        first, last = (edge / self.RATE for edge in sounding(pcm))
        times = first + shares / shares[-1] * (last - first)
        words = [
            (w, float(a), float(b)) for w, a, b in zip(text.split(), times, times[1:], strict=False)
        ]
        return Speech(to_24k(pcm, self.RATE), words)


def sounding(pcm: np.ndarray) -> tuple[int, int]:
    """First sample, and the one after the last, that are louder than -40 dB of full scale."""
    loud = np.flatnonzero(np.abs(pcm) > 0.01)
    return (int(loud[0]), int(loud[-1]) + 1) if len(loud) else (0, len(pcm))


FESTIVAL_NEEDS = "apt-get install festival festvox-us-slt-hts festvox-kdlpc16k festvox-kallpc16k"


def festival(texts: list[str], voice: str = "cmu_us_slt_arctic_hts") -> list[Speech]:
    """Synthesize many texts with one run of festival (its start takes a second)."""
    with tempfile.TemporaryDirectory() as folder:
        lines = [f"(voice_{voice})"]
        for index, text in enumerate(texts):
            lines += [
                f'(set! u (utt.synth (Utterance Text "{text}")))',
                f'(utt.save.wave u "{folder}/{index}.wav" "riff")',
                f'(set! f (fopen "{folder}/{index}.txt" "w"))',
                '(mapcar (lambda (w) (format f "%s %f %f\\n" (item.name w)'
                ' (item.feat w "word_start") (item.feat w "word_end")))'
                ' (utt.relation.items u "Word"))',
                "(fclose f)",
            ]
        script = Path(folder) / "all.scm"
        script.write_text("\n".join(lines))
        try:
            subprocess.run(["festival", "-b", str(script)], check=True, capture_output=True)
        except FileNotFoundError as error:
            raise MissingDebianPackage(FESTIVAL_NEEDS) from error
        except subprocess.CalledProcessError as error:
            said = error.stderr.decode(errors="replace").strip()
            if "unbound" in said:  # it does not know the voice
                raise MissingDebianPackage(f"{FESTIVAL_NEEDS} ({said})") from error
            raise
        spoken = []
        for index, text in enumerate(texts):
            rate, samples = wavfile.read(Path(folder) / f"{index}.wav")
            rows = [row.split() for row in (Path(folder) / f"{index}.txt").read_text().splitlines()]
            words = [(name, float(start), float(end)) for name, start, end in rows]
            pcm = to_24k(samples.astype(np.float32) / 32768, rate)
            spoken.append(Speech(pcm, merge_words(text, words)))
        return spoken


@lru_cache(maxsize=8)
def flite_voice(name: str) -> Flite:
    """The one `Flite` of this process for a voice."""
    return Flite(name)


@lru_cache(maxsize=1)
def espeak() -> Espeak:
    """The one `Espeak` of this process."""
    return Espeak()


@lru_cache(maxsize=2)
def pico(language: str) -> Pico:
    """The one `Pico` of this process for a language."""
    return Pico(language)
