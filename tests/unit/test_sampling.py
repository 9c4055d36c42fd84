"""Each slot draws by its own settings and its own seed."""

from __future__ import annotations

import torch

from coda_voice.moshi.frames import Sampling
from coda_voice.moshi.sampling import SlotSampler

CPU = torch.device("cpu")


def sampler(*settings: Sampling) -> SlotSampler:
    made = SlotSampler(len(settings), CPU, max_top_k=50)
    for row, setting in enumerate(settings):
        made.configure(row, setting)
    return made


def draws(made: SlotSampler, logits: torch.Tensor, frames: int) -> torch.Tensor:
    tokens = []
    for _ in range(frames):
        tokens.append(made.draw(logits, stream=1))
        made.advance(torch.ones(logits.shape[0], dtype=torch.bool))
    return torch.stack(tokens, 1)


def test_what_is_drawn_follows_the_softmax_at_the_given_temperature() -> None:
    logits = torch.tensor([[2.0, 1.0, 0.0, -1.0]])
    made = sampler(*(Sampling(temperature=0.5, top_k=0, seed=n) for n in range(20)))
    drawn = draws(made, logits.expand(20, -1), 1_000)
    seen = torch.bincount(drawn.flatten(), minlength=4) / 20_000
    torch.testing.assert_close(seen, torch.softmax(logits[0] / 0.5, 0), atol=0.012, rtol=0)


def test_nothing_outside_the_top_k_is_ever_drawn() -> None:
    logits = torch.linspace(0, 0.1, 40)[None]
    made = sampler(Sampling(temperature=1.0, top_k=3, seed=1))
    assert set(draws(made, logits, 2_000)[0].tolist()) == {37, 38, 39}


def test_temperature_zero_is_the_most_likely_beside_a_neighbour_who_draws() -> None:
    logits = torch.randn(1, 100, generator=torch.Generator().manual_seed(0)).expand(2, -1)
    made = sampler(Sampling.greedy(), Sampling(temperature=1.0, top_k=50, seed=3))
    tokens = draws(made, logits, 50)
    assert set(tokens[0].tolist()) == {int(logits[0].argmax())}
    assert len(set(tokens[1].tolist())) > 5


def test_the_same_seed_draws_the_same_in_any_slot_and_another_seed_differs() -> None:
    logits = torch.randn(1, 100, generator=torch.Generator().manual_seed(0)).expand(3, -1)
    tokens = draws(sampler(Sampling(seed=7), Sampling(seed=8), Sampling(seed=7)), logits, frames=40)
    assert tokens[0].tolist() == tokens[2].tolist() != tokens[1].tolist()


def test_streams_of_one_frame_draw_independently() -> None:
    logits = torch.zeros(1, 50)
    made = sampler(Sampling(temperature=1.0, top_k=0, seed=7))
    assert len({int(made.draw(logits, stream)) for stream in range(9)}) > 4


def test_a_slot_that_sits_out_a_frame_goes_on_where_it_was() -> None:
    logits = torch.randn(2, 100, generator=torch.Generator().manual_seed(0))
    steady, halting = sampler(*[Sampling(seed=4)] * 2), sampler(*[Sampling(seed=4)] * 2)
    expected = draws(steady, logits, 10)[0].tolist()
    got = []
    for tick in range(20):
        stepping = tick % 2 == 0
        token = int(halting.draw(logits, 1)[0])
        if stepping:
            got.append(token)
        halting.advance(torch.tensor([stepping, True]))
    assert got == expected


def test_the_winner_of_all_tokens_is_what_is_drawn_from_the_top_k() -> None:
    logits = 3 * torch.randn(3, 64, generator=torch.Generator().manual_seed(5))
    settings = (Sampling(seed=1, top_k=20), Sampling.greedy(), Sampling(seed=2, top_k=5))
    likely, narrow = sampler(*settings), sampler(*settings)
    narrow._on_cpu = False  # goes by the top k, as a GPU does
    for _ in range(200):
        for stream in range(10):
            assert torch.equal(likely.draw(logits, stream), narrow.draw(logits, stream))
        for made in (likely, narrow):
            made.advance(torch.ones(3, dtype=torch.bool))
