"""The models over a fixed batch of slots: one step for all that have a frame.

No threads and no clock here: whoever calls must be the one thread that owns the device
(``engine.py``). Slots step independently: those in the mask move on, the others keep
their state to the last bit.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray

from coda_voice.moshi.checkpoint import SpeechModels
from coda_voice.moshi.frames import FRAME_SAMPLES, Pcm, Sampling
from coda_voice.moshi.generation import SlotGen
from coda_voice.moshi.helper import Helper
from coda_voice.moshi.history import History
from coda_voice.moshi.lean import make_input_lean, make_lean
from coda_voice.moshi.prefill import Prefill, Prefiller
from coda_voice.moshi.prompt import PromptCodes, Steps
from coda_voice.moshi.sampling import SlotSampler
from coda_voice.moshi.streaming_state import (
    RowState,
    aside,
    read_row,
    side_states,
    write_row,
)
from coda_voice.moshi.transcriber import Transcriber, Written
from coda_voice.moshi.working_rows import WorkingRows

SteerToken = Callable[[int], int]
"""Sees the token a slot sampled, gives the token it shall say."""

_WARM_FRAMES = 10
_MAX_REFERENCES = 512


@dataclass(frozen=True, slots=True)
class SlotSnapshot:
    """Everything that makes a conversation go on where it was, model and codec."""

    state: RowState
    history: RowState
    rng_position: int
    sampling: Sampling
    last_token: int | None
    read: int | None = None


@dataclass(slots=True)
class _Row:
    """What the batch keeps for a slot on the host."""

    sampling: Sampling = field(default_factory=Sampling.greedy)
    steer: SteerToken | None = None
    references: deque[torch.Tensor] = field(default_factory=lambda: deque(maxlen=_MAX_REFERENCES))
    last_token: int | None = None
    forced: bool = False
    muted: bool = False
    transcribing: bool = False
    read: int | None = None
    """The transcriber's latest token, of which the model does not know yet."""


@dataclass(frozen=True, slots=True)
class StepResult:
    """What a step made: ``pcm`` float32 [slots, 1920] (silence in slots that did not step),
    ``codes`` int64 [slots, dep_q] the same in codes, on the device, ``tokens`` the
    monologue's token of that frame, ``forced`` whether it was steered, ``written`` what
    the transcriber wrote of the user (None where it does not listen).
    """

    pcm: NDArray[np.float32]
    codes: torch.Tensor
    tokens: list[int | None]
    forced: list[bool]
    written: list[Written | None]
    encode_seconds: float
    model_seconds: float
    transcribe_seconds: float
    decode_seconds: float


class SlotBatch:
    """Mimi and Moshi streaming over ``slots`` rows.

    ``history_frames`` is how much of its own past a slot remembers for a rebuild.
    """

    def __init__(
        self,
        models: SpeechModels,
        slots: int,
        history_frames: int,
        helper: Helper | None = None,
    ) -> None:
        self.models = models
        self._helper = helper or Helper(False)
        self.slots = slots
        self.device = models.device
        lm, mimi = models.lm, models.mimi
        self._sampler = SlotSampler(slots, self.device, codebooks=lm.dep_q)
        self._working = WorkingRows(slots)
        make_input_lean(lm, self._working)
        self._gen = SlotGen(lm, self._sampler, self._steer, self._working)
        with torch.no_grad():
            mimi.streaming_forever(slots)
            self._gen.streaming_forever(slots)
        if self.device.type == "cpu":
            for part in (lm, mimi):
                make_lean(part, self._working, self._helper)
        self._sums = torch.zeros(slots, 1, lm.dim, dtype=lm.dtype, device=self.device)
        self._gen._streaming_state.condition_sum = self._sums
        self._summed_rows: set[int] = set()
        self._rows = [_Row() for _ in range(slots)]
        self._mask: list[bool] = [True] * slots
        self._mask_tensor = torch.ones(slots, dtype=torch.bool, device=self.device)
        pin = self.device.type == "cuda"
        self._pcm_in = torch.zeros(slots, 1, FRAME_SAMPLES, pin_memory=pin)
        self._pcm_out = torch.zeros(slots, 1, FRAME_SAMPLES, pin_memory=pin)
        self._audible = torch.ones(slots, 1, 1, device=self.device)
        self._stepping: Sequence[bool] = self._mask
        self._reads_along = models.transcript_embedding is not None
        takes_sums = models.capabilities.frame_sum != "none" or self._reads_along
        self._history = History(slots, lm, history_frames, with_sums=takes_sums)
        self._prefiller = Prefiller(self._gen)
        self._mimi_side = side_states(mimi, 1)
        self.codes = self._prompt_codes()
        self._mimi_rest = self._mimi_at_rest()
        self._transcriber = (
            Transcriber(models.transcriber, slots, self._heard_in_silence())
            if models.transcriber is not None
            else None
        )
        for row in range(slots):
            self.reset(row, Sampling.greedy())

    # -- one frame for everybody ---------------------------------------------------------

    @torch.no_grad()
    def step(self, frames: Sequence[Pcm | None]) -> StepResult:
        """Step every slot that has a frame (float32 [1920], finite); None leaves it alone."""
        with self._gen.eager():  # here, as it holds for all threads: none may end it for another
            return self._step(frames)

    def _step(self, frames: Sequence[Pcm | None]) -> StepResult:
        started = time.perf_counter()
        self._set_mask([frame is not None for frame in frames])
        for row, frame in enumerate(frames):
            if frame is None:
                self._pcm_in[row].zero_()
            else:
                self._pcm_in[row, 0] = torch.from_numpy(frame)
        heard = self.models.mimi.encode(self._pcm_in.to(self.device, non_blocking=True))
        user = heard[:, : self._gen.lm_model.n_q - self._gen.lm_model.dep_q]
        encoded = time.perf_counter()

        listening = [
            frame is not None and (row.transcribing or self._reads_along)
            for frame, row in zip(frames, self._rows, strict=True)
        ]
        transcriber = self._transcriber if any(listening) else None
        text = (
            None
            if transcriber is None
            else self._helper.share(lambda: transcriber.step(heard, listening))
        )
        before = [row.last_token for row in self._rows]
        was_forced = [row.forced for row in self._rows]
        self._load_sums(frames)
        tokens = self._gen.step(user)
        self._sampler.advance(self._mask_tensor)
        said = self._gen.text_tokens
        self._history.write(
            self._mask_tensor, frames, said, self._gen.audio_tokens, user[:, :, 0], self._sums
        )
        for row, frame in enumerate(frames):
            if frame is not None:
                self._rows[row].last_token = said[row]
        modelled = time.perf_counter()

        agent = tokens[:, 1:]
        agent = torch.where(agent < 0, self.codes.silence[None, : agent.shape[1], None], agent)
        pcm = self.models.mimi.decode(agent) * self._audible
        self._pcm_out.copy_(pcm)  # a device waits here until its audio is in host memory
        decoded = time.perf_counter()
        written: list[Written | None] = [None] * self.slots
        if transcriber is not None and text is not None:
            for at, wrote in enumerate(transcriber.written(text())):
                if listening[at]:
                    self._rows[at].read = wrote.token
                    written[at] = wrote if self._rows[at].transcribing else None
        transcribed = time.perf_counter()
        return StepResult(
            pcm=self._pcm_out[:, 0].numpy().copy(),
            codes=agent[:, :, 0],
            tokens=before,
            forced=was_forced,
            written=written,
            encode_seconds=encoded - started,
            model_seconds=modelled - encoded,
            transcribe_seconds=transcribed - decoded,
            decode_seconds=decoded - modelled,
        )

    def _steer(self, sampled: list[int]) -> list[int] | None:
        steered: list[int] | None = None
        for row, state in enumerate(self._rows):
            if not self._stepping[row]:
                continue
            state.forced = False
            if state.steer is None:
                continue
            token = state.steer(sampled[row])
            state.forced = token != sampled[row]
            if state.forced:
                steered = list(sampled) if steered is None else steered
                steered[row] = token
        return steered

    def _set_mask(self, mask: list[bool]) -> None:
        self._stepping = mask
        if mask == self._mask:
            return
        self._mask = mask
        self._working.step(mask)
        self._mask_tensor.copy_(torch.tensor(mask))
        self.models.mimi.set_exec_mask(self._mask_tensor)
        self._gen.set_exec_mask(self._mask_tensor)

    def _load_sums(self, frames: Sequence[Pcm | None]) -> None:
        for row, state in enumerate(self._rows):
            if frames[row] is None:
                continue
            # One at a time: of two pieces added up the model makes a third.
            told = state.references.popleft() if state.references else self._read_along(state)
            if told is not None:
                self._sums[row, 0] = told
                self._summed_rows.add(row)
            elif row in self._summed_rows:
                self._sums[row].zero_()
                self._summed_rows.discard(row)

    def _read_along(self, state: _Row) -> torch.Tensor | None:
        """What the transcriber wrote in the frame before, for a model that reads it."""
        table, token = self.models.transcript_embedding, state.read
        if table is None or token is None or token <= self.models.capabilities.pad_token:
            return None
        return table[token]

    # -- one slot --------------------------------------------------------------------------

    @torch.no_grad()
    def reset(self, row: int, sampling: Sampling) -> None:
        """Make a slot new: no past, no steering, audio codec at rest in silence."""
        mask = torch.zeros(self.slots, dtype=torch.bool)
        mask[row] = True
        self.models.mimi.reset_streaming(mask)
        self._gen.reset_streaming(mask)
        write_row("mimi", self.models.mimi, self.slots, row, self._mimi_rest)
        self._forget_mask()
        if self._transcriber is not None:
            self._transcriber.reset(row)
        self._rows[row] = _Row(sampling=sampling, transcribing=self._transcriber is not None)
        self._sampler.configure(row, sampling)
        self._history.clear(row)
        self._sums[row].zero_()
        self._summed_rows.discard(row)
        self._audible[row] = 1.0

    @torch.no_grad()
    def write_model(self, row: int, model: RowState) -> None:
        """Put a model state into a slot between two frames; its codec and settings go on."""
        write_row("lm", self._gen.lm_model, self.slots, row, model)
        write_row("gen", self._gen, self.slots, row, model)

    @torch.no_grad()
    def read_model(self, row: int) -> RowState:
        """Clone a slot's model state."""
        lm = read_row("lm", self._gen.lm_model, self.slots, row)
        return lm | read_row("gen", self._gen, self.slots, row)

    @torch.no_grad()
    def snapshot(self, row: int) -> SlotSnapshot:
        """Clone everything of a slot."""
        whole = self.read_model(row) | read_row("mimi", self.models.mimi, self.slots, row)
        if self._transcriber is not None:
            whole |= self._transcriber.read(row)
        state = self._rows[row]
        return SlotSnapshot(
            state=whole,
            history=self._history.read(row),
            rng_position=self._sampler.position(row),
            sampling=state.sampling,
            last_token=state.last_token,
            read=state.read,
        )

    @torch.no_grad()
    def restore(self, row: int, snapshot: SlotSnapshot) -> None:
        """Continue in ``row`` where the snapshot was taken, in whichever slot that was."""
        transcribing = self._rows[row].transcribing
        self.reset(row, snapshot.sampling)
        self._rows[row].transcribing = transcribing
        self.write_model(row, snapshot.state)
        write_row("mimi", self.models.mimi, self.slots, row, snapshot.state)
        if self._transcriber is not None and "stt:token" in snapshot.state.tensors:
            self._transcriber.write(row, snapshot.state)
        self._history.restore(row, snapshot.history)
        self._sampler.rewind(row, snapshot.rng_position)
        self._rows[row].last_token = snapshot.last_token
        self._rows[row].read = snapshot.read

    def steer(self, row: int, steer: SteerToken | None) -> None:
        """Let ``steer`` choose what the slot says, from the next frame on."""
        self._rows[row].steer = steer

    def mute(self, row: int, muted: bool) -> None:
        """Zero the slot's audio; the model goes on as if it were heard."""
        self._rows[row].muted = muted
        self._audible[row] = 0.0 if muted else 1.0

    def muted(self, row: int) -> bool:
        """Whether the slot's audio is zeroed."""
        return self._rows[row].muted

    @property
    def transcribes(self) -> bool:
        """Whether there is a transcriber."""
        return self._transcriber is not None

    def transcribe(self, row: int, on: bool) -> None:
        """Let what the transcriber hears of a slot be known or not; it begins with no past.

        For a model that reads along it listens in any case.
        """
        if self._transcriber is None or self._rows[row].transcribing == on:
            return
        self._rows[row].transcribing = on
        if on and not self._reads_along:
            self._transcriber.reset(row)

    def flush_transcripts(self, rows: Sequence[int], quiet_frames: int = 0) -> dict[int, list[int]]:
        """Give the tokens that slots would have written if their users were silent from now
        on, as they have been for ``quiet_frames``; nothing changes by it. Slots that are not
        listened to are left out.
        """
        listened = [row for row in rows if self._rows[row].transcribing]
        if self._transcriber is None or not listened:
            return {}
        return self._transcriber.flush(listened, quiet_frames)

    def add_references(self, row: int, vectors: torch.Tensor) -> int:
        """Queue vectors [T, dim] to be added to the slot's input, one a frame.

        Gives how many older ones were dropped because the queue was full.
        """
        state = self._rows[row]
        dropped = 0
        for vector in vectors.to(self._sums):
            dropped += len(state.references) == state.references.maxlen
            state.references.append(vector)
        return dropped

    def drop_references(self, row: int) -> None:
        """Forget the vectors that wait to be added to the slot's input."""
        self._rows[row].references.clear()

    def recent(self, row: int, frames: int) -> Steps:
        """The last steps a slot took, at most ``frames`` of them."""
        return self._history.recent(row, frames)

    def frames_since_reset(self, row: int) -> int:
        """Steps the slot took since it was reset (not counting its prompt)."""
        return self._history.total(row)

    def prefill(self, steps: Steps) -> Prefill:
        """Start to prefill ``steps``; only one prefill at a time."""
        return Prefill(self._prefiller, steps)

    def wait(self) -> None:
        """Wait until the device has done all that it was given: a call returns before."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)

    # -- start -----------------------------------------------------------------------------

    def warm_up(self) -> None:
        """Step all slots a few times: captures the CUDA graphs, loads every kernel."""
        silence = np.zeros(FRAME_SAMPLES, dtype=np.float32)
        for _ in range(3):
            self.step([silence] * self.slots)
        for row in range(self.slots):
            self.reset(row, Sampling.greedy())

    def _forget_mask(self) -> None:
        # reset_streaming switches the rows on again, behind the back of our own record.
        self.models.mimi.set_exec_mask(self._mask_tensor)
        self._gen.set_exec_mask(self._mask_tensor)

    @torch.no_grad()
    def encode_sound(self, pcm: Pcm) -> torch.Tensor:
        """Codes [codebooks, T] of a sound of T whole frames, beside the live streams."""
        mimi = self.models.mimi
        frames = torch.from_numpy(pcm).to(self.device).view(-1, 1, 1, FRAME_SAMPLES)
        with aside(mimi, self._mimi_side):
            mimi.reset_streaming()
            return torch.cat([mimi.encode(frame)[0] for frame in frames], dim=1)

    def _prompt_codes(self) -> PromptCodes:
        """The codes of silence and of the sine: known for the checkpoint, or heard now."""
        known = self.models.capabilities
        t = np.arange(FRAME_SAMPLES * 20, dtype=np.float32) / 24_000
        silence, sine = known.silence_codes, known.sine_codes
        if silence is None:
            silence = tuple(self.encode_sound(np.zeros_like(t))[:, -1].tolist())
        if sine is None:
            wave = (0.5 * np.sin(2 * np.pi * 440 * t)).astype(np.float32)
            sine = tuple(self.encode_sound(wave)[:, -1].tolist())
        return PromptCodes(
            torch.tensor(silence, device=self.device), torch.tensor(sine, device=self.device)
        )

    def _heard_in_silence(self) -> torch.Tensor:
        """All codes [codebooks] of digital silence, those beyond what Moshi hears included."""
        return self.encode_sound(np.zeros(FRAME_SAMPLES * 20, dtype=np.float32))[:, -1]

    @torch.no_grad()
    def _mimi_at_rest(self) -> RowState:
        """The codec after some silence: it starts without a click and without padding."""
        mimi, row = self.models.mimi, 0
        mimi.reset_streaming()
        quiet = torch.zeros(self.slots, 1, FRAME_SAMPLES, device=self.device)
        silence = self.codes.silence[None, : self._gen.lm_model.dep_q, None]
        for _ in range(_WARM_FRAMES):
            mimi.encode(quiet)
            mimi.decode(silence.expand(self.slots, -1, -1).contiguous())
        return read_row("mimi", mimi, self.slots, row)
