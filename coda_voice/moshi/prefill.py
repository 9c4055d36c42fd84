"""A whole prompt in one forward pass, instead of one step a frame.

All tokens of a prompt are known, so the temporal transformer can take them at once in a
batch-of-one state of its own, and the keys and values go into a slot as a row. The state
that results equals that of stepping (design.md §3, "Prefill"). Prompts are cached by
content: the second conversation with the same persona starts at once.
"""

from __future__ import annotations

from collections import OrderedDict

import torch
from moshi.models import LMModel

from coda_voice.moshi.generation import SlotGen
from coda_voice.moshi.prompt import Steps
from coda_voice.moshi.streaming_state import RowState, aside, read_row, side_states


class Prefill:
    """One prompt on its way through the model, a chunk at a time.

    Between two chunks the live batch steps as usual; ``done`` tells when ``state`` is
    ready. More steps may be appended while it runs.
    """

    def __init__(self, prefiller: Prefiller, steps: Steps) -> None:
        self._prefiller = prefiller
        self._steps = steps
        self._at = 0
        prefiller.begin()

    @property
    def done(self) -> bool:
        """Whether every step has been taken."""
        return self._at >= len(self._steps)

    @property
    def frames(self) -> int:
        """Steps the prompt has."""
        return len(self._steps)

    def append(self, steps: Steps) -> None:
        """Let more steps follow."""
        self._steps = Steps.join([self._steps, steps])

    def advance(self, chunk: int) -> None:
        """Take the next ``chunk`` steps."""
        end = min(self._at + chunk, len(self._steps))
        self._prefiller.take(self._steps, self._at, end)
        self._at = end

    def finish(self) -> RowState:
        """Give the state after all steps, taking those that are left."""
        self.advance(len(self._steps) - self._at)
        return self._prefiller.state(self._steps)


class Prefiller:
    """Owns the side state in which prompts are prefilled; one prompt at a time.

    ``context`` is the model's: a prompt that does not leave room for a conversation is
    refused by the caller, one longer than ``context`` cannot be taken at all.
    """

    def __init__(self, gen: SlotGen) -> None:
        self._gen = gen
        self._lm: LMModel = gen.lm_model
        self._side = side_states(self._lm, 1)
        self._delays: list[int] = list(self._lm.delays)
        self._capacity = gen.max_delay + 2  # as LMGen's own token cache

    @torch.no_grad()
    def begin(self) -> None:
        """Empty the side state."""
        with aside(self._lm, self._side):
            self._lm.reset_streaming()

    @torch.no_grad()
    def take(self, steps: Steps, start: int, end: int) -> None:
        """Run steps ``start`` to ``end`` through the temporal transformer."""
        if end <= start:
            return
        inputs = self._inputs(steps, start, end)[None]
        sums = None if steps.sums is None else steps.sums[start:end][None]
        with aside(self._lm, self._side), self._gen.eager():
            # Eager, not through the captured graph: its shape differs from call to call.
            self._lm.forward_text(inputs, sums, None)

    @torch.no_grad()
    def state(self, steps: Steps) -> RowState:
        """Read the prefilled row, as LMGen and its model would hold it after these steps."""
        with aside(self._lm, self._side):
            model = read_row("lm", self._lm, 1, 0)
        lm, frames = self._lm, len(steps)
        shape = (lm.num_codebooks, self._capacity)
        cache = torch.full(shape, lm.ungenerated_token_id, dtype=torch.long, device=lm.device)
        cache[:, frames % self._capacity] = self._inputs(steps, frames, frames + 1)[:, 0]
        # What the last user's frame has delayed waits in the positions beyond.
        audio = 1 + lm.dep_q
        for codebook, delay in enumerate(self._delays[audio:]):
            position = frames - 1 + delay
            if frames and position > frames:
                cache[audio + codebook, position % self._capacity] = steps.user[codebook, -1]
        offsets = torch.tensor(frames, dtype=torch.long, device=lm.device)
        return model | RowState({"gen:.cache": cache, "gen:.offsets": offsets})

    def _inputs(self, steps: Steps, start: int, end: int) -> torch.Tensor:
        """Give the model's inputs [codebooks, positions], as LMGen would have gathered them.

        Text and agent codes of a position were written by the step before; the user's by
        the step ``delay`` earlier; up to its delay every stream gets its initial token.
        """
        lm = self._lm
        inputs: torch.Tensor = lm._get_initial_token()[0].repeat(1, end - start)
        for stream, delay in enumerate(self._delays):
            if stream == 0:
                line, lag = steps.text, 1
            elif stream <= lm.dep_q:
                line, lag = steps.agent[stream - 1], 1
            else:
                line, lag = steps.user[stream - 1 - lm.dep_q], delay
            first = max(start, delay + 1)
            last = min(end, len(steps) + lag)
            if last > first:
                inputs[stream, first - start : last - start] = line[first - lag : last - lag]
        return inputs


MOST_PROMPTS = 64


class PromptCache:
    """Prefilled states by prompt content, least recently used dropped first.

    ``limit_bytes`` bounds the memory they hold on the model's device, ``most`` their number: what
    is remembered of users makes a prompt of its own for each, and that of a small model takes
    long to fill the memory it may have.
    """

    def __init__(self, limit_bytes: int, most: int = MOST_PROMPTS) -> None:
        self._limit = limit_bytes
        self._most = most
        self._states: OrderedDict[str, RowState] = OrderedDict()
        self._bytes = 0
        self.hits = 0
        self.misses = 0

    def get(self, key: str) -> RowState | None:
        """Give the state of a prompt, or None."""
        state = self._states.get(key)
        if state is None:
            self.misses += 1
            return None
        self.hits += 1
        self._states.move_to_end(key)
        return state

    def put(self, key: str, state: RowState) -> None:
        """Keep the state of a prompt, making room for it."""
        if key in self._states or state.nbytes > self._limit:
            return
        self._states[key] = state
        self._bytes += state.nbytes
        while self._bytes > self._limit or len(self._states) > self._most:
            _, old = self._states.popitem(last=False)
            self._bytes -= old.nbytes
