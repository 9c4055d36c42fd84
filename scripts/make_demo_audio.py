"""Makes the demo's user audio: needs flite; run `python -m scripts.make_demo_audio`.

The user of `coda-voice demo` is flite's rms (male, US), each utterance trimmed to where it
can be heard and brought to the same level; the texts go into `script.json` beside the sound.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import numpy as np
import soundfile
import soxr

from tests.data.make_spoken import LEVEL_DBFS, RATE, synthesise, trim

FOLDER = Path(__file__).parent.parent / "coda_voice" / "cli" / "demo_audio"
VOICE = "rms"
PROMPT = "your name is nova. the user is david. the user likes chess"
MARGIN = np.zeros(RATE // 50, dtype=np.float32)  # 20 ms, so that nothing begins with a click

SCRIPT = [
    ("hello", "hello", False),
    ("your_name", "what is your name", False),
    ("my_name", "what is my name", False),
    ("arithmetic", "what is three plus four", False),
    ("what_i_like", "tell me what i like", False),
    ("remember", "please remember that i like swimming", False),
    ("stop", "stop talking", True),
    ("thanks", "thank you very much", False),
    ("goodbye", "goodbye nova", False),
]
"""File, words, whether it is said while the agent speaks."""


def main() -> None:
    """Write the FLAC files and ``script.json``."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    utterances = []
    for name, text, interrupts in SCRIPT:
        with tempfile.TemporaryDirectory() as folder:
            wav = Path(folder) / "speech.wav"
            synthesise(VOICE, text, wav)
            pcm, rate = soundfile.read(wav)
        speech = trim(soxr.resample(pcm, rate, RATE, quality="VHQ"))
        power = np.square(speech[: len(speech) // 320 * 320].reshape(-1, 320)).mean(axis=1)
        speech *= 10 ** (LEVEL_DBFS / 20) / np.sqrt(power[power > power.max() * 1e-3].mean())
        speech *= min(1.0, 0.95 / np.abs(speech).max())
        sound = np.concatenate([MARGIN, speech.astype(np.float32), MARGIN])
        soundfile.write(FOLDER / f"{name}.flac", sound, RATE, subtype="PCM_16")
        utterances.append({"file": f"{name}.flac", "text": text, "interrupts": interrupts})
    script = {"prompt": PROMPT, "utterances": utterances}
    (FOLDER / "script.json").write_text(json.dumps(script, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
