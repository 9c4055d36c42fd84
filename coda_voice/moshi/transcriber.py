"""Writes down what the users say: Kyutai's streaming recogniser, one more model of the batch.

It hears the codes that Mimi has made for the tick anyway and gives one text token a frame,
like Moshi's monologue, about half a second after the sound ("delayed streams", Zeghidour
et al. 2025, arXiv:2509.08753). Extra heads tell how likely the user stays silent.

The half second need not be waited for: when the user has stopped, silence is stepped
through faster than real time, as Kyutai's Unmute does. Here that happens on the rows of
those concerned, whose state is put back afterwards: the stream itself goes on undisturbed,
and what it then writes a second time is recognised and dropped (``user_words``).
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass

import torch
from moshi.models import LMModel
from moshi.utils.compile import CUDAGraphed, no_compile

from coda_voice.moshi.checkpoint import TranscriberModel
from coda_voice.moshi.lean import make_input_lean, make_lean
from coda_voice.moshi.streaming_state import RowState, read_row, write_row
from coda_voice.moshi.working_rows import WorkingRows

_FLUSH_EXTRA = 6
"""Steps beyond the delay that a flush may take for the pieces of a long last word."""


@dataclass(frozen=True, slots=True)
class Written:
    """What the transcriber wrote in a frame: a text token, and the pause heads."""

    token: int
    pause: tuple[float, ...] | None = None


class Transcriber:
    """The recogniser streaming over ``slots`` rows; rows outside the mask keep their state.

    ``silence`` int64 [codebooks] are Mimi's codes of silence. The audio has no delay of its
    own in this model, so a step is one forward of the temporal transformer.
    """

    def __init__(self, model: TranscriberModel, slots: int, silence: torch.Tensor) -> None:
        self.model = model
        self.slots = slots
        self._lm: LMModel = model.lm
        self._codebooks: int = self._lm.n_q
        self._device: torch.device = self._lm.device
        self._silence = silence[: self._codebooks]
        self._tokens = torch.full((slots,), self._lm.text_initial_token_id, device=self._device)
        self._mask: list[bool] = [True] * slots
        self._mask_tensor = torch.ones(slots, dtype=torch.bool, device=self._device)
        self._working = WorkingRows(slots)
        make_input_lean(self._lm, self._working)
        with torch.no_grad():
            self._lm.streaming_forever(slots)
        if self._device.type == "cpu":
            make_lean(self._lm, self._working)
        self._forward = CUDAGraphed(self._lm.forward_text, disable=self._device.type != "cuda")
        self._rest = self._at_rest()
        for row in range(slots):
            self.reset(row)

    # -- one frame for everybody -----------------------------------------------------------

    @torch.no_grad()
    def step(self, codes: torch.Tensor, mask: Sequence[bool]) -> torch.Tensor:
        """Take Mimi's codes [slots, codebooks, 1] for the rows in the mask.

        Gives the device's side of what was written, for ``written``: nothing is waited for.
        """
        self._set_mask(list(mask))
        inputs = torch.cat([self._tokens[:, None, None], codes[:, : self._codebooks]], dim=1)
        return self._advance(inputs)

    def written(self, out: torch.Tensor) -> list[Written]:
        """Give what each row wrote in a step; of rows outside its mask it means nothing."""
        return [Written(int(token), tuple(pause) or None) for token, *pause in out.tolist()]

    @torch.no_grad()
    def flush(self, rows: Sequence[int], quiet_frames: int = 0) -> dict[int, list[int]]:
        """Give the tokens that some rows would write if their users were silent from now on.

        As many steps as the delay, less the ``quiet_frames`` it is known that nobody spoke
        in, and a few more for a word that is still being written then. The rows' state is
        as before afterwards.
        """
        before = {row: self.read(row) for row in rows}
        codes = self._silence[None, :, None].expand(self.slots, -1, -1)
        mask = [row in before for row in range(self.slots)]
        tokens: dict[int, list[int]] = {row: [] for row in rows}
        needed = max(1, self.model.delay_frames - quiet_frames)
        for step in range(1, needed + _FLUSH_EXTRA + 1):
            wrote = self.written(self.step(codes, mask))
            for row, written in tokens.items():
                written.append(wrote[row].token)
            done = all(written[-1] == self.model.pad_token for written in tokens.values())
            if step >= needed and done:
                break
        for row, state in before.items():
            self.write(row, state)
        return tokens

    def _advance(self, inputs: torch.Tensor) -> torch.Tensor:
        # Eager on a CPU: see SlotGen.eager.
        with nullcontext() if self._device.type == "cuda" else no_compile():
            hidden, logits = self._forward(inputs, None, None)
        tokens = logits[:, 0, 0].argmax(-1)
        self._tokens.copy_(torch.where(self._mask_tensor, tokens, self._tokens))
        # Class 0 of each head is silence.
        pauses = [head(hidden)[:, 0].float().softmax(-1)[:, :1] for head in self._lm.extra_heads]
        return torch.cat([tokens[:, None].float(), *pauses], dim=1)

    def _set_mask(self, mask: list[bool]) -> None:
        if mask == self._mask:
            return
        self._mask = mask
        self._working.step(mask)
        self._mask_tensor.copy_(torch.tensor(mask))
        self._lm.set_exec_mask(self._mask_tensor)

    # -- one slot ----------------------------------------------------------------------------

    @torch.no_grad()
    def reset(self, row: int) -> None:
        """Make a row new: it has heard nothing but silence."""
        self.write(row, self._rest)

    @torch.no_grad()
    def read(self, row: int) -> RowState:
        """Clone a row's state."""
        own = RowState({"stt:token": self._tokens[row].clone()})
        return read_row("stt", self._lm, self.slots, row) | own

    @torch.no_grad()
    def write(self, row: int, state: RowState) -> None:
        """Put a state into a row; the others notice nothing."""
        write_row("stt", self._lm, self.slots, row, state)
        self._tokens[row] = state.tensors["stt:token"]

    @torch.no_grad()
    def _at_rest(self) -> RowState:
        """Hear the silence that the model expects before the first sound.

        The first step of all must be the initial tokens, as in its training.
        """
        initial = self._lm._get_initial_token().expand(self.slots, -1, -1)
        self._advance(initial.contiguous())
        for _ in range(self.model.silence_frames):
            self.step(self._silence[None, :, None].expand(self.slots, -1, -1), self._mask)
        return self.read(0)
