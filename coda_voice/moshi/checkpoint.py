"""Opening a checkpoint, by name or folder, through the moshi package's own loaders.

coda-tiny, Moshi, PersonaPlex and a folder of one's own go the same way; what differs is in
the capability record. A folder holds ``config.json`` (the moshi package's keys), weights,
codec and tokenizer, and may hold ``coda.json`` and ``coda.safetensors`` (ours).
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import sentencepiece
import torch
from moshi.models import LMModel, MimiModel, loaders
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file

from coda_voice.errors import ConfigurationError, ModelLoadingError
from coda_voice.hardware import MLX_MISSING
from coda_voice.moshi.capabilities import (
    TINY,
    TINY_FOLDER,
    Backend,
    Capabilities,
    capabilities_for,
    known_checkpoints,
    unknown_checkpoint,
)
from coda_voice.moshi.download import find_local
from coda_voice.moshi.frames import FRAME_RATE, Sampling
from coda_voice.moshi.lm_weights import DtypeName as DtypeName
from coda_voice.moshi.lm_weights import holds_mlx_weights, load_lm

_SEMANTIC_CODEBOOK = "rvq_first"
"""Part of the codec's keys: its first, semantic codebook."""


@dataclass(frozen=True, slots=True)
class TranscriberModel:
    """A recogniser that hears the same codec's codes, opened.

    It writes ``delay_frames`` after the sound, and wants ``silence_frames`` of silence first.
    """

    name: str
    lm: LMModel
    tokenizer: sentencepiece.SentencePieceProcessor
    pad_token: int
    epad_token: int
    delay_frames: int
    silence_frames: int


@dataclass(frozen=True, slots=True)
class SpeechModels:
    """A checkpoint, opened: everything the engine needs of it."""

    name: str
    folder: Path
    capabilities: Capabilities
    mimi: MimiModel
    lm: LMModel
    tokenizer: sentencepiece.SentencePieceProcessor
    device: torch.device
    dtype: torch.dtype
    sampling: Sampling
    """What the checkpoint suggests; the configuration may say otherwise."""
    reference_embedding: torch.Tensor | None = None
    transcript_embedding: torch.Tensor | None = None
    """[tokens, dim]: what the transcriber's tokens add to the input, nothing where it writes no
    word. None: the model does not read along."""
    transcriber: TranscriberModel | None = None
    """None: what users say is not written down."""
    backend: Backend = "torch"
    """What the language models run on; the codec is torch's on either."""

    @property
    def device_name(self) -> str:
        """The device as the configuration calls it."""
        return "mlx" if self.backend == "mlx" else str(self.device)

    def encode_text(self, text: str) -> list[int]:
        """Give the tokens of a text."""
        tokens: list[int] = self.tokenizer.encode(text)
        return tokens

    def reference_vectors(self, tokens: list[int]) -> torch.Tensor:
        """Give the vectors [T, dim] that tell these tokens by frame sum.

        Raises ConfigurationError if the checkpoint has no embedding for them.
        """
        if self.reference_embedding is None:
            raise ConfigurationError(
                f"{self.name} takes no reference tokens (frame_sum is "
                f"{self.capabilities.frame_sum!r})"
            )
        return self.reference_embedding[torch.tensor(tokens, dtype=torch.long)]


def load_models(
    name_or_folder: str | Path = TINY,
    device: str = "auto",
    dtype: DtypeName = "auto",
    transcriber: str | Path = "auto",
) -> SpeechModels:
    """Open a checkpoint on a device ("auto", "cpu", "cuda", "cuda:1", "mlx").

    On "mlx" the language models run there, and the codec on the CPU. A dtype of "auto" is bf16
    on a GPU and on MLX, float32 on a CPU. ``transcriber``: "auto" opens the one
    that the checkpoint brings, if it brings one; "off" none; else the name or folder of a
    transcriber for the same codec. Raises ModelLoadingError, naming the file, if anything
    is missing, corrupt or of another shape than its configuration says.
    """
    folder = find_folder(name_or_folder)
    capabilities = capabilities_for(name_or_folder)
    if not capabilities.converses:
        does = "reads text aloud" if capabilities.synthesizes else "writes down speech"
        raise ModelLoadingError(
            f"{capabilities.name} {does} and cannot converse; choose a Moshi "
            f"checkpoint such as {TINY}",
            checkpoint=str(name_or_folder),
        )
    on_mlx = device == "mlx"
    where = torch.device("cpu") if on_mlx else _device(device)
    usual: DtypeName = "bf16" if on_mlx or where.type == "cuda" else "fp32"
    precision: DtypeName = usual if dtype == "auto" else dtype
    with opening(folder):
        info = checkpoint_info(folder, capabilities)
    with opening(info.mimi_weights):
        mimi = info.get_mimi(where)
    with opening(info.moshi_weights):
        lm = _load_lm(info, capabilities, where, precision, on_mlx)
    with opening(info.tokenizer):
        tokenizer = info.get_text_tokenizer()
    with opening(folder / "coda.safetensors"):
        reference, transcript = _embeddings(folder, lm, capabilities.pad_token)
    heard_by = _transcriber_folder(transcriber, folder, capabilities)
    recogniser = None
    if heard_by is not None:
        heard_in = usual if precision == "int8" else precision
        recogniser = _load_transcriber(heard_by, info, where, heard_in, on_mlx)
        needed = max(mimi.num_codebooks, recogniser.lm.n_q)
        with opening(heard_by):
            mimi.set_num_codebooks(needed)
    return SpeechModels(
        name=str(name_or_folder),
        folder=folder,
        capabilities=capabilities,
        mimi=mimi,
        lm=lm,
        tokenizer=tokenizer,
        device=where,
        dtype=lm.dtype,
        sampling=_suggested_sampling(info.lm_gen_config),
        reference_embedding=reference,
        # Another transcriber's tokens are other words.
        transcript_embedding=transcript if recogniser and transcriber == "auto" else None,
        transcriber=recogniser,
        backend="mlx" if on_mlx else "torch",
    )


def _transcriber_folder(
    choice: str | Path, folder: Path, capabilities: Capabilities
) -> Path | None:
    if choice == "off":
        return None
    if choice == "auto":
        brought = capabilities.transcriber_folder
        return folder / brought if brought else None
    chosen = capabilities_for(choice)
    if chosen.converses or chosen.synthesizes:
        raise ModelLoadingError(
            f"{choice} is no transcriber; choose one such as kyutai/stt-1b-en_fr, or auto or off",
            checkpoint=str(choice),
        )
    return find_folder(choice)


def _load_lm(
    info: loaders.CheckpointInfo,
    capabilities: Capabilities,
    device: torch.device,
    precision: DtypeName,
    on_mlx: bool,
) -> LMModel:
    """Load a language model for torch or, under the same interface, for MLX."""
    if on_mlx:
        try:
            from coda_voice.moshi.mlx_weights import load_mlx_lm
        except ImportError as error:
            raise ConfigurationError(MLX_MISSING, setting="moshi.device") from error
        return load_mlx_lm(info, capabilities, precision)
    if holds_mlx_weights(info.moshi_weights):
        raise ModelLoadingError(
            f"{info.moshi_weights} holds weights for MLX; set moshi.device: mlx, or choose a "
            "checkpoint for torch such as kyutai/moshika-pytorch-bf16",
            path=str(info.moshi_weights),
        )
    return load_lm(info, capabilities, device, precision)


def _load_transcriber(
    folder: Path,
    speaker: loaders.CheckpointInfo,
    device: torch.device,
    precision: DtypeName,
    on_mlx: bool,
) -> TranscriberModel:
    """Open the transcriber in ``folder``, to hear the codes of the speaking model's codec."""
    if not folder.is_dir():
        raise ModelLoadingError(
            f"{folder} is missing, which coda.json names as the transcriber; fetch the checkpoint "
            "again, or set moshi.transcriber: off",
            missing=str(folder),
        )
    capabilities = capabilities_for(folder)
    with opening(folder):
        info = checkpoint_info(folder, capabilities)
    with opening(info.mimi_weights):
        if not _same_codec(Path(info.mimi_weights), Path(speaker.mimi_weights)):
            raise ModelLoadingError(
                f"{folder} hears the codes of another codec ({info.mimi_weights}) than "
                f"{speaker.mimi_weights}; choose a transcriber for the same one",
                transcriber=str(folder),
            )
    with opening(info.moshi_weights):
        lm = _load_lm(info, capabilities, device, precision, on_mlx)
    if any(lm.delays) or lm.dep_q:
        raise ModelLoadingError(
            f"{folder} is a transcriber of an unknown kind: its streams are delayed against each "
            "other, or it speaks",
            transcriber=str(folder),
        )
    with opening(info.tokenizer):
        tokenizer = info.get_text_tokenizer()
    timing = info.stt_config
    return TranscriberModel(
        name=str(folder),
        lm=lm,
        tokenizer=tokenizer,
        pad_token=capabilities.pad_token,
        epad_token=capabilities.epad_token,
        delay_frames=round(float(timing.get("audio_delay_seconds", 0.5)) * FRAME_RATE),
        silence_frames=round(float(timing.get("audio_silence_prefix_seconds", 0.0)) * FRAME_RATE),
    )


def _same_codec(one: Path, other: Path) -> bool:
    """Whether two files hold the same codec, whatever they are called."""
    if one.resolve() == other.resolve():
        return True
    with safe_open(one, framework="pt") as a, safe_open(other, framework="pt") as b:  # type: ignore[no-untyped-call]
        keys = [key for key in a.keys() if _SEMANTIC_CODEBOOK in key]  # noqa: SIM118
        return bool(keys) and all(
            key in b.keys() and torch.equal(a.get_tensor(key), b.get_tensor(key))  # noqa: SIM118
            for key in keys
        )


@contextmanager
def opening(path: Path) -> Iterator[None]:
    """Name the file in whatever the loaders raise about it."""
    try:
        yield
    except (SafetensorError, RuntimeError, OSError, KeyError, TypeError, ValueError) as error:
        raise ModelLoadingError(
            f"{path} cannot be opened: {_first_line(error)}. Fetch the checkpoint again, or check "
            "config.json against the weights",
            path=str(path),
        ) from error


def find_folder(name_or_folder: str | Path) -> Path:
    """Give the folder a checkpoint lies in; a hub name must have been downloaded.

    Raises ModelLoadingError saying how to get it otherwise.
    """
    if str(name_or_folder) == TINY:
        return TINY_FOLDER
    folder = Path(name_or_folder).expanduser()
    if folder.is_dir():
        return folder
    if str(name_or_folder) not in known_checkpoints():
        raise unknown_checkpoint(str(name_or_folder))
    downloaded = find_local(str(name_or_folder))
    if downloaded is None:
        raise ModelLoadingError(
            f"{name_or_folder} has not been downloaded; run: coda-voice download {name_or_folder}",
            error_code="not_downloaded",
            checkpoint=str(name_or_folder),
        )
    return downloaded


def _device(device: str) -> torch.device:
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if device.startswith("cuda") and not torch.cuda.is_available():
        raise ConfigurationError(
            f"device is {device!r}, but torch sees no CUDA GPU; use device: auto or cpu",
            setting="moshi.device",
        )
    if device == "cloud":
        raise ConfigurationError(
            f"device {device!r} does not open checkpoints through torch", setting="moshi.device"
        )
    try:
        return torch.device(device)
    except RuntimeError as error:
        raise ConfigurationError(
            f"device is {device!r}; use auto, cpu, cuda, cuda:N or mlx", setting="moshi.device"
        ) from error


def checkpoint_info(folder: Path, capabilities: Capabilities) -> loaders.CheckpointInfo:
    """Make what the moshi package's loaders read, of the files in ``folder``.

    Raises ModelLoadingError, naming the file that is missing.
    """
    config = folder / "config.json"
    names: dict[str, str] = {
        "moshi_name": loaders.MOSHI_NAME,
        "mimi_name": loaders.MIMI_NAME,
        "tokenizer_name": loaders.TEXT_TOKENIZER_NAME,
    }
    if config.exists():
        given: dict[str, Any] = json.loads(config.read_text(encoding="utf-8"))
        names.update({key: value for key, value in given.items() if key.endswith("_name")})
    elif capabilities.files:
        names.update(zip(names, capabilities.files, strict=True))
    paths = {
        key: _existing(folder, name) for key, name in names.items() if key != "lora_name" and name
    }
    info = loaders.CheckpointInfo.from_hf_repo(
        str(folder),
        moshi_weights=paths["moshi_name"],
        mimi_weights=paths["mimi_name"],
        tokenizer=paths["tokenizer_name"],
        config_path=config if config.exists() else _default_config(),
        mimi_config_path=paths.get("mimi_config_name"),
    )
    if info.lm_config is None or "dim" not in info.lm_config:
        # A configuration that only names the model type means Moshi 7B's shape.
        info.lm_config = dict(loaders._lm_kwargs)
    info.lm_config["dep_q"] = capabilities.depformer_steps
    return info


def _default_config() -> Path:
    """The loader reads a file or asks the hub; Moshi 7B's shape needs neither."""
    return Path(__file__).parent / "moshi_7b.json"


def _existing(folder: Path, name: str) -> Path:
    path = folder / name.removeprefix("file://")
    if not path.is_file():
        raise ModelLoadingError(
            f"{folder} lacks {name}; fetch the checkpoint again or correct config.json",
            folder=str(folder),
            missing=name,
        )
    return path


def _embeddings(
    folder: Path, lm: LMModel, pad_token: int
) -> tuple[torch.Tensor | None, torch.Tensor | None]:
    """What tokens of a reference and of the transcriber add to the input, [tokens, dim] each."""
    path = folder / "coda.safetensors"
    if not path.is_file():
        return None, None
    tensors: dict[str, torch.Tensor] = load_file(path, device=str(lm.device))
    table = tensors.get("reference_embedding")
    if table is None:
        return None, None
    vector = tensors.get("transcript_vector")
    for name, found in (("reference embedding", table), ("transcript vector", vector)):
        if found is not None and found.shape[-1] != lm.dim:
            raise ModelLoadingError(
                f"{path}: the {name} has {found.shape[-1]} dimensions, the model {lm.dim}"
            )
    table = table.to(lm.dtype)
    if vector is None:
        return table, None
    read = table + vector.to(lm.dtype)
    read[: pad_token + 1] = 0.0  # no words: padding, and what stands before a word
    return table, read


def _suggested_sampling(given: dict[str, Any]) -> Sampling:
    usual = Sampling()
    return Sampling(
        temperature=float(given.get("temp", usual.temperature)),
        top_k=int(given.get("top_k", usual.top_k)),
        text_temperature=float(given.get("temp_text", usual.text_temperature)),
        text_top_k=int(given.get("top_k_text", usual.text_top_k)),
    )


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return "; ".join(lines[:2]) or type(error).__name__
