"""Many conversations at once through `LMGen`, each with its own script: the evaluation's mouth.

A `Row` says frame by frame what the user sends and what is forced; `converse` steps all rows as
one batch and returns monologue and codes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import torch
from moshi.models.lm import LMGen, LMModel
from moshi.utils.compile import no_compile

from coda_voice.moshi.lean import make_lean
from coda_voice.moshi.working_rows import WorkingRows

from .tokenizer import EPAD, PAD

FREE = -1


@dataclass
class Row:
    """One conversation of n frames.

    `user` int [8, n]; `text` int [n], `FREE` where the model chooses; `hold` bool [n]: the agent's
    codes are silence (prompt); `reference` int [n], -1 for none; `written` int [n], what the
    transcriber writes at the end of each frame; `pacer` may replace the sampled text token
    (frame, token) -> token on free frames.
    """

    user: np.ndarray
    text: np.ndarray = field(default_factory=lambda: np.empty(0, int))
    hold: np.ndarray = field(default_factory=lambda: np.empty(0, bool))
    reference: np.ndarray = field(default_factory=lambda: np.empty(0, int))
    written: np.ndarray = field(default_factory=lambda: np.empty(0, int))
    pacer: Callable[[int, int], int] | None = None

    def __post_init__(self) -> None:
        n = self.user.shape[1]
        self.text = self.text if len(self.text) else np.full(n, FREE)
        self.hold = self.hold if len(self.hold) else np.zeros(n, bool)
        self.reference = self.reference if len(self.reference) else np.full(n, -1)
        self.written = self.written if len(self.written) else np.full(n, PAD)


class Pacer:
    """Puts a script into the monologue: the model keeps the rhythm, the words are given.

    Where the model samples PAD it gets PAD (up to `patience` frames), otherwise EPAD and the next
    word, one piece a frame. After the last word only PAD, so that nothing is added.
    """

    def __init__(self, words: list[list[int]], begin: int, patience: int = 7) -> None:
        self.words, self.begin, self.patience = list(words), begin, patience
        self._pieces: list[int] = []
        self._pads = 0

    def __call__(self, frame: int, token: int) -> int:
        if frame < self.begin:
            return PAD
        if self._pieces:
            self._pads = 0
            return self._pieces.pop(0)
        if not self.words:
            return PAD
        if token == PAD and self._pads < self.patience and frame > self.begin:
            self._pads += 1
            return PAD
        self._pieces = list(self.words.pop(0))
        return EPAD


@torch.no_grad()
def converse(
    lm: LMModel,
    reference: torch.Tensor,
    silence: np.ndarray,
    rows: list[Row],
    sampling: dict[str, float],
    seed: int = 0,
    transcript: torch.Tensor | None = None,
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Step all rows; per row the monologue int [m] and the codes int [8, m], m = n - 1 frames.

    `reference`, `transcript` [tokens, dim]: what a token of either adds to the input (None: what
    the transcriber writes does not reach the model).
    """
    torch.manual_seed(seed)
    batch, length = len(rows), max(row.user.shape[1] for row in rows)
    user = np.repeat(np.repeat(silence[None, :, None], batch, 0), length, 2)
    text, hold = np.full((batch, length), FREE), np.zeros((batch, length), bool)
    given = np.full((batch, length), reference.shape[0] - 1)
    written = np.full((batch, length + 1), PAD)
    for i, row in enumerate(rows):
        n = row.user.shape[1]
        user[i, :, :n], text[i, :n], hold[i, :n] = row.user, row.text, row.hold
        given[i, :n] = np.where(row.reference >= 0, row.reference, reference.shape[0] - 1)
        written[i, 1 : n + 1] = row.written
    frame = 0
    held = torch.from_numpy(silence.copy()).long()

    def choose(tokens: torch.Tensor) -> None:
        for i, row in enumerate(rows):
            if text[i, frame] != FREE:
                tokens[i] = int(text[i, frame])
            elif row.pacer is not None:
                tokens[i] = row.pacer(frame, int(tokens[i]))

    def keep_silent(codes: torch.Tensor) -> None:
        mask = torch.from_numpy(hold[:, frame])
        codes[mask] = held

    generator = LMGen(lm, on_text_hook=choose, on_audio_hook=keep_silent, **sampling)
    outputs = []
    with generator.streaming(batch), no_compile():
        make_lean(lm, WorkingRows(batch))  # as the engine runs it
        state = generator._streaming_state
        for frame in range(length):
            told = torch.from_numpy(given[:, frame])
            added = reference[told]
            if transcript is not None:  # a word written where something is told is left out
                read = transcript[torch.from_numpy(written[:, frame])]
                added = torch.where((told == len(reference) - 1)[:, None], read, added)
            state.condition_sum = added[:, None]
            out = generator.step(torch.from_numpy(user[:, :, frame : frame + 1]).long())
            if out is not None:
                outputs.append(out[:, :, 0])
    result = torch.stack(outputs, 2).numpy()
    return [
        (result[i, 0, : r.user.shape[1] - 1], result[i, 1:, : r.user.shape[1] - 1])
        for i, r in enumerate(rows)
    ]
