"""What a compiled guided step keeps for its backward pass: ``python benchmarks/recomputing.py --threads 2``.

Compiles the step of a B-cos ResNet twice, as it is and with all kept that torch keeps by default. Prints how
many megabytes of activations, factors and unit weights each keeps, then times them in turn.
"""

import argparse
from collections.abc import Callable
from functools import partial
from unittest import mock

import torch
from guided_step import backward, compiled_loss, random_step
from interleaved import at_least_one, compare, restart_with_allocator
from torch import Tensor

from guidance.attribution import BcosContributions, CompiledExplanations, program
from guidance.models import bcos_resnet
from guidance.models.bcos_resnet import DEPTHS


def main() -> None:
    """Compile, count, then time."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--depth", type=int, default=50, choices=DEPTHS, help="of the ResNet")
    parser.add_argument("--batch-size", type=at_least_one, default=8)
    parser.add_argument("--image-size", type=at_least_one, default=224)
    parser.add_argument("--rounds", type=at_least_one, default=5)
    parser.add_argument("--threads", type=at_least_one, default=1)
    options = parser.parse_args()
    restart_with_allocator()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    model = bcos_resnet(options.depth, 20)
    step = random_step(options.batch_size, options.image_size)
    # The model's own tensors and the images are there anyway.
    own = {tensor.data_ptr() for tensor in (step[0], *model.parameters(), *model.buffers())}
    variants: dict[str, Callable[[], object]] = {}
    for name, recomputing in (("keeping", {}), ("recomputing", program.RECOMPUTING)):
        compiled = CompiledExplanations(BcosContributions(), options.batch_size)
        loss = partial(compiled_loss, model, compiled, *step)
        with mock.patch.object(program, "RECOMPUTING", recomputing):
            backward(model, loss)
        print(f"{name}: {kept(loss, own) / 1e6:.0f} MB", flush=True)
        variants[name] = partial(backward, model, loss)
    compare(variants, options.rounds, "wall")


def kept(loss: Callable[[], Tensor], own: set[int]) -> int:
    """Return the bytes that a loss keeps for its backward pass, but for tensors at the addresses ``own``."""
    found: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        if tensor.data_ptr() not in own:
            found[tensor.data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        loss()
    return sum(found.values())


if __name__ == "__main__":
    main()
