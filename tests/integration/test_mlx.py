"""``device: mlx``: the same conversation as torch's, token by token; MLX computes on a CPU here.

The model is coda-tiny's in miniature with weights by chance: it babbles, so that a difference
anywhere shows at once.
"""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import pytest
import torch
from mlx.utils import tree_flatten
from moshi.models import LMModel
from moshi.utils.compile import no_compile
from safetensors.torch import save_file

from coda_voice.errors import ConfigurationError, ModelLoadingError
from coda_voice.manager import VoiceManager
from coda_voice.moshi.capabilities import TINY_FOLDER
from coda_voice.moshi.checkpoint import SpeechModels, load_models
from coda_voice.moshi.engine import Engine, EngineOptions
from coda_voice.moshi.frames import FrameOut, Renewal, Sampling
from coda_voice.moshi.mlx_lm import MlxLM
from coda_voice.moshi.prompt import Prompt
from tests.integration.speech import Talk, audio, spoken

GREEDY = Sampling.greedy()
DRAWN = Sampling(seed=11)
CONTEXT = 80


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of two layers by chance, with coda-tiny's codec, words and transcriber."""
    where = tmp_path_factory.mktemp("checkpoints") / "babbler"
    shutil.copytree(TINY_FOLDER, where)
    config = json.loads((where / "config.json").read_text())
    config |= {"num_layers": 2, "depformer_num_layers": 1, "context": CONTEXT}
    (where / "config.json").write_text(json.dumps(config))
    extra = {"model_type", "lm_gen_config", "model_id"}
    kwargs = {k: v for k, v in config.items() if k not in extra and not k.endswith("_name")}
    torch.manual_seed(7)
    lm = LMModel(**kwargs)
    save_file(lm.state_dict(), where / "moshi.safetensors")
    return where


@dataclass
class Both:
    """The checkpoint on torch and on MLX, each in an engine of two slots."""

    torch: Engine
    mlx: Engine

    def same(self, act: Callable[[Engine], list[FrameOut]]) -> list[FrameOut]:
        """Do something on either; assert that the same came out, and give it."""
        expected, got = act(self.torch), act(self.mlx)
        assert [f.text_token for f in got] == [f.text_token for f in expected]
        assert [f.forced for f in got] == [f.forced for f in expected]
        assert [f.words for f in got] == [f.words for f in expected]
        assert [f.user_words for f in got] == [f.user_words for f in expected]
        np.testing.assert_allclose(audio(got), audio(expected), atol=1e-4)
        return got


@pytest.fixture(scope="module")
def both(folder: Path) -> Iterator[Both]:
    options = EngineOptions(slots=2, threads=1)
    with (
        Engine(load_models(folder, "cpu", "fp32"), options) as on_torch,
        Engine(load_models(folder, "mlx", "fp32"), options) as on_mlx,
    ):
        yield Both(on_torch, on_mlx)


@pytest.mark.parametrize("sampling", [GREEDY, DRAWN])
def test_the_same_sound_gives_the_same_thoughts_words_and_voice(
    both: Both, sampling: Sampling
) -> None:
    def listen(engine: Engine) -> list[FrameOut]:
        talk = Talk(engine, sampling=sampling, transcribe=True)
        talk.feed(spoken("what_is_your_name", 8))
        return talk.close()

    out = both.same(listen)
    assert len({frame.text_token for frame in out}) > 5, "it babbles"
    assert np.abs(audio(out)).max() > 0.01
    assert any(frame.user_partial or frame.user_words for frame in out), "the user was heard"


def test_two_conversations_at_once_are_each_what_they_are_alone(both: Both) -> None:
    frames = spoken("what_is_your_name")[:24]

    def alone(engine: Engine) -> list[FrameOut]:
        talk = Talk(engine, sampling=DRAWN)
        talk.feed(frames)
        return talk.close()

    expected = both.same(alone)
    other, talk = Talk(both.mlx, sampling=GREEDY), Talk(both.mlx, sampling=DRAWN)
    for at in range(0, 24, 6):  # the other comes and goes between, and sometimes beside
        other.feed(spoken("hello")[at : at + 3])
        talk.feed(frames[at : at + 6])
    other.close()
    assert [f.text_token for f in talk.close()] == [f.text_token for f in expected]


def test_a_prompt_forced_words_an_interruption_and_a_new_prompt(both: Both) -> None:
    frames = spoken("what_is_your_name", 20)
    script = both.torch.models.encode_text("the capital of france is paris")
    renewals: list[Renewal] = []

    def converse(engine: Engine) -> list[FrameOut]:
        talk = Talk(engine, sampling=GREEDY, prompt=Prompt("your name is nova"))
        talk.feed(frames[:4])
        talk.slot.force(script)
        talk.feed(frames[4 : 4 + len(script) + 2])
        talk.slot.force(script)
        talk.feed(frames[20:23])
        talk.slot.next_generation()  # the user interrupts: the rest is not said
        talk.feed(frames[23:28])
        renewals.append(talk.slot.prime(Prompt("the user likes chess")).result(60))
        talk.feed(frames[28:36])
        return talk.close()

    out = both.same(converse)
    said = [frame.text_token for frame in out]
    at = said.index(script[0])
    assert said[at : at + len(script)] == script
    assert said.count(script[0]) == 2 and said.count(script[-1]) == 1, "it was cut off"
    assert renewals[0] == renewals[1] and renewals[1].kept_frames > 20


def test_a_snapshot_is_gone_back_to(both: Both) -> None:
    frames = spoken("what_is_your_name")
    talk = Talk(both.mlx, sampling=DRAWN)
    talk.feed(frames[:12])
    there = talk.slot.snapshot().result(60)
    first = talk.feed(frames[12:22])
    talk.slot.restore(there).result(60)
    second = talk.feed(frames[12:22])
    talk.close()
    assert [f.text_token for f in second] == [f.text_token for f in first]
    np.testing.assert_array_equal(audio(second), audio(first))
    assert there.slot.state.nbytes > 12 * 2 * 2 * 256 * 4, "keys and values are counted"


def test_a_conversation_outlives_the_context(both: Both) -> None:
    talk = Talk(both.mlx, sampling=GREEDY)
    out = talk.feed((spoken("what_is_your_name", 30) * 3)[: CONTEXT + 4])
    talk.close()
    assert talk.slot.counters.renewals >= 1
    assert all(np.isfinite(frame.pcm).all() for frame in out)
    assert len({frame.text_token for frame in out[-20:]}) > 1


def test_the_network_forgets_what_is_older_than_its_context_as_torchs_does(both: Both) -> None:
    chance = np.random.default_rng(3)
    frames = CONTEXT + 24
    text, codes = chance.integers(0, 1200, (1, frames)), chance.integers(0, 512, (16, frames))
    tokens = torch.tensor(np.concatenate([text, codes]))[None]
    there, here = load_models_apart(both.torch.models, both.mlx.models)
    with torch.no_grad(), no_compile(), there.streaming(1), here.streaming(1):
        for start, end in [(0, 7), (7, 70), (70, 95), (95, 96), (96, frames)]:
            for at in range(start, end):
                _, expected = there.forward_text(tokens[:, :, at : at + 1])
            _, got = here.forward_text(tokens[:, :, start:end])
            torch.testing.assert_close(got[0, 0, -1], expected[0, 0, -1], atol=2e-4, rtol=0)


def load_models_apart(*models: SpeechModels) -> list[LMModel | MlxLM]:
    """Their networks in states of their own: those of the engines are in use."""
    return [load_models(each.folder, each.device_name, "fp32", "off").lm for each in models]


@pytest.mark.parametrize(("bits", "group"), [(4, 32), (8, 64)])
def test_a_folder_like_kyutais_for_apple_silicon(
    folder: Path, tmp_path: Path, bits: int, group: int
) -> None:
    quantised = quantised_folder(folder, tmp_path / "mlx", bits, group)
    models = load_models(quantised, "mlx", "fp32", "off")
    plain = load_models(folder, "mlx", "fp32", "off").lm
    stored = dict(tree_flatten(models.lm.network.parameters()))
    for name in [name for name in stored if name.endswith(".scales")]:
        layer = name.removesuffix(".scales")
        packed = (stored[f"{layer}.weight"], stored.pop(name), stored.pop(f"{layer}.biases"))
        stored[f"{layer}.weight"] = mx.dequantize(*packed, group_size=group, bits=bits)
    assert stored["text_emb.weight"].shape == (1201, 256), "whole again"
    plain.network.load_weights(list(stored.items()), strict=True)
    tokens = torch.tensor(np.random.default_rng(5).integers(0, 512, (1, 17, 30)))
    with plain.streaming(1), models.lm.streaming(1):
        _, expected = plain.forward_text(tokens)
        _, got = models.lm.forward_text(tokens)
    torch.testing.assert_close(got, expected, atol=1e-3, rtol=0)

    with Engine(models, EngineOptions(slots=1, threads=1)) as engine:
        script = models.encode_text("good morning")
        talk = Talk(engine)
        talk.slot.force(script)
        out = talk.feed(spoken("hello")[:10])
    assert [frame.text_token for frame in out if frame.forced] == script
    assert np.abs(audio(out)).max() > 0.01

    with pytest.raises(ModelLoadingError, match=r"holds weights for MLX; set moshi.device: mlx"):
        load_models(quantised, "cpu")


def quantised_folder(source: Path, where: Path, bits: int, group: int) -> Path:
    """Lay a checkpoint out as kyutai/moshika-mlx-q4 is: one quantised file in MLX's names."""
    shutil.copytree(source, where)
    network = load_models(source, "mlx", "bf16", "off").lm.network

    def whole_groups(_: str, module: nn.Module) -> bool:
        return hasattr(module, "to_quantized") and module.weight.shape[-1] % group == 0

    nn.quantize(network, group_size=group, bits=bits, class_predicate=whole_groups)
    name = f"model.q{bits}.safetensors"
    mx.save_safetensors(str(where / name), dict(tree_flatten(network.parameters())))
    (where / "moshi.safetensors").unlink()
    config = json.loads((where / "config.json").read_text())
    (where / "config.json").write_text(json.dumps(config | {"moshi_name": name}))
    return where


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"num_heads": 4, "n_q": 12, "delays": [0] * 13}, "config.json against the weights"),
        ({"positional_embedding": "sin"}, "says positional_embedding: 'sin'"),
        ({"depformer_low_rank_embeddings": 32}, "says depformer_low_rank_embeddings: 32"),
    ],
)
def test_a_network_that_mlx_cannot_hold_is_refused_by_name(
    folder: Path, tmp_path: Path, change: dict[str, object], says: str
) -> None:
    broken = quantised_folder(folder, tmp_path / "broken", 4, 32)
    config = json.loads((broken / "config.json").read_text())
    (broken / "config.json").write_text(json.dumps(config | change))
    with pytest.raises(ModelLoadingError, match=says):
        load_models(broken, "mlx")


def test_without_the_package_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("mlx_layers", "mlx_lm", "mlx_weights"):
        monkeypatch.delitem(sys.modules, f"coda_voice.moshi.{module}")
    monkeypatch.setitem(sys.modules, "mlx.core", None)
    with pytest.raises(ConfigurationError, match=r"pip install 'coda-voice\[mlx\]'"):
        load_models("coda-tiny", "mlx")


@pytest.mark.parametrize("optimization", ["auto", "int8"])
async def test_a_manager_converses_on_mlx(optimization: str) -> None:
    frames = spoken("hello")[:6]
    data = (np.concatenate(frames) * 32767).astype("<i2").tobytes()
    config = {
        "moshi": {"device": "mlx", "optimization": optimization, "slots": 1},
        "audio": {"sample_rate": 24_000, "channels": 1, "bit_depth": 16},
    }

    async def user() -> AsyncIterator[bytes]:
        yield data

    async with VoiceManager(config) as manager:
        conversation = await manager.start_conversation()
        chunks = [chunk async for chunk in manager.process_voice_stream(conversation, user())]
        status = await manager.get_system_status()
    assert len(chunks) == len(frames) + 1 and chunks[-1].is_final
    assert status.device == "mlx"
