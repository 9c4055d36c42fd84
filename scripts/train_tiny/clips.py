"""Clips on disk: one flat int16 file of audio and one line of JSON for each clip."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np


@dataclass
class Clip:
    """One utterance.

    `words` holds (word, start, end) in seconds from the first sample; `offset` and `samples`
    locate its PCM (24 kHz mono int16) in the flat file.
    """

    text: str
    voice: str
    words: list[tuple[str, float, float]] = field(default_factory=list)
    offset: int = 0
    samples: int = 0


class ClipStore:
    """Read access to `<name>.i16` and `<name>.jsonl` in a folder."""

    def __init__(self, folder: Path, name: str) -> None:
        self.audio = np.memmap(folder / f"{name}.i16", dtype=np.int16, mode="r")
        with (folder / f"{name}.jsonl").open() as lines:
            self.clips = [Clip(**json.loads(line)) for line in lines]

    def __len__(self) -> int:
        return len(self.clips)

    def pcm(self, index: int) -> np.ndarray:
        """Return clip `index` as float32 PCM [samples], -1...1."""
        clip = self.clips[index]
        return self.audio[clip.offset : clip.offset + clip.samples].astype(np.float32) / 32768


def write_clips(folder: Path, name: str, clips: Iterable[tuple[Clip, np.ndarray]]) -> int:
    """Write clips with their int16 PCM; the files appear only when all are written."""
    folder.mkdir(parents=True, exist_ok=True)
    audio, index = folder / f"{name}.i16", folder / f"{name}.jsonl"
    offset = count = 0
    with (
        audio.with_suffix(".part").open("wb") as sound,
        index.with_suffix(".tmp").open("w") as lines,
    ):
        for clip, pcm in clips:
            clip.offset, clip.samples = offset, len(pcm)
            sound.write(pcm.astype(np.int16).tobytes())
            lines.write(json.dumps(asdict(clip)) + "\n")
            offset += len(pcm)
            count += 1
    audio.with_suffix(".part").rename(audio)
    index.with_suffix(".tmp").rename(index)
    return count
