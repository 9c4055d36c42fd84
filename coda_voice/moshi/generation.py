"""Moshi's step over a batch of slots: the moshi package's LMGen, with what it lacks.

Added here: sampling per slot, a steering hook that may replace each slot's sampled text
token before the depformer hears of it, one summed vector per slot and frame, and a leaner
depformer step.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

import torch
import torch.nn.functional as F
from moshi.models import LMGen, LMModel
from moshi.utils.compile import no_compile
from torch import nn

from coda_voice.moshi.greedy_depformer import GreedyDepformer
from coda_voice.moshi.lean_depformer import LeanDepformer
from coda_voice.moshi.sampling import SlotSampler
from coda_voice.moshi.working_rows import WorkingRows

Steering = Callable[[list[int]], list[int] | None]
"""Sees the sampled text tokens [slots]; returns what is to be said instead, or None."""


class SlotGen(LMGen):  # type: ignore[misc]
    """LMGen over slots. Use inside ``streaming_forever(slots)``.

    ``steering`` is called once a step with the sampled text tokens: the only point where
    the host waits for the device within a step. ``audio_tokens`` [slots, dep_q] holds the
    codes made by the latest step; ``text_tokens`` what was said in the end.
    """

    audio_tokens: torch.Tensor
    text_tokens: list[int]

    def __init__(
        self,
        lm: LMModel,
        sampler: SlotSampler,
        steering: Steering,
        working: WorkingRows | None = None,
    ) -> None:
        super().__init__(
            lm,
            use_sampling=False,  # its argmax then picks what our hook has marked
            on_text_logits_hook=self._mark_drawn_token,
            on_text_hook=self._steer,
            on_audio_hook=self._keep_audio,
            support_out_of_sync=True,
        )
        self._sampler = sampler
        self._steering = steering
        self._lean = isinstance(lm, LMModel) and _depformer_is_plain(lm)
        self._on_cpu: LeanDepformer | None = None
        self._greedy: GreedyDepformer | None = None
        if self._lean and LeanDepformer.fits(lm):
            rows = working or WorkingRows(sampler.slots)
            self._on_cpu = LeanDepformer(lm, sampler.draw, rows)
            self._greedy = GreedyDepformer(lm, rows) if GreedyDepformer.fits(lm) else None

    def eager(self) -> AbstractContextManager[object]:
        """Keep the package from compiling kernels on a CPU: that takes seconds in the middle
        of a conversation, needs a C++ compiler, and changes the last bits of the results.
        """
        return nullcontext() if self.lm_model.device.type == "cuda" else no_compile()

    def step(
        self, input_tokens: torch.Tensor, depformer_replace_tokens: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Take the user's codes [slots, codebooks, 1]; give text and agent codes
        [slots, 1 + dep_q, 1], −2 where there is nothing yet.
        """
        with self.eager():
            codes: torch.Tensor = super().step(input_tokens, depformer_replace_tokens)
        return codes

    def _mark_drawn_token(self, logits: torch.Tensor) -> None:
        if self._sampler.all_greedy:
            return
        token = self._sampler.draw(logits[:, 0, 0], stream=0)
        logits.scatter_(3, token[:, None, None, None], float("inf"))

    def _steer(self, tokens: torch.Tensor) -> None:
        sampled: list[int] = tokens.tolist()
        steered = self._steering(sampled)
        if steered is not None and steered != sampled:
            tokens.copy_(torch.tensor(steered, dtype=tokens.dtype))
            sampled = steered
        self.text_tokens = sampled

    def _keep_audio(self, tokens: torch.Tensor) -> None:
        self.audio_tokens = tokens

    def depformer_step(
        self, text_token: torch.Tensor, transformer_out: torch.Tensor
    ) -> torch.Tensor:
        """Codes [slots, dep_q] of one frame, from the text token [slots] that was said."""
        lm = self.lm_model
        if not isinstance(lm, LMModel):  # on MLX, which runs its own
            spoken: torch.Tensor = lm.depformer_codes(
                text_token, transformer_out, self._sampler.draw
            )
            return spoken
        if self._greedy is not None and self._sampler.greedy_codes:
            return self._greedy.codes(text_token, transformer_out)
        if self._on_cpu is not None:
            return self._on_cpu.codes(text_token, transformer_out)
        if self._lean:
            return self._lean_depformer_step(text_token, transformer_out)
        token, codes = text_token, []
        with lm.depformer.streaming(text_token.shape[0]):
            for step in range(lm.dep_q):
                logits = lm.forward_depformer(step, token[:, None, None], transformer_out)
                token = self._sampler.draw(logits[:, 0, 0], stream=step + 1)
                codes.append(token)
        return torch.stack(codes, dim=1)

    def _lean_depformer_step(
        self, text_token: torch.Tensor, transformer_out: torch.Tensor
    ) -> torch.Tensor:
        """Run the same layers without the streaming machinery.

        The depformer starts anew in every frame and runs at most a few steps: its keys and
        values are a list, and there is no mask to build. On a CPU the package's step spends
        most of its time in that machinery.
        """
        lm = self.lm_model
        layers = lm.depformer.layers
        heads = layers[0].self_attn.num_heads
        keys: list[list[torch.Tensor]] = [[] for _ in layers]
        values: list[list[torch.Tensor]] = [[] for _ in layers]
        schedule = lm.depformer_weights_per_step_schedule
        token, codes = text_token, []
        for step in range(lm.dep_q):
            weights = step if schedule is None else schedule[step]
            embed = lm.depformer_text_emb if step == 0 else lm.depformer_emb[step - 1]
            project = lm.depformer_in[weights if lm.depformer_multi_linear else 0]
            x = project(transformer_out) + embed(token[:, None])  # [slots, 1, depformer_dim]
            for layer, ks, vs in zip(layers, keys, values, strict=True):
                attention = layer.self_attn
                own = weights if attention.weights_per_step else 0
                qkv = attention.in_projs[own](layer.norm1(x))
                q, k, v = qkv.view(x.shape[0], 3, heads, -1).unbind(1)
                ks.append(k)
                vs.append(v)
                seen = F.scaled_dot_product_attention(
                    q[:, :, None], torch.stack(ks, 2), torch.stack(vs, 2)
                )
                out = attention.out_projs[own](seen.reshape(x.shape[0], 1, -1))
                x = x + layer.layer_scale_1(out)
                gating = layer.gating[own] if layer.weights_per_step else layer.gating
                x = x + layer.layer_scale_2(gating(layer.norm2(x)))
            logits = lm.linears[step](lm.depformer_norms[step](x))
            token = self._sampler.draw(logits[:, 0], stream=step + 1)
            codes.append(token)
        return torch.stack(codes, dim=1)


def _depformer_is_plain(lm: LMModel) -> bool:
    """Whether the depformer is of the shape every Moshi checkpoint known so far has."""
    if lm.depformer is None or lm.depformer.rope is not None:
        return False
    return lm.depformer.positional_embedding == "none" and all(
        isinstance(layer.gating, nn.Module)
        and layer.cross_attention is None
        and not layer.skip_self_attn
        and layer.self_attn.kv_repeat == 1
        and layer.self_attn.causal
        for layer in lm.depformer.layers
    )
