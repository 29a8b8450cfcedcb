"""Casts in the graph of a program that round what is not to be rounded."""

import torch
from torch.fx import Graph

from guidance.attribution.graph_nodes import value_of

_CAST = torch.ops.prims.convert_element_type.default


def leave_out_detours(graph: Graph) -> None:
    """Leave out casts of floating-point tensors to another floating-point type and back to their own.

    So passes from layer to layer what kernels compute in float32, although the program is one in bfloat16.
    What is an integer or a truth value on its way is meant to be another number, and stays.

    Args:
        graph: Of a program and its gradients; is changed.
    """
    for node in graph.nodes:
        if node.target != _CAST or node.args[0].target != _CAST:
            continue
        source = node.args[0].args[0]
        types = value_of(source).dtype, value_of(node.args[0]).dtype
        if types[0] == value_of(node).dtype and all(each.is_floating_point for each in types):
            node.replace_all_uses_with(source)
    graph.eliminate_dead_code()
