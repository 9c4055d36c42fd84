"""A language model's weights onto a device, in the number format asked for.

Beyond the moshi package's own loader: a depformer of which only the first steps are wanted,
and int8 weights whose scales that loader rounds.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Literal

import torch
from moshi.models import LMModel, loaders
from moshi.utils.quantize import QLinear, replace_linear_with_qlinear
from safetensors import safe_open
from safetensors.torch import load_file

from coda_voice.moshi.capabilities import Capabilities
from coda_voice.moshi.no_values import NoValues

DtypeName = Literal["auto", "bf16", "fp16", "fp32", "int8"]
DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}


def load_lm(
    info: loaders.CheckpointInfo,
    capabilities: Capabilities,
    device: torch.device,
    precision: DtypeName,
) -> LMModel:
    """Load what ``info`` names, with as many depformer steps as the record says."""
    dtype = DTYPES.get(precision, torch.float16 if device.type == "cuda" else torch.float32)
    stored, steps = capabilities.depformer_steps_stored, capabilities.depformer_steps
    if stored > steps:
        with NoValues():
            lm = loaders.get_moshi_lm(None, lm_kwargs=info.lm_config, device="meta", dtype=dtype)
        state = slice_depformer(load_file(info.moshi_weights, device=str(device)), stored, steps)
        lm.load_state_dict({k: _cast(v, dtype) for k, v in state.items()}, assign=True)
        lm.eval()
    else:
        with NoValues():
            lm = info.get_moshi(device=device, dtype=dtype)
    if any(isinstance(module, QLinear) for module in lm.modules()):
        _restore_scales(lm, info.moshi_weights)
    elif precision == "int8":
        replace_linear_with_qlinear(lm)
    for parameter in lm.parameters():
        parameter.requires_grad_(False)
    return lm


def holds_mlx_weights(path: str | Path) -> bool:
    """Whether a file has the names of Kyutai's MLX checkpoints, which torch cannot open."""
    with safe_open(path, framework="pt") as stored:  # type: ignore[no-untyped-call]
        return any(key.startswith("audio_embs.") for key in stored.keys())  # noqa: SIM118


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
