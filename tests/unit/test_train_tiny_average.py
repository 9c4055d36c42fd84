"""The recipe's mean of two versions."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from scripts.train_tiny.average import PARTS, main


def version(folder: Path, value: float) -> Path:
    """A folder whose weights are all ``value``."""
    (folder / "stt").mkdir(parents=True)
    for names in PARTS.values():
        for name in names:
            weights = {
                key: torch.full((2, 3), value, dtype=torch.bfloat16)
                for key in ("weight", "linears.0.weight", "depformer_in.0.weight")
            }
            save_file(weights, folder / name)
    (folder / "config.json").write_text(str(value))
    return folder


def test_each_part_is_averaged_by_its_share(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    old, new = version(tmp_path / "old", 0.0), version(tmp_path / "new", 1.0)
    out = tmp_path / "out"
    given = [str(old), str(new), str(out), "--lm", "0.75", "--stt", "0.5"]
    monkeypatch.setattr(sys, "argv", ["average", *given])
    main()
    for part, value in (("lm", 0.75), ("stt", 0.5)):
        for name in PARTS[part]:
            weight = load_file(out / name)["weight"]
            assert weight.dtype == torch.bfloat16 and (weight == value).all()
    assert (out / "config.json").read_text() == "1.0", "the rest is the new version's"


def test_the_depformer_may_have_a_share_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    old, new = version(tmp_path / "old", 0.0), version(tmp_path / "new", 1.0)
    out = tmp_path / "out"
    given = [str(old), str(new), str(out), "--lm", "0.75", "--depformer", "0.25", "--stt", "0.5"]
    monkeypatch.setattr(sys, "argv", ["average", *given])
    main()
    weights = load_file(out / "moshi.safetensors")
    assert {key: float(value[0, 0]) for key, value in weights.items()} == {
        "weight": 0.75, "linears.0.weight": 0.25, "depformer_in.0.weight": 0.25
    }  # fmt: skip
    assert (load_file(out / "stt" / "model.safetensors")["linears.0.weight"] == 0.5).all()
