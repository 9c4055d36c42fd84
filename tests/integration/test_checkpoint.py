"""Checkpoints: what is opened, how, and what is said of those that cannot be."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from moshi.models import LMModel, loaders
from moshi.utils.compile import no_compile
from safetensors.torch import load_file, save_file

from coda_voice.errors import ConfigurationError, ModelLoadingError
from coda_voice.moshi.batch import SlotBatch
from coda_voice.moshi.capabilities import TINY_FOLDER
from coda_voice.moshi.checkpoint import load_models
from coda_voice.moshi.frames import Sampling
from coda_voice.moshi.generation import SlotGen
from coda_voice.moshi.sampling import SlotSampler
from tests.integration.speech import spoken


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of coda-tiny that a test may spoil."""
    copy = tmp_path / "checkpoint"
    shutil.copytree(TINY_FOLDER, copy)
    return copy


def config_of(folder: Path) -> dict[str, object]:
    return json.loads((folder / "config.json").read_text())


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def scribble(path: Path) -> None:
    path.write_bytes(b"\0" * 100)


@pytest.mark.parametrize(
    ("name", "spoil"),
    [
        (name, spoil)
        for name in ("moshi.safetensors", "mimi.safetensors", "tokenizer.model")
        for spoil in (Path.unlink, truncate, scribble)
    ]
    + [("config.json", scribble), ("coda.json", scribble), ("mimi.json", Path.unlink)],
)
def test_a_missing_or_corrupt_file_is_a_clear_error(
    folder: Path, name: str, spoil: Callable[[Path], None]
) -> None:
    spoil(folder / name)
    with pytest.raises(ModelLoadingError, match=str(folder)) as caught:
        load_models(folder, "cpu")
    assert name in caught.value.message
    assert "again" in caught.value.message or "correct" in caught.value.message


def test_weights_of_another_shape_than_the_configuration_are_refused(folder: Path) -> None:
    config = config_of(folder)
    config["num_layers"] = 7
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(ModelLoadingError, match=r"config\.json against the weights"):
        load_models(folder, "cpu")


def test_names_that_are_none_and_devices_that_are_not_there_are_refused() -> None:
    with pytest.raises(ModelLoadingError, match="coda-tiny"):
        load_models("coda-tinny", "cpu")
    with pytest.raises(ModelLoadingError, match="coda-voice download kyutai"):
        load_models("kyutai/moshika-pytorch-bf16", "cpu")
    with pytest.raises(ConfigurationError, match="auto, cpu, cuda"):
        load_models("coda-tiny", "abacus")
    if not torch.cuda.is_available():
        with pytest.raises(ConfigurationError, match="no CUDA GPU"):
            load_models("coda-tiny", "cuda")


def test_a_depformer_of_sixteen_steps_is_loaded_as_its_first_eight(folder: Path) -> None:
    """PersonaPlex's shape in miniature, against the sixteen-step model's own output."""
    shape = {
        **{k: v for k, v in config_of(folder).items() if k in loaders._lm_kwargs},
        "dim": 64,
        "num_layers": 2,
        "card": 512,
        "dep_q": 16,
        "depformer_context": 16,
    }
    torch.manual_seed(0)
    wide = LMModel(**shape, dtype=torch.float32, device="cpu").eval()
    save_file(dict(wide.state_dict()), folder / "moshi.safetensors")
    names = {k: v for k, v in config_of(folder).items() if k.endswith("_name")}
    (folder / "config.json").write_text(json.dumps({**shape, **names}))
    (folder / "coda.safetensors").unlink()

    models = load_models(folder, "cpu", "fp32")
    narrow = models.lm
    assert narrow.dep_q == 8 and len(narrow.linears) == 8
    assert sum(p.numel() for p in narrow.depformer.parameters()) < 0.55 * sum(
        p.numel() for p in wide.depformer.parameters()
    )
    sequence = torch.randint(0, 500, (1, 17, 30))
    text = torch.randint(0, 500, (1,))
    with torch.no_grad(), no_compile():
        hidden, _ = wide.forward_text(sequence, None, None)
        other, _ = narrow.forward_text(sequence, None, None)
        torch.testing.assert_close(hidden, other)
        assert depth_codes(wide, text, hidden)[:8] == depth_codes(narrow, text, hidden)


def depth_codes(lm: LMModel, text: torch.Tensor, hidden: torch.Tensor) -> list[int]:
    """The greedy codes of one frame, through the package's own depformer step."""
    token, codes = text, []
    lm.depformer.set_streaming_detached(True)
    with lm.depformer.streaming(1):
        for step in range(lm.dep_q):
            logits = lm.forward_depformer(step, token[:, None, None], hidden[:, -1:])
            token = logits[:, 0, 0].argmax(-1)
            codes.append(int(token))
    return codes


def test_our_leaner_depformer_step_gives_the_packages_codes() -> None:
    lm = load_models("coda-tiny", "cpu", "fp32").lm
    sampler = SlotSampler(3, torch.device("cpu"))
    gen = SlotGen(lm, sampler, lambda sampled: None)
    assert gen._lean
    hidden = torch.randn(3, 1, lm.dim, generator=torch.Generator().manual_seed(0))
    text = torch.tensor([3, 0, 57])
    with torch.no_grad(), no_compile():
        lean = gen.depformer_step(text, hidden)
        gen._lean = False
        assert torch.equal(lean, gen.depformer_step(text, hidden))


@pytest.mark.parametrize("dtype", ["bf16", "fp16", "int8"])
def test_other_precisions_are_loaded_and_speak(dtype) -> None:
    torch.set_num_threads(1)
    models = load_models("coda-tiny", "cpu", dtype)
    batch = SlotBatch(models, 1, history_frames=50)
    batch.reset(0, Sampling.greedy())
    results = [batch.step([frame]) for frame in spoken("hello", 15)]
    assert any(result.tokens[0] not in (None, 0, 3) for result in results)
    assert max(abs(result.pcm).max() for result in results) > 0.02


def test_a_checkpoint_says_what_its_tensors_are_worth(folder: Path) -> None:
    """The reference embedding must fit the model it is added to."""
    table = load_file(folder / "coda.safetensors")["reference_embedding"]
    save_file({"reference_embedding": table[:, :100].contiguous()}, folder / "coda.safetensors")
    with pytest.raises(ModelLoadingError, match="100 dimensions, the model 256"):
        load_models(folder, "cpu")
