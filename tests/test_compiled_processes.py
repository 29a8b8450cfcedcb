"""Two processes that train by compiled programs against one that trains in the ordinary way."""

from pathlib import Path

import torch
import torch.distributed as dist
from torch import Tensor
from torch._dynamo.utils import counters

from guidance.attribution import BcosContributions, CompiledExplanations
from guidance.data import Batch
from guidance.guided_step import GuidedStep
from guidance.losses import EnergyLoss
from tests.attribution.test_compiled import UNCOMPILED, tiny
from tests.two_ranks import on_two_ranks

BATCH = 8
STEPS = ((0, 8), (8, 16), (16, 23))
"""First and last image of each step's global batch; the last one is smaller, and 4 of it are of one rank."""


def batch_of(start: int, stop: int) -> Batch:
    """Images with one box each, of which every third is not annotated."""
    numbers = torch.arange(start, stop)
    count, none = len(numbers), torch.zeros(0, dtype=torch.int64)
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (24, 3, 16, 16), dtype=torch.uint8, generator=generator)
    return Batch(
        images=images[start:stop],
        labels=torch.nn.functional.one_hot(numbers % 3, 3).bool(),
        boxes=torch.stack([numbers % 5, numbers % 7, numbers % 5 + 6, numbers % 7 + 4], dim=1),
        box_images=torch.arange(count),
        box_classes=numbers % 3,
        runs=none.reshape(0, 2),
        run_images=none,
        run_classes=none,
        annotated=numbers % 3 > 0,
        outside=torch.zeros(count, dtype=torch.bool),
        groups=torch.zeros(count, dtype=torch.int64),
        indices=numbers,
    )


def losses_gradients_statistics(rank: int, world: int) -> list[list[Tensor]]:
    """Return the loss, the gradients and the buffers of every step, means over processes."""
    torch.manual_seed(0)
    model, attributor = tiny().double().train(), BcosContributions()
    compiled = CompiledExplanations(attributor, BATCH // world, UNCOMPILED) if world > 1 else None
    step = GuidedStep(attributor, EnergyLoss(), 0.5, compiled=compiled)
    found = []
    for start, stop in STEPS:
        low, high = (start + (stop - start) * part // world for part in (rank, rank + 1))
        batch = batch_of(low, high)
        losses, _ = step.losses(model, batch, step.plan(batch), 0, world, stop - start)
        gradients = torch.autograd.grad(losses["loss"], list(model.parameters()))
        values = [losses["loss"].detach(), *gradients]
        if world > 1:
            for value in values:
                dist.all_reduce(value)
        found.append([*(value / world for value in values), *(b.clone() for b in model.buffers())])
    return found


def two_ranks(rank: int) -> tuple[int, int, list[list[Tensor]]]:
    counters.clear()
    found = losses_gradients_statistics(rank, 2)
    return counters["stats"]["unique_graphs"], len(counters["graph_break"]), found


def test_steps_of_two_processes(tmp_path: Path) -> None:
    """Statistics are those of the global batch in compiled steps too; the last step is compiled on none."""
    expected = losses_gradients_statistics(0, 1)
    for programs, breaks, found in on_two_ranks(two_ranks, tmp_path):
        assert (programs, breaks) == (1, 0)
        for values, others in zip(found, expected, strict=True):
            for value, other in zip(values, others, strict=True):
                torch.testing.assert_close(value, other, rtol=1e-9, atol=1e-12)
