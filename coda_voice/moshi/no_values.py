"""What a model is made of before its weights are read: tensors that have no values yet."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from torch import Tensor
from torch.nn import init
from torch.overrides import TorchFunctionMode

FILLING = frozenset(
    {
        *(init.normal_, init.uniform_, init.kaiming_uniform_),
        *(Tensor.uniform_, Tensor.erfinv_, Tensor.clamp_),  # what init.trunc_normal_ consists of
    }
)
"""How layers draw their first weights."""


class NoValues(TorchFunctionMode):
    """Inside, a tensor of the "meta" device is not filled with random numbers.

    It has no memory for them; but to find that out torch asks its compiler, and loads it, with
    sympy and triton: two seconds of every start. Other threads are not concerned.
    """

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:  # noqa: ANN401 - whatever the torch function gives
        """Do what torch does, but for the filling."""
        named = dict(kwargs or {})
        if func in FILLING:
            tensor = args[0] if args else named["tensor"]
            if tensor.is_meta:
                return tensor
        return func(*args, **named)
