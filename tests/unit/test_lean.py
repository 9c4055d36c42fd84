"""The short way through a model gives what the moshi package's own way gives."""

from __future__ import annotations

import copy
from collections.abc import Iterator

import pytest
import torch
from moshi.models import LMGen
from moshi.modules.transformer import StreamingTransformer
from moshi.utils.compile import no_compile

from coda_voice.moshi.checkpoint import SpeechModels, load_models
from coda_voice.moshi.frames import Sampling
from coda_voice.moshi.generation import SlotGen
from coda_voice.moshi.helper import Helper
from coda_voice.moshi.lean import BLOCK, LeanStep, attend, make_input_lean, make_lean
from coda_voice.moshi.lean_depformer import LeanDepformer
from coda_voice.moshi.sampling import SlotSampler
from coda_voice.moshi.streaming_state import aside, read_row, side_states, write_row
from coda_voice.moshi.working_rows import WorkingRows

ROWS = 5
MOSHI = {"norm": "rms_norm_f32", "gating": "silu"}
MIMI = {"norm": "layer_norm", "gating": "none", "layer_scale": 0.3}


@pytest.fixture(autouse=True)
def eager() -> Iterator[None]:
    with no_compile(), torch.no_grad():
        yield


@pytest.fixture(scope="module")
def models() -> SpeechModels:
    return load_models("coda-tiny", device="cpu")


def transformer(kind: dict[str, object], context: int = 10) -> StreamingTransformer:
    torch.manual_seed(7)
    net = StreamingTransformer(
        d_model=64, num_heads=4, num_layers=3, dim_feedforward=256, causal=True, context=context,
        positional_embedding="rope", **kind,
    )  # fmt: skip
    return net.eval()


def both_stream(net: torch.nn.Module, rows: int = ROWS) -> tuple[torch.nn.Module, torch.nn.Module]:
    """The package's way and the short way, streaming the same weights."""
    short = copy.deepcopy(net)
    net.streaming_forever(rows)
    short.streaming_forever(rows)
    assert make_lean(short, WorkingRows(rows))
    return net, short


@pytest.mark.parametrize(("kind", "frames"), [(MOSHI, 1), (MIMI, 2)], ids=["moshi", "mimi"])
def test_a_transformer_says_the_same_for_rows_that_come_and_go(kind, frames):
    own, short = both_stream(transformer(kind))
    for step in range(40):  # four times round the ring of keys
        stepping = torch.rand(ROWS) < 0.7
        if step == 20:
            for net in (own, short):
                net.reset_streaming(torch.tensor([False, True, False, False, True]))
        for net in (own, short):
            net.set_exec_mask(stepping)
        x = torch.randn(ROWS, frames, 64)
        assert torch.allclose(own(x)[stepping], short(x)[stepping], atol=1e-5)


def test_a_ring_of_keys_is_looked_at_as_far_as_it_is_filled():
    own, short = both_stream(transformer(MOSHI, context=150))
    for step in range(200):
        stepping = torch.tensor([True, step > 40, step > 100, step % 3 > 0, False])
        for net in (own, short):
            net.set_exec_mask(stepping)
        x = torch.randn(ROWS, 1, 64)
        assert torch.allclose(own(x)[stepping], short(x)[stepping], atol=1e-5)


@pytest.mark.parametrize("many", [False, True])
def test_what_neighbours_have_filled_changes_nothing(many: bool):
    keys, values = torch.randn(2, 64, 500, 64)
    query = torch.randn(64, 1, 64)
    bias = torch.full((64, 1, 500), -torch.inf)
    bias[..., :50] = 0
    whole = attend(query, keys, values, bias, many)
    for filled in range(BLOCK, 500, BLOCK):
        part = slice(filled)
        seen = attend(query, keys[:, part], values[:, part], bias[..., part], many)
        torch.testing.assert_close(whole, seen, rtol=1e-6, atol=1e-7)


def test_a_row_moves_between_the_two_ways():
    own, short = both_stream(transformer(MOSHI))
    for _ in range(15):
        x = torch.randn(ROWS, 1, 64)
        own(x), short(x)
    write_row("net", own, ROWS, 3, read_row("net", short, ROWS, 1))
    x = torch.randn(1, 1, 64).expand(ROWS, -1, -1).contiguous()
    assert torch.allclose(own(x)[3], short(x)[1], atol=1e-5)


def test_another_state_goes_the_package_s_way_and_leaves_the_live_one_alone():
    own, short = both_stream(transformer(MOSHI))
    side = side_states(short, 1)
    x = torch.randn(ROWS, 1, 64)
    own(x), short(x)
    with aside(short, side):
        prefill = torch.randn(1, 9, 64)
        apart = transformer(MOSHI)
        apart.streaming_forever(1)
        assert torch.allclose(short(prefill), apart(prefill), atol=1e-5)
    x = torch.randn(ROWS, 1, 64)
    assert torch.allclose(own(x), short(x), atol=1e-5)


def test_a_row_says_the_same_wherever_it_stands_and_whenever_it_began():
    _, short = both_stream(transformer(MOSHI))
    same = torch.randn(30, 1, 64)
    for step, x in enumerate(same):  # row 4 begins later than row 0, and hears the same
        rows = torch.randn(ROWS, 1, 64)
        rows[0] = x
        rows[4] = same[max(0, step - 12)]
        short.set_exec_mask(torch.tensor([True, True, step % 2 == 0, True, step >= 12]))
        out = short(rows)
        if step == 17:
            early = out[0].clone()
        if step == 29:
            assert torch.allclose(out[4], early, atol=1e-5)


def test_what_it_was_not_made_for_is_left_as_it_is():
    net = transformer(MOSHI).to(torch.bfloat16)
    net.streaming_forever(ROWS)
    assert not make_lean(net, WorkingRows(ROWS))
    assert not isinstance(net.forward, LeanStep)


def test_a_big_model_is_left_as_it_is(monkeypatch: pytest.MonkeyPatch):
    net = transformer(MOSHI)
    net.streaming_forever(ROWS)
    size = sum(parameter.numel() for parameter in net.parameters())
    monkeypatch.setattr("coda_voice.moshi.onnx_graph.SMALL_PARAMETERS", size)
    assert not make_lean(net, WorkingRows(ROWS))
    monkeypatch.setattr("coda_voice.moshi.onnx_graph.SMALL_PARAMETERS", size + 1)
    assert make_lean(net, WorkingRows(ROWS)) == 1


def test_the_codec_hears_and_speaks_the_same(models: SpeechModels):
    own, short = both_stream(copy.deepcopy(models.mimi))
    torch.manual_seed(3)
    for step in range(12):
        stepping = torch.rand(ROWS) < 0.8
        for net in (own, short):
            if step == 6:
                net.reset_streaming(torch.tensor([True, False, False, True, False]))
            net.set_exec_mask(stepping)
        sound = 0.1 * torch.randn(ROWS, 1, 1920)
        latent = torch.randn(ROWS, 128, 1)
        codes = own.quantizer.encode(latent)
        assert torch.equal(codes, short.quantizer.encode(latent))
        for some in (codes, codes[:, :5], codes[:, :1]):
            again = own.quantizer.decode(some)
            assert torch.allclose(again, short.quantizer.decode(some), atol=1e-5)
        for half in ("encoder", "decoder"):
            x = sound if half == "encoder" else torch.randn(ROWS, 128, 2)
            right, got = getattr(own, half)(x), getattr(short, half)(x)
            assert torch.allclose(right[stepping], got[stepping], atol=1e-4)


def a_frame(half: str, rows: int) -> torch.Tensor:
    shape = (1, 1920) if half == "encoder" else (128, 2)
    return 0.1 * torch.randn(rows, *shape)


@pytest.mark.parametrize("half", ["encoder", "decoder"])
def test_a_row_of_the_codec_is_the_same_to_the_bit_among_however_many(
    models: SpeechModels, half: str
):
    helper = Helper()
    frames = [a_frame(half, 16) for _ in range(3)]
    given: dict[int, torch.Tensor] = {}
    for rows in (16, 1, 2, 3, 5, 8):
        net = copy.deepcopy(getattr(models.mimi, half))
        net.streaming_forever(rows)
        assert make_lean(net, WorkingRows(rows), helper)
        given[rows] = torch.stack([net(frame[:rows]) for frame in frames])
        assert torch.equal(given[rows], given[16][:, :rows]), rows
    helper.close()


@pytest.mark.parametrize("half", ["encoder", "decoder"])
def test_rows_of_the_codec_that_do_not_step_keep_what_they_have(models: SpeechModels, half: str):
    net = copy.deepcopy(getattr(models.mimi, half))
    net.streaming_forever(ROWS)
    working = WorkingRows(ROWS)
    assert make_lean(net, working)

    def kept(row: int) -> list[torch.Tensor]:
        tensors = read_row("net", net, ROWS, row).tensors.items()
        kept = [tensor for name, tensor in tensors if name.endswith(("previous", "partial"))]
        return [tensor for tensor in kept if tensor.numel()]

    net(a_frame(half, ROWS))
    before = [kept(row) for row in range(ROWS)]
    stepping = [False, True, False, False, False]
    working.step(stepping)
    net.set_exec_mask(torch.tensor(stepping))
    made = net(a_frame(half, ROWS))
    assert not made[2:].any(), "rows behind the last that steps are left out"
    for row, steps in enumerate(stepping):
        same = [torch.equal(one, other) for one, other in zip(before[row], kept(row), strict=True)]
        assert any(same) is all(same) is not steps


def test_several_frames_at_once_go_through_the_codec_and_leave_their_end(models: SpeechModels):
    for half in ("encoder", "decoder"):
        own, short = both_stream(copy.deepcopy(getattr(models.mimi, half)))
        for frames in (1, 3, 1):
            x = torch.cat([a_frame(half, ROWS) for _ in range(frames)], 2)
            assert torch.allclose(own(x), short(x), atol=1e-4)


def test_the_depformer_draws_the_same_codes(models: SpeechModels):
    sampler = SlotSampler(ROWS, torch.device("cpu"))
    gen = SlotGen(models.lm, sampler, lambda tokens: None)
    assert LeanDepformer.fits(models.lm)
    torch.manual_seed(5)
    text = torch.randint(0, 1200, (ROWS,))
    hidden = torch.randn(ROWS, 1, 256)
    package = LMGen(models.lm, use_sampling=False).depformer_step(text, hidden)
    assert torch.equal(gen.depformer_step(text, hidden), package)
    drawing = LeanDepformer(models.lm, sampler.draw, WorkingRows(ROWS))
    assert torch.equal(drawing.codes(text, hidden), package)
    sampler.configure(1, Sampling(temperature=0.8, top_k=50))
    mixed = gen.depformer_step(text, hidden)
    assert torch.equal(mixed[[0, 2, 3, 4]], package[[0, 2, 3, 4]])
    assert not torch.equal(mixed[1], package[1])


def test_all_tokens_are_looked_up_at_once(models: SpeechModels):
    own, short = copy.deepcopy(models.lm), copy.deepcopy(models.lm)
    make_input_lean(short, WorkingRows(ROWS))
    torch.manual_seed(9)
    tokens = torch.randint(-1, 500, (ROWS, own.num_codebooks, 7))  # -1: nothing
    told = torch.randn(ROWS, 7, own.dim)
    for right, got in zip(
        own.forward_text(tokens, told), short.forward_text(tokens, told), strict=True
    ):
        assert torch.allclose(right, got, atol=1e-4)
