"""Graphs for ONNX Runtime: what torch does in dozens of operations, in one call.

On a CPU an operation of torch costs some ten microseconds to launch, and a small model's step has
three thousand of them. ONNX Runtime runs its own in a tenth of that and lets go of the interpreter
meanwhile. The graphs are made from the weights of a checkpoint when it is opened; weights are
copied, results are the same but for the last bits.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx
import onnxruntime
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

MICROSOFT = "com.microsoft"
"""The domain of operations that ONNX Runtime adds to the standard's."""

SMALL_PARAMETERS = 100_000_000
"""Above, a model's arithmetic outweighs what it costs to launch it, and a copy is too much."""

_OPSETS = (("", 18), (MICROSOFT, 1))
_IR_VERSION = 9
_KINDS = {torch.float32: TensorProto.FLOAT, torch.int64: TensorProto.INT64}


def is_small(model: torch.nn.Module) -> bool:
    """Whether launching a model's operations on a CPU costs more than what they do.

    Then torch's own threads are a loss, too: they wait for each other longer than they compute.
    """
    return sum(parameter.numel() for parameter in model.parameters()) < SMALL_PARAMETERS


class Session:
    """A graph that can be run, on one thread; tensors in the order in which they were declared."""

    def __init__(self, model: bytes, inputs: Sequence[str]) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        # Sound that fades into digital silence leaves denormal numbers: ten times slower.
        options.add_session_config_entry("session.set_denormal_as_zero", "1")
        self._session = onnxruntime.InferenceSession(
            model, sess_options=options, providers=["CPUExecutionProvider"]
        )
        self._inputs = tuple(inputs)

    def __call__(self, *given: torch.Tensor) -> list[torch.Tensor]:
        """Run it on contiguous CPU tensors."""
        feed = dict(zip(self._inputs, (tensor.numpy() for tensor in given), strict=True))
        return [torch.from_numpy(made) for made in self._session.run(None, feed)]


class Graph:
    """A graph in the making. Values are called by the names that the methods give."""

    def __init__(self) -> None:
        self._nodes: list[onnx.NodeProto] = []
        self._constants: dict[tuple[bytes, tuple[int, ...], str], str] = {}
        self._weights: list[onnx.TensorProto] = []
        self._inputs: list[onnx.ValueInfoProto] = []
        self._outputs: list[onnx.ValueInfoProto] = []
        self._names = 0

    def input(self, *shape: int | str, kind: torch.dtype = torch.float32) -> str:
        """Declare the next input; a size that differs from call to call has a name."""
        name = self._new()
        self._inputs.append(helper.make_tensor_value_info(name, _KINDS[kind], shape))
        return name

    def output(self, value: str, kind: torch.dtype = torch.float32) -> None:
        """Declare the next output."""
        self._outputs.append(helper.make_tensor_value_info(value, _KINDS[kind], None))

    def op(self, kind: str, *inputs: str, domain: str = "", **attributes: float | list[int]) -> str:
        """Add an operation of one result."""
        (made,) = self.ops(kind, *inputs, results=1, domain=domain, **attributes)
        return made

    def ops(
        self,
        kind: str,
        *inputs: str,
        results: int,
        domain: str = "",
        **attributes: float | list[int],
    ) -> list[str]:
        """Add an operation of several results."""
        made = [self._new() for _ in range(results)]
        node = helper.make_node(kind, list(inputs), made, None, None, domain, None, **attributes)
        self._nodes.append(node)
        return made

    def constant(self, value: torch.Tensor) -> str:
        """Have a tensor as a value; equal ones are one."""
        array: NDArray[np.generic] = np.ascontiguousarray(value.detach().numpy())
        key = (array.tobytes(), array.shape, str(array.dtype))
        if key not in self._constants:
            name = self._constants[key] = self._new()
            self._weights.append(numpy_helper.from_array(array, name))
        return self._constants[key]

    def numbers(self, *values: int) -> str:
        """Have whole numbers [n] as a value: a shape, axes, places to cut at."""
        return self.constant(torch.tensor(values, dtype=torch.int64))

    def linear(self, x: str, weight: torch.Tensor) -> str:
        """X [..., in] by ``weight`` [out, in], as ``F.linear``."""
        return self.op("MatMul", x, self.constant(weight.detach().t()))

    def rms_norm(self, x: str, alpha: torch.Tensor, eps: float) -> str:
        """RMSNorm of x [..., dim]: Zhang and Sennrich 2019, arXiv:1910.07467."""
        scale = self.constant(alpha.detach().reshape(-1).float())
        return self.op("SimplifiedLayerNormalization", x, scale, axis=-1, epsilon=eps)

    def gated(self, x: str, into: torch.Tensor, out: torch.Tensor) -> str:
        """A gated unit: silu of one half times the other (Shazeer 2020, arXiv:2002.05202)."""
        gate, value = self.ops("Split", self.linear(x, into), results=2, axis=-1, num_outputs=2)
        silu = self.op("QuickGelu", gate, domain=MICROSOFT, alpha=1.0)
        return self.linear(self.op("Mul", silu, value), out)

    def session(self) -> Session:
        """Make it ready to run."""
        graph = helper.make_graph(self._nodes, "graph", self._inputs, self._outputs, self._weights)
        opsets = [helper.make_opsetid(domain, version) for domain, version in _OPSETS]
        model = helper.make_model(graph, opset_imports=opsets, ir_version=_IR_VERSION)
        return Session(model.SerializeToString(), [value.name for value in self._inputs])

    def _new(self) -> str:
        self._names += 1
        return f"v{self._names}"
