"""What compiles a program: torch's compiler, with convolutions and sums on a CPU by kernels of our own."""

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch._inductor.custom_graph_pass import CustomGraphPass, get_hash_for_files
from torch.fx import Graph, GraphModule

from guidance.attribution import casts, first_images, graph_nodes, position_sums
from guidance.models import convolution_formulas, few_channels


class _ByKernels(CustomGraphPass):
    """Changes of the graph of a program and its gradients."""

    def __call__(self, graph: Graph) -> None:
        change(graph)

    def uuid(self) -> bytes:
        files = (casts, first_images, graph_nodes, position_sums)
        identity: bytes = get_hash_for_files(tuple(str(file.__file__) for file in files))
        return identity


def change(graph: Graph) -> None:
    """Change the graph of a program and its gradients on a CPU to what is computed faster, and equal."""
    graph_nodes.renew(graph)
    casts.leave_out_detours(graph)
    position_sums.sum_by_kernels(graph)
    first_images.add_in_place(graph)
    graph_nodes.renew(graph)


Backend = str | Callable[..., Any]
"""Of ``torch.compile``: a name, or a function of a graph and its inputs."""


def inductor(graph: GraphModule, inputs: Sequence[Any]) -> Any:
    """Compile a graph as ``torch.compile(backend="inductor")`` does, equal but for rounding.

    On a CPU, convolutions and their gradients are those of :mod:`guidance.models.convolution_formulas`. Sums
    over batch and positions are left to :mod:`guidance.models.channel_sums`, and gradients of the first
    images are added in place.
    """
    from torch._inductor.compile_fx import compile_fx
    from torch._inductor.decomposition import select_decomp_table

    if any(isinstance(each, Tensor) and each.device.type != "cpu" for each in inputs):
        return compile_fx(graph, inputs)
    # Torch keeps what it compiled, and does not look at the formulas.
    files = [Path(convolution_formulas.__file__), Path(few_channels.__file__)]
    formulas = hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()
    with torch.compiler.config.patch(cache_key_tag=formulas):  # type: ignore[attr-defined]
        return compile_fx(
            graph,
            inputs,
            decompositions={**select_decomp_table(), **convolution_formulas.FORMULAS},
            config_patches={"joint_custom_post_pass": _ByKernels()},
        )
