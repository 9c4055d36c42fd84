"""Texts become sound, one sentence a row: the moshi package's TTS stepped as it is needed.

``TTSModel.generate`` makes whole texts at once and tells of words when it is done. Here
several conversations' sentences are rows of one batch, each stepped only while its sound is
wanted, and every 80 ms frame says how many words have begun by it. The model's own state
machine decides when a word is fed, as in the package; nothing of its sampling is changed.

No threads and no clock: whoever calls must be the one thread that owns the device.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from moshi.conditioners import ConditionAttributes
from moshi.models import LMGen
from moshi.models.tts import Entry, TTSModel
from moshi.utils.compile import no_compile

from coda_voice.moshi.frames import Pcm

_SETTLING_FRAMES = 2
"""The codec's first frames of a sentence click; the package drops them as well."""
_STEPS_FOR_A_WORD = 25
"""A word takes its pieces and ten pauses at most; a sentence that takes more is broken off."""


@dataclass(frozen=True, slots=True)
class Sounding:
    """80 ms of a row: ``pcm`` float32 [1920] (None: nothing to be heard yet), how many words
    of its text have begun to sound, and whether the text is over with it.
    """

    pcm: Pcm | None
    said: int
    over: bool


@dataclass(slots=True)
class _Row:
    """A sentence under way."""

    state: Any
    """The package's ``State``."""
    entry_words: list[int]
    """How many words have begun once an entry has: an entry is a word or a part of one."""
    words: int
    most_steps: int
    offset: int = 0


@dataclass(slots=True)
class _Text:
    """A text as the package reads it, and which entry belongs to which word."""

    entries: list[Entry] = field(default_factory=list)
    entry_words: list[int] = field(default_factory=list)


class Synthesis:
    """A TTS model over ``rows`` sentences at once, all in the one voice."""

    def __init__(self, model: TTSModel, voice: ConditionAttributes, rows: int) -> None:
        self.rows = rows
        self._model = model
        self._machine = model.machine
        self._device = model.lm.device
        self._rows: list[_Row | None] = [None] * rows
        self._stepping: list[bool] = [False] * rows
        lm = model.lm
        zero_until = [d + model.delay_steps for d in lm.delays[lm.audio_offset :][: lm.dep_q]]
        self._silent_until = torch.tensor(zero_until, device=self._device)
        self._offsets = torch.zeros(rows, 1, dtype=torch.long, device=self._device)
        self._first_sound = model.delay_steps + max(lm.delays)
        with torch.no_grad():
            conditions = lm.condition_provider.prepare_and_provide([voice] * rows)
            self._gen = LMGen(
                lm,
                temp=model.temp,
                temp_text=model.temp,
                condition_tensors=conditions,
                on_text_hook=self._choose_text,
                on_audio_hook=self._hold_back_audio,
                support_out_of_sync=True,
            )
            self._gen.streaming_forever(rows)
            model.mimi.streaming_forever(rows)
        others = lm.n_q - lm.dep_q
        zero = self._machine.token_ids.zero
        self._others = torch.full((rows, others, 1), zero, device=self._device)
        self._no_audio = torch.full((rows, lm.dep_q, 1), zero, device=self._device)

    def warm_up(self, text: str = "one") -> None:
        """Read a text in every row: captures the CUDA graphs, loads every kernel."""
        for row in range(self.rows):
            self.begin(row, text.split())
        left = set(range(self.rows))
        while left:
            sounds = self.step(sorted(left))
            left -= {row for row, sound in sounds.items() if sound.over}

    # -- one row ---------------------------------------------------------------------------

    @torch.no_grad()
    def begin(self, row: int, words: Sequence[str]) -> bool:
        """Have a text of these words read next; whatever the row was at is dropped.

        False if there is nothing in it that sounds.
        """
        self.drop(row)
        text = self._read(words)
        if not text.entries:
            return False
        pieces = sum(len(entry.tokens) for entry in text.entries)
        self._rows[row] = _Row(
            state=self._machine.new_state(text.entries),
            entry_words=text.entry_words,
            words=len(words),
            most_steps=self._first_sound + pieces + _STEPS_FOR_A_WORD * (len(text.entries) + 1),
        )
        mask = torch.zeros(self.rows, dtype=torch.bool, device=self._device)
        mask[row] = True
        self._gen.reset_streaming(mask)
        self._model.mimi.reset_streaming(mask)
        return True

    def drop(self, row: int) -> None:
        """Read no further."""
        self._rows[row] = None

    def busy(self, row: int) -> bool:
        """Whether a text is being read in a row."""
        return self._rows[row] is not None

    def _read(self, words: Sequence[str]) -> _Text:
        """Make the package's entries. It splits some words (3:30) and skips others (a lone
        bracket); which entry stands for which word is found by having it read each alone.
        """
        read = _Text()
        plain = [word.replace("<", "").replace(">", "") for word in words]
        for number, word in enumerate(plain, start=1):
            parts = self._model.prepare_script([word], padding_between=1)
            read.entry_words += [number] * len(parts)
        read.entries = list(self._model.prepare_script([" ".join(plain)], padding_between=1))
        return read

    # -- one step for those that are wanted --------------------------------------------------

    @torch.no_grad()
    def step(self, rows: Sequence[int]) -> dict[int, Sounding]:
        """Step these busy rows; gives what became of each. The others keep their state."""
        self._stepping = [row in rows and self.busy(row) for row in range(self.rows)]
        mask = torch.tensor(self._stepping, device=self._device)
        self._gen.set_exec_mask(mask)
        offsets = [0 if row is None else row.offset for row in self._rows]
        self._offsets.copy_(torch.tensor(offsets)[:, None])
        early = all(
            row is None or not on or row.offset < self._model.delay_steps
            for row, on in zip(self._rows, self._stepping, strict=True)
        )
        with self._eager():
            # Before the audio sets in there is nothing for the depformer to do.
            codes = self._gen.step(self._others, self._no_audio if early else None)
            sounding = [
                on and row is not None and row.offset >= self._first_sound
                for row, on in zip(self._rows, self._stepping, strict=True)
            ]
            pcm = self._decode(codes, sounding) if any(sounding) else None
        return {
            number: self._outcome(number, row, None if pcm is None else pcm[number])
            for number, row in enumerate(self._rows)
            if row is not None and self._stepping[number]
        }

    def _eager(self) -> AbstractContextManager[object]:
        return nullcontext() if self._device.type == "cuda" else no_compile()

    def _decode(self, codes: torch.Tensor, sounding: list[bool]) -> Pcm:
        audio = codes[:, 1:].clamp(min=0)
        self._model.mimi.set_exec_mask(torch.tensor(sounding, device=self._device))
        pcm = self._model.mimi.decode(audio).clamp(-1.0, 1.0)
        samples: Pcm = pcm[:, 0].float().cpu().numpy().astype(np.float32)
        return samples

    def _outcome(self, number: int, row: _Row, pcm: Pcm | None) -> Sounding:
        offset, row.offset = row.offset, row.offset + 1
        heard = offset - self._first_sound - _SETTLING_FRAMES
        model, end = self._model, row.state.end_step
        over = end is not None and row.offset >= end + model.delay_steps + model.final_padding
        over = over or row.offset >= row.most_steps
        # A word fed in step s sounds the model's delay later.
        began = offset - max(model.lm.delays) - model.delay_steps
        entries = sum(step <= began for step in row.state.consumption_times)
        said = row.words if over else (row.entry_words[entries - 1] if entries else 0)
        if over:
            self._rows[number] = None
        sounds = pcm is not None and heard >= 0
        return Sounding(
            np.ascontiguousarray(pcm) if sounds and pcm is not None else None,
            said if sounds or over else 0,
            over,
        )

    # -- the package's hooks -----------------------------------------------------------------

    def _choose_text(self, tokens: torch.Tensor) -> None:
        sampled: list[int] = tokens.tolist()
        for number, row in enumerate(self._rows):
            if row is not None and self._stepping[number]:
                sampled[number], _ = self._machine.process(row.offset, row.state, sampled[number])
            else:
                sampled[number] = self._machine.token_ids.pad
        tokens.copy_(torch.tensor(sampled, dtype=tokens.dtype))

    def _hold_back_audio(self, tokens: torch.Tensor) -> None:
        early = self._offsets < self._silent_until
        tokens.masked_fill_(early, self._machine.token_ids.zero)
