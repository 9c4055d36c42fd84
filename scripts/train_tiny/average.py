"""The weights of two versions averaged: `python -m scripts.train_tiny.average OLD NEW OUT`.

Between an earlier version and one trained on from it there are weights that are better than either
(Wortsman et al. 2022, "Robust fine-tuning of zero-shot models"): what was trained on gains, what
was not is not lost. `--lm` and `--stt` are the new version's shares; of the language model's
depformer, which says the codes and not the words, `--depformer` may be another one.
"""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path

from safetensors.torch import load_file, save_file

PARTS = {"lm": ("moshi.safetensors", "coda.safetensors"), "stt": ("stt/model.safetensors",)}
DEPFORMER = ("depformer", "linears.")
"""How its weights' names begin."""


def average(
    old: Path, new: Path, out: Path, name: str, share: float, depformer: float | None = None
) -> None:
    """Write `share` of `new` and the rest of `old`; what `old` lacks is `new`'s.

    depformer: the share of `new` in the depformer's weights, where it is another.
    """
    before, after = load_file(old / name), load_file(new / name)
    mean = {}
    for key, value in after.items():
        of_new = share if depformer is None or not key.startswith(DEPFORMER) else depformer
        kept = before.get(key, value).float()
        mean[key] = ((1 - of_new) * kept + of_new * value.float()).to(value.dtype)
    save_file({key: value.contiguous() for key, value in mean.items()}, out / name)


def main() -> None:
    """Average two folders into a third, which is a copy of NEW otherwise."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("old", type=Path)
    parser.add_argument("new", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--lm", type=float, default=0.9)
    parser.add_argument("--depformer", type=float, help="as --lm, where not given")
    parser.add_argument("--stt", type=float, default=0.7)
    given = parser.parse_args()
    shutil.copytree(given.new, given.out, dirs_exist_ok=True)
    for name in PARTS["lm"]:
        average(given.old, given.new, given.out, name, given.lm, given.depformer)
    for name in PARTS["stt"]:
        average(given.old, given.new, given.out, name, given.stt)


if __name__ == "__main__":
    main()
