"""Nothing draws first weights for a model whose weights are read from a file."""

from __future__ import annotations

import torch
from torch.nn import init
from torch.utils._python_dispatch import TorchDispatchMode

from coda_voice.moshi.checkpoint import load_models
from coda_voice.moshi.no_values import NoValues


class Watch(TorchDispatchMode):
    """Notes what torch is asked to do in place with tensors that have no values."""

    def __init__(self) -> None:
        super().__init__()
        self.done: set[str] = set()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func.overloadpacket.__name__
        if name.endswith("_") and isinstance(args[0], torch.Tensor) and args[0].is_meta:
            self.done.add(name)
        return func(*args, **(kwargs or {}))


def test_a_checkpoint_is_opened_without_what_makes_torch_load_its_compiler():
    with Watch() as watch:
        models = load_models("coda-tiny", "cpu")
    assert watch.done <= {"mul_", "add_"}  # which torch does by itself
    for lm in (models.lm, models.transcriber.lm):
        assert not any(tensor.is_meta for tensor in (*lm.parameters(), *lm.buffers()))


def test_what_has_values_is_filled_as_ever():
    torch.manual_seed(1)
    plain = [fill(torch.zeros(50)) for fill in (init.normal_, init.uniform_, init.trunc_normal_)]
    plain.append(init.kaiming_uniform_(torch.zeros(5, 10)))
    torch.manual_seed(1)
    with NoValues():
        inside = [
            fill(torch.zeros(50)) for fill in (init.normal_, init.uniform_, init.trunc_normal_)
        ]
        inside.append(init.kaiming_uniform_(torch.zeros(5, 10)))
    for before, now in zip(plain, inside, strict=True):
        assert torch.equal(before, now) and now.any()
