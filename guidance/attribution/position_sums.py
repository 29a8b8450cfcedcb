"""Sums over batch and positions in the graph of a program, by kernels of our own."""

from operator import getitem
from typing import Any, NamedTuple

import torch
from torch.fx import Graph, Node

from guidance.attribution.graph_nodes import add_node, is_map, value_of
from guidance.models import channel_sums, kernels

_aten = torch.ops.aten
_POSITIONS = [0, 2, 3]


class _Scale(NamedTuple):
    """That of a B-cos transform with B = 2, ``|out| / norm``."""

    out: Node
    norm: Node


def sum_by_kernels(graph: Graph) -> None:
    """Let :mod:`guidance.models.channel_sums` compute the moments of batch norms, and sums of products.

    Of what is summed, the scale of a B-cos transform is left to the kernels, so that it need not be in
    memory. The mean that the gradient of a variance takes is the one that was computed together with it.

    Args:
        graph: Of a program and its gradients, on a CPU; is changed.
    """
    means: dict[Any, Node] = {}
    for node in list(graph.nodes):
        with graph.inserting_before(node):
            if node.target == _aten.var_mean.correction:
                _moments(graph, node, means)
            elif node.target == _aten.mean.dim:
                _mean(graph, node, means)
            elif node.target == _aten.sum.dim_IntList:
                _products(graph, node)
    graph.eliminate_dead_code()


def _moments(graph: Graph, node: Node, means: dict[Any, Node]) -> None:
    x, dims = node.args[:2]
    if not is_map(x) or dims != _POSITIONS or node.kwargs != {"correction": 0}:
        return
    if not kernels.ready("channel_sums"):
        return
    factor, scale = _without_scale(x)
    arguments = scale if scale is not None and scale.out is factor else (x, None)
    moments = add_node(graph, channel_sums.MOMENTS, *arguments)
    means[x] = add_node(graph, getitem, moments, 1)
    node.replace_all_uses_with(moments)


def _mean(graph: Graph, node: Node, means: dict[Any, Node]) -> None:
    x, dims, keeps = (*node.args, False)[:3]
    if x in means and dims == _POSITIONS and keeps:
        node.replace_all_uses_with(add_node(graph, _aten.view.default, means[x], value_of(node).shape))


def _products(graph: Graph, node: Node) -> None:
    summed, dims, keeps = (*node.args, False)[:3]
    if dims == [0] and isinstance(summed, Node) and summed.target == _aten.sum.dim_IntList:
        # Over positions first: so are gradients of what images have in common (`of_each_image`).
        summed, others, keeps_others = (*summed.args, False)[:3]
        dims = _POSITIONS if others == [2, 3] and keeps_others else []
    if dims != _POSITIONS or not keeps or not is_map(summed) or summed.target != _aten.mul.Tensor:
        return
    x, y = summed.args
    if not is_map(x) or not is_map(y) or value_of(x).shape != value_of(y).shape:
        return
    if not kernels.ready("channel_sums"):
        return
    x, scale = _without_scale(x)
    if scale is None:
        y, scale = _without_scale(y)
    sums = add_node(graph, channel_sums.PRODUCTS, x, y, *(scale or (None, None)))
    node.replace_all_uses_with(add_node(graph, _aten.view.default, sums, value_of(node).shape))


def _without_scale(product: Node) -> tuple[Node, _Scale | None]:
    """Return the factors of a product of which one is a scale, or all of it and None."""
    if product.target == _aten.mul.Tensor:
        for factor, other in (product.args, product.args[::-1]):
            scale = _scale(other)
            if scale is not None and is_map(factor):
                return factor, scale
    return product, None


def _scale(node: Any) -> _Scale | None:
    """Return what a scale is made of, if a node is one."""
    if not isinstance(node, Node) or node.target != _aten.div.Tensor:
        return None
    top, norm = node.args
    if not isinstance(top, Node) or top.target != _aten.abs.default or not isinstance(norm, Node):
        return None
    (out,) = top.args
    if not is_map(out) or value_of(norm).shape != value_of(out)[:, :1].shape:
        return None
    return _Scale(out, norm)
