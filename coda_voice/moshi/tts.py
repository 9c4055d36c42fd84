"""Opening a TTS checkpoint in Kyutai's format: the moshi package's ``TTSModel``, with a voice.

A folder holds ``config.json`` (with ``tts_config`` and ``model_id``), weights, codec and
tokenizer, like any checkpoint, and may hold voices in ``voices``. A voice is a file of
embeddings made for that very checkpoint: ``NAME.SIG@EPOCH.safetensors``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import try_to_load_from_cache
from moshi.conditioners import ConditionAttributes
from moshi.models.tts import DEFAULT_DSM_TTS_VOICE_REPO, TTSModel

from coda_voice.errors import ConfigurationError, ModelLoadingError
from coda_voice.hardware import hub_cache
from coda_voice.moshi.capabilities import TTS_VOICE, capabilities_for
from coda_voice.moshi.checkpoint import checkpoint_info, find_folder, opening
from coda_voice.moshi.frames import FRAME_RATE, SAMPLE_RATE
from coda_voice.moshi.json_fields import Fields, read_json

USUAL_CODEBOOKS = 16
"""Of the 32 that Kyutai's has: as many as sound well and leave it fast enough."""
_TEMPERATURE = 0.6
_CFG = 2.0
"""How strictly text and voice are followed, where the checkpoint was taught to know that."""


@dataclass(frozen=True, slots=True)
class TtsChoice:
    """A TTS checkpoint and a voice that are there; nothing of them has been loaded yet."""

    name: str
    folder: Path
    speaker: Path


def choose_tts(name_or_folder: str | Path, speaker: str | None) -> TtsChoice:
    """Find a checkpoint and the file of its voice.

    ``speaker``: a file, or a name in the checkpoint's ``voices`` or in kyutai/tts-voices as
    downloaded; None for the one the checkpoint comes with. Raises ModelLoadingError or
    ConfigurationError saying what is missing and how to get it.
    """
    capabilities = capabilities_for(name_or_folder)
    if not capabilities.synthesizes:
        raise ConfigurationError(
            f"speaking.voice is {str(name_or_folder)!r}, which does not read text aloud; choose "
            "moshi, or a TTS checkpoint such as kyutai/tts-1.6b-en_fr",
            setting="speaking.voice",
        )
    folder = find_folder(name_or_folder)
    return TtsChoice(str(name_or_folder), folder, _speaker_file(folder, speaker))


def _speaker_file(folder: Path, speaker: str | None) -> Path:
    suffix = _voice_suffix(folder)
    # A download into a folder of one's own puts the voice beside the rest.
    voices = folder / "voices" if (folder / "voices").is_dir() else folder
    there = sorted(voices.rglob(f"*{suffix}"))
    if speaker is None:
        brought = TTS_VOICE.rsplit("tts-voices/", 1)[-1]
        usual = there[0] if there else _cached(brought if brought.endswith(suffix) else "")
        if usual is None:
            raise ConfigurationError(
                f"{folder} brings no voice (voices/*{suffix}); set speaking.speaker to the file of "
                "one, or to its name in kyutai/tts-voices",
                setting="speaking.speaker",
            )
        return usual
    file = Path(speaker).expanduser()
    if file.is_file():
        if file.suffix != ".safetensors":
            raise ConfigurationError(
                f"speaking.speaker is {speaker}, but a voice is a file of embeddings "
                f"(…{suffix}), not a recording",
                setting="speaking.speaker",
            )
        return file
    named = voices / f"{speaker}{suffix}"
    found = named if named.is_file() else _cached(f"{speaker}{suffix}")
    if found is None:
        names = ", ".join(str(f.relative_to(voices)).removesuffix(suffix) for f in there[:8])
        raise ConfigurationError(
            f"speaking.speaker is {speaker!r}, which is no file, and no voice of {folder} "
            f"(it has: {names or 'none'}); fetch {speaker}{suffix} from "
            f"https://huggingface.co/{DEFAULT_DSM_TTS_VOICE_REPO} and give its path",
            setting="speaking.speaker",
        )
    return found


def _voice_suffix(folder: Path) -> str:
    """How the files of its voices end, as the package builds it."""
    path = folder / "config.json"
    identity = Fields(path, read_json(path) or {}).section("model_id")
    signature, epoch = identity.text("sig", ""), identity.integer("epoch", 0)
    if not signature:
        raise ModelLoadingError(
            f"{path} lacks model_id.sig and model_id.epoch, by which the files of its voices are "
            "known; fetch the checkpoint again",
            path=str(path),
        )
    return f".{signature}@{epoch}.safetensors"


def _cached(name: str) -> Path | None:
    if not name:
        return None
    found = try_to_load_from_cache(DEFAULT_DSM_TTS_VOICE_REPO, name, cache_dir=hub_cache())
    return Path(found) if isinstance(found, str) else None


def open_tts(
    choice: TtsChoice, device: str, codebooks: int | None = None
) -> tuple[TTSModel, ConditionAttributes]:
    """Load the model onto a device ("cpu", "cuda", "cuda:1"), and its voice.

    bf16 on a GPU, float32 on a CPU. Raises ModelLoadingError, naming the file, for what is
    corrupt, or for a model that wants a recording instead of a voice's embeddings.
    """
    capabilities = capabilities_for(choice.folder)
    most = capabilities.agent_codebooks
    if codebooks is not None and codebooks > most:
        raise ConfigurationError(
            f"speaking.codebooks is {codebooks}, but {choice.name} has {most}; choose at most that",
            setting="speaking.codebooks",
        )
    where = torch.device(device)
    dtype = torch.bfloat16 if where.type == "cuda" else torch.float32
    with opening(choice.folder):
        info = checkpoint_info(choice.folder, capabilities)
    if info.tts_config.get("multistream"):
        raise ModelLoadingError(
            f"{choice.name} speaks with two voices at once; choose one such as "
            "kyutai/tts-1.6b-en_fr",
            checkpoint=choice.name,
        )
    with opening(info.moshi_weights):
        model = TTSModel.from_checkpoint_info(
            info,
            device=where,
            dtype=dtype,
            n_q=codebooks or min(most, USUAL_CODEBOOKS),
            temp=_TEMPERATURE,
        )
    _check(model, choice.name)
    model.lm.dep_q = model.n_q  # the codebooks beyond are neither sampled nor decoded
    for parameter in [*model.lm.parameters(), *model.mimi.parameters()]:
        parameter.requires_grad_(False)
    with opening(choice.speaker):
        voice = _voice(model, choice.speaker)
    return model, voice


def _check(model: TTSModel, name: str) -> None:
    if model.mimi.sample_rate != SAMPLE_RATE or model.mimi.frame_rate != FRAME_RATE:
        raise ModelLoadingError(
            f"{name} speaks at {model.mimi.sample_rate} Hz in {model.mimi.frame_rate} frames a "
            f"second; what fits is {SAMPLE_RATE} Hz in {FRAME_RATE}",
            checkpoint=name,
        )
    if not model.multi_speaker:
        raise ModelLoadingError(
            f"{name} takes its voice from a recording and not from embeddings; choose one such as "
            "kyutai/tts-1.6b-en_fr",
            checkpoint=name,
        )


def _voice(model: TTSModel, speaker: Path) -> ConditionAttributes:
    degrees: Sequence[float] = sorted(model.valid_cfg_conditionings)
    nearest = min(degrees, key=lambda degree: abs(degree - _CFG)) if degrees else None
    voice: Any = model.make_condition_attributes([speaker], cfg_coef=nearest)
    provider = model.lm.condition_provider
    width = provider.conditioners["speaker_wavs"].dim
    given = voice.tensor["speaker_wavs"].tensor.shape[-1]
    if given != width:
        raise ValueError(f"its embeddings have {given} dimensions, the checkpoint takes {width}")
    return voice
