"""RHVoice: statistical voices learnt from recordings, a woman's among them.

Its callbacks tell where words begin and end between the pieces of sound, so the times are its own.
The interface is that of RHVoice.h, version 1.8 (Debian's `librhvoice5`).
"""

from __future__ import annotations

import ctypes
import functools

import numpy as np

from .speech import Speech, merge_words, open_library, to_24k

_Samples = ctypes.POINTER(ctypes.c_short)
_RATE = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_int, ctypes.c_void_p)
_SPEECH = ctypes.CFUNCTYPE(ctypes.c_int, _Samples, ctypes.c_uint, ctypes.c_void_p)
_PLACE = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_uint, ctypes.c_uint, ctypes.c_void_p)
DATA, CONFIG = b"/usr/share/RHVoice", b"/etc/RHVoice"


class _Callbacks(ctypes.Structure):
    """RHVoice_callbacks."""

    _fields_ = [
        ("set_sample_rate", _RATE),
        ("play_speech", _SPEECH),
        ("process_mark", ctypes.c_void_p),
        ("word_starts", _PLACE),
        ("word_ends", _PLACE),
        ("sentence_starts", ctypes.c_void_p),
        ("sentence_ends", ctypes.c_void_p),
        ("play_audio", ctypes.c_void_p),
        ("done", ctypes.c_void_p),
    ]


class _Start(ctypes.Structure):
    """RHVoice_init_params."""

    _fields_ = [
        ("data_path", ctypes.c_char_p),
        ("config_path", ctypes.c_char_p),
        ("resource_paths", ctypes.c_void_p),
        ("callbacks", _Callbacks),
        ("options", ctypes.c_uint),
    ]


class _Manner(ctypes.Structure):
    """RHVoice_synth_params."""

    _fields_ = [
        ("voice_profile", ctypes.c_char_p),
        *((f"absolute_{what}", ctypes.c_double) for what in ("rate", "pitch", "volume")),
        *((f"relative_{what}", ctypes.c_double) for what in ("rate", "pitch", "volume")),
        ("punctuation_mode", ctypes.c_int),
        ("punctuation_list", ctypes.c_char_p),
        ("capitals_mode", ctypes.c_int),
        ("flags", ctypes.c_int),
    ]


class RHVoice:
    """The English voices "clb" (a woman), "bdl" and "alan" (men).

    Raises MissingDebianPackage without `librhvoice5`, RuntimeError without `rhvoice-english`
    (Debian's component non-free: its licences differ from voice to voice, these three's are free).
    """

    def __init__(self) -> None:
        library = open_library("libRHVoice.so.5", "librhvoice5")
        library.RHVoice_new_tts_engine.restype = ctypes.c_void_p
        library.RHVoice_new_message.restype = ctypes.c_void_p
        self._library = library
        self._samples: list[np.ndarray] = []
        self._count = 0
        self._rate = 24_000
        self._starts: list[tuple[int, int, int]] = []
        self._ends: list[int] = []
        self._keep = _Callbacks(
            _RATE(self._set_rate), _SPEECH(self._play), None,
            _PLACE(self._word_starts), _PLACE(self._word_ends), None, None, None, None,
        )  # fmt: skip
        start = _Start(DATA, CONFIG, None, self._keep, 0)
        self._engine = ctypes.c_void_p(library.RHVoice_new_tts_engine(ctypes.byref(start)))
        if not self._engine:
            raise RuntimeError("RHVoice has no voices: install rhvoice-english.")

    def _set_rate(self, rate: int, _: object) -> int:
        self._rate = rate
        return 1

    def _play(self, samples: object, count: int, _: object) -> int:
        self._samples.append(np.ctypeslib.as_array(samples, (count,)).copy())  # type: ignore
        self._count += count
        return 1

    def _word_starts(self, position: int, length: int, _: object) -> int:
        self._starts.append((position, length, self._count))
        return 1

    def _word_ends(self, position: int, length: int, _: object) -> int:
        self._ends.append(self._count)
        return 1

    def speak(self, text: str, voice: str, rate: float = 1.0, pitch: float = 1.0) -> Speech:
        """Synthesize `text`; `rate` and `pitch` relative to the voice's own."""
        self._samples, self._count, self._starts, self._ends = [], 0, [], []
        manner = _Manner(voice.encode(), 0, 0, 0, rate, pitch, 1.0, 0, None, 0, 0)
        raw = text.encode()
        message = ctypes.c_void_p(
            self._library.RHVoice_new_message(
                self._engine, raw, ctypes.c_uint(len(raw)), 0, ctypes.byref(manner), None
            )
        )
        if not message:
            raise RuntimeError(f"RHVoice does not speak {text!r}.")
        try:
            self._library.RHVoice_speak(message)
        finally:
            self._library.RHVoice_delete_message(message)
        pcm = np.concatenate(self._samples).astype(np.float32) / 32768
        words = [
            (text[at : at + length], start / self._rate, end / self._rate)
            for (at, length, start), end in zip(self._starts, self._ends, strict=True)
        ]
        return Speech(to_24k(pcm, self._rate), merge_words(text, words))


@functools.cache
def rhvoice() -> RHVoice:
    """The one of this process."""
    return RHVoice()
