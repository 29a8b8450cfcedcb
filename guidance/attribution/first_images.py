"""Gradients of the first images of a batch, in the graph of a program: added in place."""

from operator import getitem
from typing import Any, TypeGuard

import torch
from torch._higher_order_ops.auto_functionalize import auto_functionalized
from torch.fx import Graph, Node

from guidance.attribution.graph_nodes import add_node, is_map, value_of
from guidance.models import rows

_aten = torch.ops.aten


def add_in_place(graph: Graph) -> None:
    """Add gradients that some images alone have to those of all images, where these are in memory.

    Torch spreads the former over zeros of the whole batch. What its compiler makes of it runs over images,
    which keeps it from being joined with what runs over all positions. Of several gradients that are added
    they become the last.

    Args:
        graph: Of a program and its gradients; is changed.
    """
    for node in list(graph.nodes):
        if not _adds(node):
            continue
        for spread, others in (node.args, node.args[::-1]):
            if _is_spread(spread) and is_map(others) and value_of(spread).dtype == value_of(others).dtype:
                _add(graph, node, spread, others)
                break
    graph.eliminate_dead_code()


def _add(graph: Graph, node: Node, spread: Node, others: Node) -> None:
    last = node
    while len(last.users) == 1:
        (user,) = last.users
        operands = [each for each in user.args if each is not last]
        if not _adds(user) or len(operands) != 1 or not is_map(operands[0]):
            break
        with graph.inserting_before(user):
            others = add_node(graph, _aten.add.Tensor, others, operands[0])
        last = user
    with graph.inserting_before(last):
        arguments = {"x": others, "added": spread.args[1]}
        # Torch leaves out the copy that this stands for, unless somebody else needs what is changed.
        changed = graph.call_function(auto_functionalized, (rows.ADD_TO_FIRST,), arguments)
        changed.meta["val"] = (None, value_of(others))
        last.replace_all_uses_with(add_node(graph, getitem, changed, 1))


def _adds(node: Node) -> bool:
    return node.target == _aten.add.Tensor and not node.kwargs


def _is_spread(node: Any) -> TypeGuard[Node]:
    """Return whether a node is a gradient of the first images, and zeros of others, for this sum alone."""
    if not isinstance(node, Node) or node.target != _aten.slice_scatter.default or len(node.users) > 1:
        return False
    zeros, _, *place = node.args
    if len(place) != 3 or place[:2] != [0, 0] or not isinstance(zeros, Node):
        return False
    return zeros.target == _aten.full.default and bool(zeros.args[1] == 0)
