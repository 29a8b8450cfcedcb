"""What a compiled guided step keeps for its backward pass: ``python benchmarks/recomputing.py --threads 2``.

Compiles the step of a B-cos ResNet twice, as it is and with all kept that torch keeps by default. Prints how
many megabytes of activations, factors and unit weights each keeps, then times them in turn.
"""

from collections.abc import Callable
from functools import partial
from unittest import mock

import torch
from guided_step import backward, compiled_loss
from interleaved import at_least_one, compare
from step_options import begin, step_parser
from torch import Tensor

from guidance.attribution import BcosContributions, CompiledExplanations, program


def main() -> None:
    """Compile, count, then time."""
    parser = step_parser(__doc__)
    parser.add_argument("--rounds", type=at_least_one, default=5)
    options = parser.parse_args()
    model, step = begin(options)
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
