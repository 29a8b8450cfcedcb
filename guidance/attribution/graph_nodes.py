"""Nodes of the graph of a program on a CPU, for functions that change it."""

from collections.abc import Callable
from typing import Any, TypeGuard

from torch import Tensor
from torch._ops import OpOverload
from torch.fx import Graph, Node
from torch.fx.node import map_arg

from guidance.models import kernels


def value_of(node: Any) -> Tensor:
    """Return what torch knows of a node's result: a tensor without values."""
    value: Tensor = node.meta["val"]
    return value


def is_map(node: Any) -> TypeGuard[Node]:
    """Return whether a result is what kernels take: [N, C, H, W] with several channels, last in memory."""
    value = node.meta.get("val") if isinstance(node, Node) else None
    if not isinstance(value, Tensor) or value.ndim != 4 or value.dtype not in kernels.DTYPES:
        return False
    return value.device.type == "cpu" and value.shape[1] > 1 and value.stride(1) == 1


def renew(graph: Graph) -> None:
    """Compute again what torch knows of the order in memory of results that do not have channels last.

    It may be older than what is known of their operands: the gradient of pooling was noted with channels
    first although all that it is made of has them last.
    """
    for node in graph.nodes:
        value = node.meta.get("val")
        if not isinstance(node.target, OpOverload) or not isinstance(value, Tensor) or value.ndim != 4:
            continue
        if value.shape[1] > 1 and value.stride(1) != 1 and node.all_input_nodes:
            operands = map_arg((node.args, node.kwargs), value_of)
            node.meta["val"] = node.target(*operands[0], **operands[1])


def add_node(graph: Graph, target: Callable[..., Any], *arguments: Any) -> Node:
    """Add a call, with what torch knows of its result."""
    node = graph.call_function(target, arguments)
    node.meta["val"] = target(*map_arg(arguments, value_of))
    return node
