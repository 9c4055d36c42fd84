"""Building a slot's state beside the running one: at the start, for a new prompt, and at
the context limit.

Whatever the reason, it is the same thing: [prompt, the last frames the slot lived], run
through the model in one side state, a chunk between two ticks, then swapped into the slot
between two frames. The slot goes on meanwhile, and what it lives in that time is appended
before the swap. The codec is not touched, so nothing can be heard of it. No Moshi server
known survives the context limit otherwise (design.md §3, "Text conditioning").
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass

import numpy as np
import torch

from coda_voice.errors import ConfigurationError, ConversationError
from coda_voice.moshi.batch import SlotBatch
from coda_voice.moshi.frames import FRAME_RATE, FRAME_SAMPLES, Renewal
from coda_voice.moshi.prefill import Prefill, PromptCache
from coda_voice.moshi.prompt import Prompt, Steps, prompt_steps, wrap_in_system_tags
from coda_voice.moshi.slot import Slot, SlotState

_CHUNK_SECONDS = 0.012
"""What a chunk may take while conversations run: well below the slack of a tick."""
_CATCH_UP = 4
"""Frames that may be left to append in the moment of the swap."""
_LEAD_FRAMES = 32
"""A renewal begins this long before the context is full."""


@dataclass(slots=True, eq=False)
class _Job:
    """A rebuild that waits or runs."""

    slot: Slot
    prompt: Prompt
    done: Future[Renewal] | None
    joining: bool
    prefill: Prefill | None = None
    prompt_frames: int = 0
    kept: int = 0
    lived: int = 0  # the slot's frame count up to which its past has been taken along


class Rebuilder:
    """Keeps the prefilled prompts and works off rebuilds one at a time."""

    def __init__(self, batch: SlotBatch, keep_seconds: float | None, cache_bytes: int) -> None:
        self._batch = batch
        context = batch.models.capabilities.context_frames
        self._context = context
        keep = context // 4 if keep_seconds is None else int(keep_seconds * FRAME_RATE)
        self._keep = min(keep, context // 2)
        self._lead = min(_LEAD_FRAMES, context // 8)
        self.cache = PromptCache(cache_bytes)
        self._jobs: deque[_Job] = deque(maxlen=4 * batch.slots)
        self._chunk = 32

    @property
    def busy(self) -> bool:
        """Whether there is something to advance."""
        return bool(self._jobs)

    # -- asking for a rebuild ----------------------------------------------------------------

    def check(self, prompt: Prompt) -> None:
        """Raise ConfigurationError if the checkpoint cannot take such a prompt. Any thread."""
        if not prompt:
            return
        known = self._batch.models.capabilities
        tokens = self._text_tokens(prompt) if known.prompt != "none" else []
        frames = len(tokens)
        if prompt.voice is not None:
            frames += len(prompt.voice) // FRAME_SAMPLES
        room = self._context - self._keep - 2 * self._lead
        if frames > room:
            raise ConfigurationError(
                f"the prompt takes {frames} frames, but with a context of {self._context} only "
                f"{room} leave room for a conversation; shorten it",
                frames=frames,
                room=room,
            )
        prompt_steps(prompt, tokens[:1], None, self._batch.codes, known, [])

    def begin(self, slot: Slot) -> None:
        """Start a conversation: prefill its prompt, at once if it is known already."""
        if not slot.prompt:
            slot.context_used = slot.prompt_frames = 0
            self._run(slot)
        else:
            self._begin_with(slot, None)

    def request(self, slot: Slot, prompt: Prompt, done: Future[Renewal] | None) -> None:
        """Ask for a slot to be rebuilt with ``prompt``; before its first frame that is a start."""
        self.cancel(slot)
        if slot.state in (SlotState.ENDED, SlotState.FAILED):
            self._settle(done, ConversationError("the conversation has ended"))
            return
        if len(self._jobs) == self._jobs.maxlen:
            self._settle(done, ConversationError("too many rebuilds are waiting"))
            return
        if self._batch.frames_since_reset(slot.row) == 0:
            slot.state, slot.prompt = SlotState.JOINING, prompt
            self._begin_with(slot, done)
        else:
            self._jobs.append(_Job(slot, prompt, done, joining=False))

    def _begin_with(self, slot: Slot, done: Future[Renewal] | None) -> None:
        state = self.cache.get(slot.prompt.key) if slot.prompt else None
        if state is None:
            self._jobs.append(_Job(slot, slot.prompt, done, joining=True))
            return
        self._batch.write_model(slot.row, state)
        slot.context_used = slot.prompt_frames = int(state.tensors["gen:.offsets"])
        self._run(slot)
        self._settle(done, Renewal(slot.prompt_frames, 0))

    @staticmethod
    def _run(slot: Slot) -> None:
        slot.state = SlotState.RUNNING
        slot.notify()

    def cancel(self, slot: Slot) -> None:
        """Forget what is under way for a slot."""
        for job in [job for job in self._jobs if job.slot is slot]:
            self._jobs.remove(job)
            self._settle(job.done, ConversationError("replaced by a newer rebuild"))

    def cancel_all(self, error: ConversationError) -> None:
        """Forget everything that is under way."""
        while self._jobs:
            self._settle(self._jobs.popleft().done, error)

    @staticmethod
    def _settle(done: Future[Renewal] | None, outcome: Renewal | ConversationError) -> None:
        """Answer whoever waits, unless they have turned away."""
        if done is None or not done.set_running_or_notify_cancel():
            return
        if isinstance(outcome, ConversationError):
            done.set_exception(outcome)
        else:
            done.set_result(outcome)

    # -- the engine's thread -------------------------------------------------------------------

    def after_step(self, stepped: Sequence[Slot]) -> None:
        """Look after each step who nears the context limit, and advance what is under way."""
        for slot in stepped:
            full = slot.context_used >= self._context - self._lead
            if full and not any(job.slot is slot for job in self._jobs):
                self.request(slot, slot.prompt, None)
        if self._jobs:
            self.advance(time.perf_counter())

    def advance(self, started: float) -> None:
        """Take one chunk of the oldest rebuild; swap it in when it has caught up."""
        job = self._jobs[0]
        if job.slot.state in (SlotState.ENDED, SlotState.FAILED):
            self._jobs.popleft()
            self._settle(job.done, ConversationError("the conversation has ended"))
            return
        if job.prefill is None:
            job.prefill = self._start(job)
        if not job.prefill.done:
            job.prefill.advance(self._chunk)
            self._batch.wait()
            self._adapt(time.perf_counter() - started)
        if job.prefill.done:
            self._catch_up_and_swap(job, job.prefill)

    def _start(self, job: _Job) -> Prefill:
        steps = self._prompt_steps(job.prompt)
        job.prompt_frames = len(steps)
        job.lived = self._batch.frames_since_reset(job.slot.row)
        if not job.joining:
            past = self._batch.recent(job.slot.row, self._kept(job))
            job.kept = len(past)
            steps = Steps.join([steps, past])
        return self._batch.prefill(steps)

    def _kept(self, job: _Job) -> int:
        """How many frames of its past a slot lives through again.

        A new prompt comes when the conversation may need its older turns: it keeps up to half
        of the context, where a renewal, which is there to make room, keeps a quarter.
        """
        if job.done is None:
            return self._keep
        room = self._context - job.prompt_frames - 4 * self._lead
        return max(self._keep, min(self._context // 2, room))

    def _catch_up_and_swap(self, job: _Job, prefill: Prefill) -> None:
        row = job.slot.row
        missed = self._batch.frames_since_reset(row) - job.lived
        if missed:
            prefill.append(self._batch.recent(row, missed))
            job.lived += missed
            job.kept += missed
            if missed > _CATCH_UP:
                return  # the next chunk, between the next two frames
        state = prefill.finish()
        self._batch.write_model(row, state)
        self._jobs.popleft()
        slot = job.slot
        slot.prompt, slot.prompt_frames = job.prompt, job.prompt_frames
        slot.context_used = prefill.frames
        if job.joining:
            if job.prompt:
                self.cache.put(job.prompt.key, state.after(prefill.frames))
            self._run(slot)
        else:
            slot.counters.renewals += 1
            slot.renewed = Renewal(job.prompt_frames, job.kept)
        self._settle(job.done, Renewal(job.prompt_frames, job.kept))

    def _adapt(self, seconds: float) -> None:
        """Keep chunks near their time budget on whatever machine this is."""
        if seconds > _CHUNK_SECONDS:
            self._chunk = max(8, int(self._chunk * 0.7))
        elif seconds < _CHUNK_SECONDS / 2:
            self._chunk = min(512, int(self._chunk * 1.5))

    # -- prompts -------------------------------------------------------------------------------

    def _text_tokens(self, prompt: Prompt) -> list[int]:
        text = prompt.text.strip()
        return self._batch.models.encode_text(wrap_in_system_tags(text)) if text else []

    def _prompt_steps(self, prompt: Prompt) -> Steps:
        batch = self._batch
        known = batch.models.capabilities
        lm = batch.models.lm
        if not prompt:
            empty = torch.zeros(0, dtype=torch.long, device=batch.device)
            return Steps(
                empty,
                empty.expand(known.agent_codebooks, 0),
                empty.expand(known.user_codebooks, 0),
            )
        voice = None
        if prompt.voice is not None:
            whole = len(prompt.voice) // FRAME_SAMPLES * FRAME_SAMPLES
            voice = batch.encode_sound(np.ascontiguousarray(prompt.voice[:whole]))
            voice = voice[: known.agent_codebooks]
        return prompt_steps(
            prompt,
            self._text_tokens(prompt),
            voice,
            batch.codes,
            known,
            lm.delays[1 : 1 + lm.dep_q],
        )
