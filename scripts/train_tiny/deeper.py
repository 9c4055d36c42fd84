"""More layers for a trained transformer, which gives at first what it gave before.

A new layer adds nothing to what goes through it (its outward matrices are zero), so training goes
on from the earlier version's weights instead of from nothing (Chen et al. 2016, "Net2Net").
"""

from __future__ import annotations

import torch

Weights = dict[str, torch.Tensor]
LAYERS = "transformer.layers."


def layers_of(weights: Weights) -> int:
    """How many layers a transformer has."""
    return 1 + max(int(name.split(".")[2]) for name in weights if name.startswith(LAYERS))


def deeper(weights: Weights, layers: int, seed: int = 1) -> Weights:
    """The same model with `layers` layers, the new ones spread evenly among the old."""
    old = layers_of(weights)
    if layers == old:
        return weights
    if layers < old:
        raise ValueError(f"a model of {old} layers cannot be made one of {layers}")
    added = layers - old
    new = {old * count // (added + 1) + count for count in range(1, added + 1)}
    made = {name: value for name, value in weights.items() if not name.startswith(LAYERS)}
    random, below = torch.Generator().manual_seed(seed), -1
    for index in range(layers):
        below += index not in new
        before = f"{LAYERS}{below}."
        for name in [name for name in weights if name.startswith(before)]:
            own, value = name.removeprefix(before), weights[name]
            if index in new and value.dim() == 2:
                silent = "out_proj" in own or "linear_out" in own
                fresh = torch.randn(value.shape, generator=random) * value.std()
                value = torch.zeros_like(value) if silent else fresh
            made[f"{LAYERS}{index}.{own}"] = value.clone()
    return made
