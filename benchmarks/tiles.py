"""How much faster kernels of our own make a compiled step: ``python benchmarks/tiles.py --threads 2``.

Compiles the guided step of a B-cos ResNet twice, by torch alone and as it is: 3x3 convolutions by Winograd's
minimal filtering, in tiles, gradients of other filters by products of panels, the first layer's by rows of
patches, and sums over positions by rows of channels. Prints how far the gradients of both are apart, then
times them in turn.
"""

from collections.abc import Callable
from functools import partial

import torch
from guided_step import backward, compiled_loss
from interleaved import at_least_one, compare
from step_options import begin, step_parser

from guidance.attribution import BcosContributions, CompiledExplanations
from guidance.attribution.backend import Backend, inductor


def main() -> None:
    """Compile, compare, then time."""
    parser = step_parser(__doc__)
    parser.add_argument("--rounds", type=at_least_one, default=5)
    options = parser.parse_args()
    model, step = begin(options)
    backends: dict[str, Backend] = {"by torch alone": "inductor", "by kernels of our own": inductor}
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
