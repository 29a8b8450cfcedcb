"""How much faster 3x3 convolutions make a compiled step: ``python benchmarks/tiles.py --threads 2``.

Compiles the guided step of a B-cos ResNet twice, with torch's own convolutions and as it is, 3x3 ones by
Winograd's minimal filtering. Prints how far the gradients of both are apart, then times them in turn.
"""

import argparse
from collections.abc import Callable
from functools import partial

import torch
from guided_step import backward, compiled_loss, random_step
from interleaved import at_least_one, compare, restart_with_allocator

from guidance.attribution import BcosContributions, CompiledExplanations
from guidance.attribution.backend import Backend, inductor
from guidance.models import bcos_resnet
from guidance.models.bcos_resnet import DEPTHS


def main() -> None:
    """Compile, compare, then time."""
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
    backends: dict[str, Backend] = {"torch's convolutions": "inductor", "by tiles": inductor}
    variants: dict[str, Callable[[], object]] = {}
    gradients = []
    for name, backend in backends.items():
        compiled = CompiledExplanations(BcosContributions(), options.batch_size, backend)
        variants[name] = partial(backward, model, partial(compiled_loss, model, compiled, *step))
        variants[name]()
        gradients.append(torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None]))
    theirs, ours = gradients
    print(
        f"gradients differ by {float((ours - theirs).norm() / theirs.norm()):.1e} of their norm", flush=True
    )
    compare(variants, options.rounds, "wall")


if __name__ == "__main__":
    main()
