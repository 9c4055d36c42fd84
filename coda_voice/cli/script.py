"""The user of the demo: recorded utterances, said when a person would say them.

Only the user follows a script, and only in what he says; when depends on what the agent
really does. The sound and ``script.json`` are in ``demo_audio/`` (made by
``scripts/make_demo_audio.py``).
"""

from __future__ import annotations

import json
from collections import deque
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from coda_voice.audio import files
from coda_voice.moshi.frames import FRAME_SAMPLES, FRAME_SECONDS, SAMPLE_RATE, Pcm

DEMO_AUDIO = Path(__file__).parent / "demo_audio"

BEFORE_FIRST = 8
"""Frames of silence before the first word."""
PAUSE = 6
"""Frames of silence after the agent's answer (counted from when its end is certain)."""
PATIENCE = 40
"""Frames the user waits for an answer that does not come."""
PATIENCE_AFTER_STOP = 20
"""The same where none is due."""
INTERRUPTS_AFTER = 8
"""Frames the agent has been speaking when the user interrupts it."""
TALKED_OVER = 125
"""After so many frames, whatever the agent does, anybody would go on."""


@dataclass(frozen=True, slots=True)
class Utterance:
    """Something the user says: its sound (24 kHz) and words; ``interrupts``: in between."""

    text: str
    pcm: Pcm
    interrupts: bool = False


@dataclass(frozen=True, slots=True)
class Script:
    """The user's utterances and the prompt that fits them."""

    prompt: str
    utterances: tuple[Utterance, ...]


@dataclass(frozen=True, slots=True)
class Said:
    """An utterance and when it was said, in seconds; ``interrupting``: the agent spoke."""

    text: str
    start: float
    end: float
    interrupting: bool


def load_script(folder: Path = DEMO_AUDIO) -> Script:
    """Read ``script.json`` and its sound. Raises AudioProcessingError for unreadable sound."""
    found = json.loads((folder / "script.json").read_text(encoding="utf-8"))
    return Script(
        prompt=found["prompt"],
        utterances=tuple(
            Utterance(u["text"], files.read(folder / u["file"]).at(SAMPLE_RATE), u["interrupts"])
            for u in found["utterances"]
        ),
    )


class ScriptedUser:
    """Gives the user's audio frame by frame; the same agent always gets the same user."""

    def __init__(self, script: Script) -> None:
        self.said: list[Said] = []
        self._coming = deque(script.utterances, maxlen=len(script.utterances) or 1)
        self._sound: deque[Pcm] = deque(maxlen=4096)
        self._frame = 0
        self._waited = 0
        self._agent_speaks = 0
        self._quiet = 0
        self._answered = False
        self._stopped = False

    def next_frame(self, agent_speaking: bool) -> Pcm | None:
        """Give the next 80 ms; ``agent_speaking`` is what the user hears by now.

        None when everything has been said and the last answer is over.
        """
        self._frame += 1
        if not self._sound:
            self._listen(agent_speaking)
            if self._may_speak(agent_speaking):
                if not self._coming:
                    return None
                self._say(self._coming.popleft(), agent_speaking)
        if self._sound:
            return self._sound.popleft()
        return np.zeros(FRAME_SAMPLES, dtype=np.float32)

    def _listen(self, agent_speaking: bool) -> None:
        self._waited += 1
        self._agent_speaks = self._agent_speaks + 1 if agent_speaking else 0
        self._quiet = 0 if agent_speaking else self._quiet + 1
        self._answered = self._answered or agent_speaking

    def _may_speak(self, agent_speaking: bool) -> bool:
        if not self.said:
            return self._waited > BEFORE_FIRST
        if self._waited >= TALKED_OVER:
            return True
        if agent_speaking:
            interrupts = bool(self._coming) and self._coming[0].interrupts
            return interrupts and self._agent_speaks >= INTERRUPTS_AFTER
        if self._answered:
            return self._quiet >= PAUSE
        return self._waited >= (PATIENCE_AFTER_STOP if self._stopped else PATIENCE)

    def _say(self, utterance: Utterance, agent_speaking: bool) -> None:
        pcm = np.pad(utterance.pcm, (0, -len(utterance.pcm) % FRAME_SAMPLES))
        self._sound.extend(pcm.reshape(-1, FRAME_SAMPLES))
        start = (self._frame - 1) * FRAME_SECONDS
        end = start + len(utterance.pcm) / SAMPLE_RATE
        self.said.append(Said(utterance.text, start, end, agent_speaking))
        self._waited = self._agent_speaks = self._quiet = 0
        self._answered = False
        self._stopped = utterance.interrupts and agent_speaking
