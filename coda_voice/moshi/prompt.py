"""A prompt as the frames a model would have lived through.

PersonaPlex's manner (arXiv:2602.06053): the text is forced token by token into the inner
monologue, wrapped in ``<system>`` tags, while the agent's audio is silence and the user's
a 440 Hz sine; a voice prompt is the agent's own codes of a sample, with a padded text.
Which parts a checkpoint takes, and in which order, its capability record says.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch

from coda_voice.arguments import checked_text
from coda_voice.errors import ConfigurationError, ValidationError
from coda_voice.moshi.capabilities import Capabilities
from coda_voice.moshi.frames import Pcm


@dataclass(frozen=True, slots=True)
class Prompt:
    """What the agent is told before it hears the first frame.

    ``text`` is plain English ("your name is coda"); the tags are added here. ``voice`` is
    a sample of the voice to take (float32, 24 kHz), for checkpoints that can.
    """

    text: str = ""
    voice: Pcm | None = field(default=None, compare=False)

    def __post_init__(self) -> None:
        """Raises ValidationError for a text that is none, or a voice that is no such sample."""
        checked_text(self.text, "a prompt's text", "bad_prompt", "plain English")
        voice: object = self.voice
        if voice is not None and not (
            isinstance(voice, np.ndarray)
            and voice.dtype == np.float32
            and voice.ndim == 1
            and np.isfinite(voice).all()
        ):
            raise ValidationError(
                "A prompt's voice is no sample: give float32 [samples], mono at 24 kHz, as "
                "coda_voice.audio.files.read(path).at(24_000) makes it.",
                "bad_prompt",
            )

    @property
    def key(self) -> str:
        """Names the prompt by its content: the same content has the same prefilled state."""
        digest = hashlib.sha256(self.text.encode())
        if self.voice is not None:
            digest.update(b"\0voice\0")
            digest.update(self.voice.tobytes())
        return digest.hexdigest()

    def __bool__(self) -> bool:
        return bool(self.text.strip()) or self.voice is not None


def checked_prompt(prompt: object) -> Prompt:
    """Give ``prompt`` back, an empty one for None. Raises ValidationError for another type."""
    if prompt is None:
        return Prompt()
    if not isinstance(prompt, Prompt):
        raise ValidationError(
            f"prompt is {type(prompt).__name__}; give a coda_voice.moshi.prompt.Prompt, such as "
            'Prompt(text="you are a patient teacher"), or none for what is configured.',
            "bad_prompt",
        )
    return prompt


@dataclass(frozen=True, slots=True)
class Steps:
    """Tokens of T engine steps, all known: what a prefill takes.

    ``text`` int64 [T]: the token said at each step. ``agent`` [dep_q, T]: the codes the
    depformer gives at each step, its delays applied already (what ``LMGen.step`` takes as
    ``depformer_replace_tokens``). ``user`` [user codebooks, T]: the codes heard. ``sums``
    [T, dim]: the vectors added to the temporal transformer's input, if there were any.
    """

    text: torch.Tensor
    agent: torch.Tensor
    user: torch.Tensor
    sums: torch.Tensor | None = None

    def __len__(self) -> int:
        return int(self.text.shape[0])

    def __getitem__(self, part: slice) -> Steps:
        sums = None if self.sums is None else self.sums[part]
        return Steps(self.text[part], self.agent[:, part], self.user[:, part], sums)

    @staticmethod
    def join(parts: Sequence[Steps]) -> Steps:
        """One after the other; where only some have sums, the others add nothing."""
        given = next((p.sums for p in parts if p.sums is not None), None)
        sums = None
        if given is not None:
            sums = torch.cat(
                [
                    given.new_zeros(len(p), given.shape[1]) if p.sums is None else p.sums
                    for p in parts
                ]
            )
        return Steps(
            torch.cat([p.text for p in parts]),
            torch.cat([p.agent for p in parts], dim=1),
            torch.cat([p.user for p in parts], dim=1),
            sums,
        )


@dataclass(frozen=True, slots=True)
class PromptCodes:
    """The constant codes a prompt is made of: ``silence`` and ``sine``, int64 [codebooks]."""

    silence: torch.Tensor
    sine: torch.Tensor


def prompt_steps(
    prompt: Prompt,
    text_tokens: Sequence[int],
    voice_codes: torch.Tensor | None,
    codes: PromptCodes,
    capabilities: Capabilities,
    agent_delays: Sequence[int],
) -> Steps:
    """Lay a prompt out in steps.

    ``text_tokens`` are the pieces of the wrapped text; ``voice_codes`` [dep_q, T] the codes
    of the voice sample. Raises ConfigurationError if the checkpoint takes no such prompt.
    """
    if prompt.text.strip() and capabilities.prompt == "none":
        raise ConfigurationError(
            f"{capabilities.name or 'this checkpoint'} takes no text prompt: leave moshi.prompt "
            "empty, or use a checkpoint trained with prompts (coda-tiny, PersonaPlex)",
            setting="moshi.prompt",
        )
    if prompt.voice is not None and not capabilities.voice_prompt:
        raise ConfigurationError(
            f"{capabilities.name or 'this checkpoint'} takes no voice prompt: leave "
            "moshi.voice_prompt empty, or use PersonaPlex",
            setting="moshi.voice_prompt",
        )
    layout, pad = capabilities.prompt_layout, capabilities.pad_token
    silence = codes.silence[: capabilities.agent_codebooks]
    sine = codes.sine[: capabilities.user_codebooks]

    def quiet(tokens: Sequence[int]) -> Steps:
        frames = len(tokens)
        return Steps(
            torch.tensor(tokens, dtype=torch.long, device=silence.device),
            silence[:, None].expand(-1, frames),
            sine[:, None].expand(-1, frames),
        )

    parts = [quiet([pad] * layout.silence_before)]
    for part in layout.order:
        if part == "voice" and voice_codes is not None:
            voice = quiet([pad] * voice_codes.shape[1])
            parts.append(Steps(voice.text, _delayed(voice_codes, agent_delays), voice.user))
        elif part == "text":
            parts.append(quiet([pad] * layout.silence_between))
            parts.append(quiet(text_tokens))
    parts.append(quiet([pad] * layout.silence_after))
    return Steps.join(parts)


def _delayed(codes: torch.Tensor, delays: Sequence[int]) -> torch.Tensor:
    """Shift each codebook of [K, T] by its delay, repeating its first code in front."""
    return torch.stack(
        [
            torch.cat([line[:1].expand(delay), line[: line.shape[0] - delay]])
            for line, delay in zip(codes, delays, strict=True)
        ]
    )


def wrap_in_system_tags(text: str) -> str:
    """PersonaPlex's wrapping: the same tag in front and behind."""
    return f"<system> {text.strip()} <system>"
