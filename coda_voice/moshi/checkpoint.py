"""Opening a checkpoint, by name or folder, through the moshi package's own loaders.

coda-tiny, Moshi, PersonaPlex and a folder of one's own go the same way; what differs is in
the capability record. A folder holds ``config.json`` (the moshi package's keys), weights,
codec and tokenizer, and may hold ``coda.json`` and ``coda.safetensors`` (ours).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import sentencepiece
import torch
from moshi.models import LMModel, MimiModel, loaders
from moshi.utils.quantize import QLinear, replace_linear_with_qlinear
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file

from coda_voice.errors import ConfigurationError, ModelLoadingError
from coda_voice.moshi.capabilities import (
    TINY,
    TINY_FOLDER,
    Capabilities,
    capabilities_for,
    known_checkpoints,
    unknown_checkpoint,
)
from coda_voice.moshi.download import find_local
from coda_voice.moshi.frames import Sampling

DtypeName = Literal["auto", "bf16", "fp16", "fp32", "int8"]
_DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}


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
    name_or_folder: str | Path = TINY, device: str = "auto", dtype: DtypeName = "auto"
) -> SpeechModels:
    """Open a checkpoint on a device ("auto", "cpu", "cuda", "cuda:1").

    "auto" takes bf16 on a GPU and float32 on a CPU. Raises ModelLoadingError, naming the
    file, if anything is missing, corrupt or of another shape than its configuration says.
    """
    folder = find_folder(name_or_folder)
    capabilities = capabilities_for(name_or_folder)
    if not capabilities.converses:
        raise ModelLoadingError(
            f"{capabilities.name} writes down speech and cannot converse; choose a Moshi "
            f"checkpoint such as {TINY}",
            checkpoint=str(name_or_folder),
        )
    where = _device(device)
    precision: DtypeName = dtype
    if dtype == "auto":
        precision = "bf16" if where.type == "cuda" else "fp32"
    with _opening(folder):
        info = _checkpoint_info(folder, capabilities)
    with _opening(info.mimi_weights):
        mimi = info.get_mimi(where)
    with _opening(info.moshi_weights):
        lm = _load_lm(info, capabilities, where, precision)
    with _opening(info.tokenizer):
        tokenizer = info.get_text_tokenizer()
    with _opening(folder / "coda.safetensors"):
        reference = _reference_embedding(folder, lm)
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
    )


@contextmanager
def _opening(path: Path) -> Iterator[None]:
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
    if device in ("mlx", "cloud"):
        raise ConfigurationError(
            f"device {device!r} does not open checkpoints through torch", setting="moshi.device"
        )
    try:
        return torch.device(device)
    except RuntimeError as error:
        raise ConfigurationError(
            f"device is {device!r}; use auto, cpu, cuda or cuda:N", setting="moshi.device"
        ) from error


def _checkpoint_info(folder: Path, capabilities: Capabilities) -> loaders.CheckpointInfo:
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


def _load_lm(
    info: loaders.CheckpointInfo,
    capabilities: Capabilities,
    device: torch.device,
    precision: DtypeName,
) -> LMModel:
    dtype = _DTYPES.get(precision, torch.float16 if device.type == "cuda" else torch.float32)
    stored, steps = capabilities.depformer_steps_stored, capabilities.depformer_steps
    if stored > steps:
        lm = loaders.get_moshi_lm(None, lm_kwargs=info.lm_config, device="meta", dtype=dtype)
        state = slice_depformer(load_file(info.moshi_weights, device=str(device)), stored, steps)
        lm.load_state_dict({k: _cast(v, dtype) for k, v in state.items()}, assign=True)
        lm.eval()
    else:
        lm = info.get_moshi(device=device, dtype=dtype)
    if any(isinstance(module, QLinear) for module in lm.modules()):
        _restore_scales(lm, info.moshi_weights)
    elif precision == "int8":
        replace_linear_with_qlinear(lm)
    for parameter in lm.parameters():
        parameter.requires_grad_(False)
    return lm


def _cast(tensor: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    return tensor.to(dtype) if tensor.dtype.is_floating_point else tensor


def _restore_scales(lm: LMModel, weights: Path) -> None:
    """Read the int8 scales again in float32: the loader casts them with everything else,
    and the package's own linear layer then refuses them.
    """
    with safe_open(weights, framework="pt") as stored:  # type: ignore[no-untyped-call]
        keys = set(stored.keys())
        for name, module in lm.named_modules():
            if isinstance(module, QLinear):
                key = f"{name}.weight_scb"
                scales = stored.get_tensor(key) if key in keys else module.weight_scb.data
                module.weight_scb.data = scales.float().to(module.weight.device)


_PER_STEP = re.compile(
    r"^(?:depformer_in|linears|depformer_norms)\.(\d+)\."
    r"|^depformer\.layers\.\d+\.gating\.(\d+)\."
    r"|^depformer\.layers\.\d+\.self_attn\.(?:in|out)_projs\.(\d+)\."
)
_STACKED = re.compile(
    r"^depformer\.layers\.\d+\.self_attn\.(?:in_proj_weight|(?:in|out)_proj\.weight)(?:_scb)?$"
)
_EMBEDDING = re.compile(r"^depformer_emb\.(\d+)\.")


def slice_depformer(
    state: dict[str, torch.Tensor], stored: int, steps: int
) -> dict[str, torch.Tensor]:
    """Keep the first ``steps`` of a depformer trained with ``stored`` steps.

    PersonaPlex's depformer also predicts the user's codebooks, which are given at
    inference. Each step has its own weights and sees only the steps before it, so the first
    ones compute the same without the rest.
    """
    kept = {}
    for key, value in state.items():
        if (match := _PER_STEP.match(key)) and int(next(filter(None, match.groups()))) >= steps:
            continue
        if (match := _EMBEDDING.match(key)) and int(match[1]) >= steps - 1:
            continue
        if _STACKED.match(key):
            rows = value.shape[0] // stored
            value = value[: rows * steps].clone()
        kept[key] = value
    return kept


def _reference_embedding(folder: Path, lm: LMModel) -> torch.Tensor | None:
    path = folder / "coda.safetensors"
    if not path.is_file():
        return None
    tensors: dict[str, torch.Tensor] = load_file(path, device=str(lm.device))
    table = tensors.get("reference_embedding")
    if table is None:
        return None
    if table.shape[-1] != lm.dim:
        raise ModelLoadingError(
            f"{path}: the reference embedding has {table.shape[-1]} dimensions, the model {lm.dim}"
        )
    return table.to(lm.dtype)


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
