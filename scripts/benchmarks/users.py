"""What users of a benchmark say, spoken by voices that coda-tiny was not trained on.

They need the synthesizers of scripts/train_tiny: Debian's libespeak-ng1, festival and
festvox-us-slt-hts.
"""

from __future__ import annotations

import io
from functools import lru_cache

import numpy as np
import soundfile

from coda_voice.moshi.frames import SAMPLE_RATE, Pcm
from scripts.train_tiny.synthesis import HELD_OUT_USERS, UserLine, speak_users

VOICES = HELD_OUT_USERS
LEVEL = 0.3
"""Of the loudest sample."""
_SILENCE_SECONDS = (0.5, 0.7)


@lru_cache(maxsize=256)
def spoken(text: str, voice: str) -> Pcm:
    """Speak ``text``, float32 at 24 kHz. Raises MissingDebianPackage."""
    (said,) = speak_users([UserLine(text, "", None, voice)])
    level = max(1e-6, float(np.abs(said.pcm).max()))
    return (LEVEL * said.pcm / level).astype(np.float32)


def wav(text: str, voice: str) -> bytes:
    """Speak ``text`` with silence around it, as a WAV file."""
    before, after = (round(seconds * SAMPLE_RATE) for seconds in _SILENCE_SECONDS)
    file = io.BytesIO()
    soundfile.write(file, np.pad(spoken(text, voice), (before, after)), SAMPLE_RATE, format="WAV")
    return file.getvalue()
