"""A function of a model, explanations included, as one program of ``torch.compile``.

``torch.compile`` cannot differentiate inside of what it compiles, and an explanation is a derivative. So the
function runs once on tensors without values, and every operation is written down as it happens, those of its
backward passes too: what remains is a plain function of images and parameters, in which an explanation is a
chain of transposed convolutions and products. That one is compiled, and differentiated as any other.
"""

import logging
import time
from collections.abc import Callable, Collection, Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch._dynamo import config as dynamo
from torch._dynamo import mark_dynamic
from torch._dynamo.exc import TorchDynamoException
from torch._dynamo.source import ConstantSource
from torch._functorch import config as functorch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.func import functional_call
from torch.fx import GraphModule, Node
from torch.fx.experimental.proxy_tensor import make_fx
from torch.fx.experimental.symbolic_shapes import DimDynamic, ShapeEnv, StatelessSymbolicContext

from guidance.attribution.backend import Backend, inductor
from guidance.errors import InputError
from guidance.models.plain_formulas import plain_formulas

log = logging.getLogger(__name__)

Function = Callable[..., Sequence[Tensor]]

# How autograd marks a value that it hands on; a trace would take the mark for the end of a gradient.
_MARKS = (torch.ops.aten.alias.default, torch.ops.aten.detach.default)

# The backward pass computes again whatever it fuses with what it reads anyway, instead of keeping it: what is
# kept is a third, in the same time.
RECOMPUTING = {
    "ban_recompute_materialized_backward": False,
    "ban_recompute_used_far_apart": False,
    "ban_recompute_long_fusible_chains": False,
}


class Program:
    """A function of a model and of tensors, compiled once for all calls.

    What it returns is that of the function, up to rounding, and gradients reach the model's parameters.
    Buffers change as they would. The modes of the modules (training or evaluation), hyperparameters and
    autocast are those of the moment in which the program is made.

    Args:
        function: Called with the model and ``inputs``; may differentiate, and must neither draw random
            numbers nor detach what a gradient is to reach.
        model: Its parameters and buffers are read at each call, so that they may move or be replaced.
        inputs: Examples, whose values do not matter. Each call's have the same sizes, but for ``varying``.
        name: Of the function, to say what is compiled.
        backend: Of ``torch.compile``: a name, or a function.
        varying: Positions of inputs whose first dimension is the same for all of them, at least 2, and may
            be another one at each call.
    """

    def __init__(
        self,
        function: Function,
        model: nn.Module,
        inputs: Sequence[Tensor],
        name: str,
        backend: Backend = inductor,
        varying: Collection[int] = (),
    ) -> None:
        log.info("trainer.compile: compiling %s; this may take minutes", name)
        self._name: str | None = name  # until it is compiled
        self._begun = time.monotonic()
        self._model = _Applied(function, model)
        self._varying = varying
        graph, self._changing = _trace(self._model, inputs, varying)
        # What varies is marked at each call.
        self._run = torch.compile(graph, fullgraph=True, dynamic=False, backend=backend)

    def __call__(self, *inputs: Tensor) -> list[Tensor]:
        """Return what the function returns; the first call compiles.

        Raises:
            InputError: If that fails, as without a C++ compiler.
        """
        buffers = list(self._model.buffers())
        # A mark is on the tensor itself, so it is another one of the same values that gets it.
        tensors = [one[:] if k in self._varying else one for k, one in enumerate(inputs)]
        for k in self._varying:
            mark_dynamic(tensors[k], 0)
        # The casts that autocast makes are part of the program.
        with torch.autocast(inputs[0].device.type, enabled=False):
            outputs = self._compiled(*tensors, *self._model.parameters(), *buffers)
        if self._name is not None:
            log.info("trainer.compile: %s: %.0f s", self._name, time.monotonic() - self._begun)
            self._name = None
        count = len(outputs) - len(self._changing)
        with torch.no_grad():
            for position, value in zip(self._changing, outputs[count:], strict=True):
                buffers[position].copy_(value)
        return list(outputs[:count])

    def _compiled(self, *tensors: Tensor) -> Sequence[Tensor]:
        try:
            # Within DistributedDataParallel dynamo would cut the program into pieces.
            with dynamo.patch(optimize_ddp=False), functorch.patch(RECOMPUTING):
                outputs: Sequence[Tensor] = self._run(*tensors)
        except TorchDynamoException as error:
            cause = str(getattr(error, "inner_exception", error)).strip().split("\n")[0]
            raise InputError(
                f"trainer.compile=true: torch.compile failed: {cause}. It needs a C++ compiler (CXX names "
                "one) and the headers of Python, or on a GPU Triton; go without it: trainer.compile=false"
            ) from error
        return outputs


class _Applied(nn.Module):
    def __init__(self, function: Function, model: nn.Module) -> None:
        super().__init__()
        self.function = function
        self.model = model

    def forward(self, *inputs: Tensor) -> Sequence[Tensor]:
        return self.function(self.model, *inputs)


def _trace(
    model: _Applied, inputs: Sequence[Tensor], varying: Collection[int]
) -> tuple[GraphModule, list[int]]:
    """Write down a function as a graph of (inputs, parameters, buffers).

    Returns:
        The graph, whose outputs are followed by the new values of the buffers that change, and the positions
        of these buffers.
    """
    parameters, buffers = dict(model.named_parameters()), dict(model.named_buffers())

    def flat(*tensors: Tensor) -> list[Tensor]:
        own = iter(tensors[len(inputs) :])
        state = {name: next(own) for name in parameters}
        # What changes is a copy: a program has no side effects.
        copies = {name: next(own).clone() for name in buffers}
        outputs = functional_call(model, state | copies, tensors[: len(inputs)])
        return [*outputs, *copies.values()]

    tensors = _without_values([*inputs, *parameters.values(), *buffers.values()], varying)
    with plain_formulas(), torch.enable_grad():
        graph = make_fx(flat, tracing_mode="fake")(*tensors)
    changing = _clean(graph, len(buffers))
    return graph, changing


def _without_values(tensors: Sequence[Tensor], varying: Collection[int]) -> list[Tensor]:
    """Return stand-ins without values, some of which have no certain first dimension."""
    # Two dimensions that are equal by chance are to stay two.
    mode = FakeTensorMode(shape_env=ShapeEnv(duck_shape=False))
    found: list[Tensor] = []
    for position, tensor in enumerate(tensors):
        sizes = [DimDynamic.STATIC] * tensor.ndim
        if position in varying:
            sizes[0] = DimDynamic.DYNAMIC
        context: StatelessSymbolicContext[Any, Any] = StatelessSymbolicContext(dynamic_sizes=sizes)
        source = ConstantSource(f"tensor{position}")
        found.append(mode.from_tensor(tensor, symbolic_context=context, source=source))
    return found


def _clean(graph: GraphModule, buffers: int) -> list[int]:
    """Leave out marks of autograd and buffers that do not change; return the positions of those that do."""
    for node in list(graph.graph.nodes):
        if node.target in _MARKS:
            node.replace_all_uses_with(node.args[0])
            graph.graph.erase_node(node)
    end = next(node for node in graph.graph.nodes if node.op == "output")
    outputs = list(cast("Sequence[Node]", end.args[0]))
    results, values = outputs[: len(outputs) - buffers], outputs[len(outputs) - buffers :]
    changing = [position for position, value in enumerate(values) if _changes(value)]
    with graph.graph.inserting_before(end):
        # Statistics are no part of any gradient.
        kept = [graph.graph.call_function(torch.ops.aten.detach.default, (values[p],)) for p in changing]
    end.args = ([*results, *kept],)
    graph.graph.eliminate_dead_code()
    graph.recompile()
    return changing


def _changes(value: Node) -> bool:
    """Return whether a copy is written into."""
    return any(
        schema is not None and schema.is_mutable
        for schema in (getattr(node.target, "_schema", None) for node in (value, *value.users))
    )
