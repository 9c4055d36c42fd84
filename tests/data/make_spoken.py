"""Makes the spoken test audio: needs flite and espeak-ng; run `python tests/data/make_spoken.py`.

Each utterance is trimmed to where it can be heard (within 40 dB of its loudest 5 ms),
put between 0.5 s and 0.7 s of silence, and brought to an active level of -23 dBFS. So
the times in ``spoken.json`` are known by construction, not measured by a detector.
"""

from __future__ import annotations

import json
import subprocess
import tempfile
from pathlib import Path

import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray

HERE = Path(__file__).parent
RATE = 16_000
LEAD, TAIL = 0.5, 0.7
LEVEL_DBFS = -23.0

UTTERANCES = [
    ("hello", "awb", "hello"),
    ("what_is_your_name", "rms", "what is your name"),
    ("what_do_i_like", "awb", "what do i like"),
    ("weather", "kal16", "what is the weather like in paris"),
    ("thank_you", "espeak-en-us", "thank you very much"),
    ("stop", "rms", "stop please"),
    ("goodbye", "espeak-en-gb", "goodbye"),
    (
        "long_question",
        "rms",
        "remember that i like swimming, and then tell me, what is the weather like in london, "
        "and what time is it in tokyo",
    ),
    ("timer", "espeak-en-us+f5", "set a timer for two seconds"),
    ("agent_answer", "slt", "my name is coda, nice to meet you, what can i do for you today"),
]


def synthesise(voice: str, text: str, path: Path) -> None:
    """Speak ``text`` into a WAV file."""
    if voice.startswith("espeak-"):
        command = ["espeak-ng", "-v", voice.removeprefix("espeak-"), "-s", "150", "-w", str(path)]
    else:
        command = ["flite", "-voice", voice, "-o", str(path), "-t"]
    subprocess.run([*command, text], check=True)


def trim(pcm: NDArray[np.float64]) -> NDArray[np.float64]:
    """Cut ``pcm`` to its audible part, to 5 ms."""
    step = RATE // 200
    blocks = pcm[: len(pcm) // step * step].reshape(-1, step)
    power = np.square(blocks).mean(axis=1)
    loud = np.flatnonzero(power > power.max() * 1e-4)
    return pcm[loud[0] * step : (loud[-1] + 1) * step]


def main() -> None:
    """Write the FLAC files and ``spoken.json``."""
    table = {}
    for name, voice, text in UTTERANCES:
        with tempfile.TemporaryDirectory() as folder:
            wav = Path(folder) / "speech.wav"
            synthesise(voice, text, wav)
            pcm, rate = soundfile.read(wav)
        speech = trim(soxr.resample(pcm, rate, RATE, quality="VHQ"))
        frames = speech[: len(speech) // 320 * 320].reshape(-1, 320)
        power = np.square(frames).mean(axis=1)
        active = power[power > power.max() * 1e-3].mean()
        speech *= 10 ** (LEVEL_DBFS / 20) / np.sqrt(active)
        speech *= min(1.0, 0.95 / np.abs(speech).max())
        audio = np.concatenate(
            [np.zeros(int(LEAD * RATE)), speech, np.zeros(int(TAIL * RATE))]
        ).astype(np.float32)
        soundfile.write(HERE / f"{name}.flac", audio, RATE, subtype="PCM_16")
        table[name] = {
            "file": f"{name}.flac",
            "text": text,
            "voice": voice,
            "sample_rate": RATE,
            "onset": LEAD,
            "offset": round(LEAD + len(speech) / RATE, 4),
            "duration": round(len(audio) / RATE, 4),
        }
    (HERE / "spoken.json").write_text(json.dumps(table, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
