"""Opening a model for MLX: Kyutai's MLX files, quantised or not, and any torch checkpoint.

Sources: the names in Kyutai's MLX checkpoints and their quantisation (4 bits in groups of 32,
8 bits in groups of 64) as moshi_mlx 0.3.0 writes them; both are read from the tensors' shapes
here, so other widths open too.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import cast

import mlx.core as mx
import mlx.nn as nn
import torch
from moshi.models import loaders

from coda_voice.errors import ModelLoadingError
from coda_voice.moshi.capabilities import Capabilities
from coda_voice.moshi.lm_weights import DTYPES, DtypeName, holds_mlx_weights, load_lm
from coda_voice.moshi.mlx_layers import LmShape, MoshiNetwork, TransformerShape
from coda_voice.moshi.mlx_lm import MlxLM

_DTYPES = {"bf16": mx.bfloat16, "fp16": mx.float16, "fp32": mx.float32}
_INT8_GROUP = 64

_ONLY: Mapping[str, tuple[object, ...]] = {
    "gating": ("silu",),
    "norm": ("rms_norm", "rms_norm_f32"),
    "positional_embedding": ("rope",),
    "layer_scale": (None,),
    "cross_attention": (None, False),
    "depformer_gating": ("silu", None),
    "depformer_pos_emb": ("none", None),
    "depformer_layer_scale": (None,),
    "depformer_norm": (None,),
    "depformer_low_rank_embeddings": (None,),
    "demux_second_text_stream": (None, False),
    "bias_proj": (None, False),
    "fuser": (None,),
    "conditioners": (None,),
}
"""What config.json may say where the network has only one way; every Moshi agrees with it."""


def load_mlx_lm(
    info: loaders.CheckpointInfo, capabilities: Capabilities, precision: DtypeName
) -> MlxLM:
    """Load the model that ``info`` names onto MLX's device.

    ``precision``: of what is not quantised; "int8" quantises the matrices to 8 bits. Raises
    ModelLoadingError for a network MLX is not prepared for, ValueError (MLX's) where weights
    and configuration disagree.
    """
    path = Path(info.moshi_weights)
    config: Mapping[str, object] = info.lm_config
    _check(config, path)
    dtype = _DTYPES.get(precision, mx.bfloat16)
    if holds_mlx_weights(path):
        weights = cast(dict[str, mx.array], mx.load(str(path)))
    else:
        weights = _from_torch(info, capabilities, precision)
    shape = _shape(config, weights)
    network = MoshiNetwork(shape)
    _expect_quantised(network, weights)
    named = [(k, v.astype(dtype) if _is_float(v) else v) for k, v in weights.items()]
    network.load_weights(named, strict=True)
    if precision == "int8" and not any(key.endswith(".scales") for key in weights):
        nn.quantize(network, group_size=_INT8_GROUP, bits=8, class_predicate=_divides)
    network.eval()
    mx.eval(network.parameters())
    delays = [int(delay) for delay in info.lm_config["delays"]]
    return MlxLM(network, shape, delays, DTYPES.get(precision, torch.bfloat16))


def _is_float(array: mx.array) -> bool:
    return bool(mx.issubdtype(array.dtype, mx.floating))


def _check(config: Mapping[str, object], path: Path) -> None:
    for key, allowed in _ONLY.items():
        given = config.get(key, allowed[0])
        if given not in allowed and given != {}:
            raise ModelLoadingError(
                f"{path}: device mlx opens networks of Moshi's build, and config.json says "
                f"{key}: {given!r}; use device: cpu or cuda for this checkpoint",
                setting=key,
            )


def _divides(path: str, module: nn.Module) -> bool:
    """Whether a matrix can be quantised: its rows must be whole groups."""
    return isinstance(module, nn.Linear) and module.weight.shape[-1] % _INT8_GROUP == 0


def _shape(config: Mapping[str, object], weights: Mapping[str, mx.array]) -> LmShape:
    """Tell the shape of the network; the feed-forward's width is the weights' own."""

    def number(key: str, otherwise: int = 0) -> int:
        value = config.get(key, otherwise)
        return otherwise if value is None else int(str(value))

    def hidden(layer: str) -> int:
        return int(weights[f"{layer}.gating.linear_in.weight"].shape[0]) // 2

    eps = 1e-8 if config.get("norm", "rms_norm_f32") == "rms_norm_f32" else 1e-5
    steps = number("dep_q")
    depformer = None
    if steps:
        depformer = TransformerShape(
            dim=number("depformer_dim"),
            heads=number("depformer_num_heads", number("num_heads")),
            layers=number("depformer_num_layers", number("num_layers")),
            hidden=hidden("depformer.slices.0.transformer.layers.0"),
            context=steps,
            max_period=None,
            norm_eps=eps,
        )
    return LmShape(
        temporal=TransformerShape(
            dim=number("dim"),
            heads=number("num_heads"),
            layers=number("num_layers"),
            hidden=hidden("transformer.layers.0"),
            context=number("context"),
            max_period=float(number("max_period", 10_000)),
            norm_eps=eps,
        ),
        depformer=depformer,
        text_card=number("text_card"),
        card=number("card"),
        codebooks=number("n_q"),
        steps=steps,
        pause_heads=number("extra_heads_num_heads"),
        pause_classes=number("extra_heads_dim", 6),
    )


def _expect_quantised(network: MoshiNetwork, weights: Mapping[str, mx.array]) -> None:
    """Make those layers quantised that are so in the file, as its tensors' shapes tell."""
    for bits, group in _quantisations(network, weights):

        def here(path: str, module: nn.Module, wanted: tuple[int, int] = (bits, group)) -> bool:
            return _quantisation(path, module, weights) == wanted

        nn.quantize(network, group_size=group, bits=bits, class_predicate=here)


def _quantisations(network: MoshiNetwork, weights: Mapping[str, mx.array]) -> set[tuple[int, int]]:
    found = {_quantisation(path, module, weights) for path, module in network.named_modules()}
    return {each for each in found if each is not None}


def _quantisation(
    path: str, module: nn.Module, weights: Mapping[str, mx.array]
) -> tuple[int, int] | None:
    """Bits and group size of a layer in the file, None where it is not quantised."""
    scales = weights.get(f"{path}.scales")
    if scales is None or not isinstance(module, (nn.Linear, nn.Embedding)):
        return None
    inputs = int(module.weight.shape[-1])
    packed = int(weights[f"{path}.weight"].shape[-1])  # uint32
    return 32 * packed // inputs, inputs // int(scales.shape[-1])


def _from_torch(
    info: loaders.CheckpointInfo, capabilities: Capabilities, precision: DtypeName
) -> dict[str, mx.array]:
    """Read a torch checkpoint, through the moshi package's loader, under MLX's names."""
    wide = precision in ("fp32", "fp16")
    model = load_lm(info, capabilities, torch.device("cpu"), "fp32" if wide else "bf16")
    stored: dict[str, torch.Tensor] = dict(model.state_dict())
    del model
    weights: dict[str, mx.array] = {}
    for name in list(stored):
        tensor = stored.pop(name)  # let go one by one: two copies of 7B would not fit
        if name.startswith("depformer_in.") and not info.lm_config["dep_q"]:
            continue  # a transcriber has it, and never speaks
        targets = _mlx_names(name, info.lm_config)
        if tensor.dtype == torch.int8 or not targets:
            raise ModelLoadingError(
                f"{info.moshi_weights} holds {name}, which device mlx cannot read (int8 of "
                "torch's, an adapter, or another network); take kyutai/moshika-mlx-q8 or a bf16 "
                "checkpoint with optimization: int8, or use device: cpu or cuda",
                path=str(info.moshi_weights),
            )
        array = _array(tensor)
        weights |= {target: array.reshape(-1) if "norm" in name else array for target in targets}
    return weights


def _array(tensor: torch.Tensor) -> mx.array:
    if tensor.dtype == torch.bfloat16:  # which numpy does not know
        return mx.array(tensor.view(torch.int16).numpy()).view(mx.bfloat16)
    return mx.array(tensor.numpy())


_SAME = re.compile(r"(?:text_emb|text_linear|extra_heads\.\d+)\.weight")
_TEMPORAL = re.compile(r"(transformer\.layers\.\d+\..+)")
_DEPFORMER_LAYER = re.compile(r"depformer\.(layers\.\d+\..+)")
_OWN_WEIGHTS = re.compile(r"\.(self_attn\.\w+?_proj)s\.(\d+)\.|\.(gating)\.(\d+)\.")


def _mlx_names(name: str, config: Mapping[str, object]) -> list[str]:
    """Give the names a torch tensor has for MLX: several where slices share it, none if unknown."""
    if _SAME.fullmatch(name):
        return [name]
    if name == "out_norm.alpha":
        return ["out_norm.weight"]
    if match := re.fullmatch(r"emb\.(\d+)\.weight", name):
        return [f"audio_embs.{match[1]}.weight"]
    if match := _TEMPORAL.fullmatch(name):
        return [_layer_name(match[1])]
    if name == "depformer_text_emb.weight":
        return ["depformer.slices.0.emb.weight"]
    if match := re.fullmatch(r"depformer_emb\.(\d+)\.weight", name):
        return [f"depformer.slices.{int(match[1]) + 1}.emb.weight"]
    if match := re.fullmatch(r"linears\.(\d+)\.weight", name):
        return [f"depformer.slices.{match[1]}.linear_out.weight"]
    if match := re.fullmatch(r"depformer_in\.(\d+)\.weight", name):
        own = int(match[1]) if config.get("depformer_multi_linear") else None
        return [f"depformer.slices.{s}.linear_in.weight" for s in _slices(own, config)]
    if match := _DEPFORMER_LAYER.fullmatch(name):
        per_step = _OWN_WEIGHTS.search(name)
        own = None
        if per_step and config.get("depformer_weights_per_step"):
            own = int(per_step[2] or per_step[4])
        layer = f"transformer.{_layer_name(match[1])}"
        return [f"depformer.slices.{s}.{layer}" for s in _slices(own, config)]
    return []


def _layer_name(name: str) -> str:
    name = _OWN_WEIGHTS.sub(lambda match: f".{match[1] or match[3]}.", name)
    return name.replace(".alpha", ".weight")


def _slices(own: int | None, config: Mapping[str, object]) -> list[int]:
    """Which slices use the weights of number ``own``; all of them where there is one set."""
    schedule = config.get("depformer_weights_per_step_schedule")
    numbers = schedule if isinstance(schedule, list) else range(int(str(config["dep_q"])))
    return [step for step, number in enumerate(numbers) if own is None or number == own]
