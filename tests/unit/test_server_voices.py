"""The voices that clients may choose from: what is one in a folder, and what is not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile

from coda_voice.errors import ProtocolError
from coda_voice.server.voices import Voices


def test_a_voice_is_its_sample_whatever_else_has_its_name(tmp_path: Path):
    sample = np.full(24_000, 0.25, dtype=np.float32)
    soundfile.write(tmp_path / "ada.wav", sample, 24_000)
    (tmp_path / "ada.txt").write_text("Recorded by Ada, who agreed.")
    (tmp_path / "ada").mkdir()
    (tmp_path / "notes.txt").write_text("No voice at all.")
    voices = Voices(str(tmp_path))
    assert voices.names() == ["ada"]
    assert len(voices.read("ada")) == len(voices.read("ada.wav")) == 24_000
    for name in ("notes", "../ada", "eve"):
        with pytest.raises(ProtocolError, match="there are: ada"):
            voices.read(name)
