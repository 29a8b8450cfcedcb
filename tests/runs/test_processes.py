"""Two processes, compiled or not, that explain all images or the guided ones, against one process."""

from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import Tensor
from torch._dynamo.utils import counters

from guidance.attribution import BcosContributions, CompiledExplanations
from guidance.data import Batch
from guidance.losses import EnergyLoss
from guidance.training.guided_step import GuidedStep
from tests.attribution.compiled_checks import tiny
from tests.two_ranks import on_two_ranks

BATCH = 8
STEPS = ((0, 8), (8, 16), (16, 23))
"""First and last image of each step's global batch; the last one is smaller, and 4 of it are of one rank."""

ANNOTATED = (4, 5, 6, 7, 9, 15, 18)
"""Of the first step all of one rank and none of the other, of the second one of each, then one and none."""


def batch_of(start: int, stop: int) -> Batch:
    """Images with one box each."""
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
        annotated=torch.isin(numbers, torch.tensor(ANNOTATED)),
        outside=torch.zeros(count, dtype=torch.bool),
        groups=torch.zeros(count, dtype=torch.int64),
        indices=numbers,
    )


class Counted(CompiledExplanations):
    steps = 0

    def explain(self, *args: Any, **options: Any) -> Any:
        self.steps += 1
        return super().explain(*args, **options)


def train(rank: int, world: int, compiled: bool, partly: bool) -> tuple[list[int], int, list[list[Tensor]]]:
    """Return of every step how many maps there were; and its loss, gradients, means of all, and buffers.

    Between them the number of steps by a program.
    """
    torch.manual_seed(0)
    model, attributor = tiny().double().train(), BcosContributions()
    programs = Counted(attributor, BATCH // world) if compiled else None
    step = GuidedStep(attributor, EnergyLoss(), 0.5, compiled=programs, partly_annotated=partly)
    maps, found = [], []
    for start, stop in STEPS:
        low, high = (start + (stop - start) * part // world for part in (rank, rank + 1))
        batch = batch_of(low, high)
        losses, record = step.losses(model, batch, step.plan(batch), 0, world, stop - start)
        maps.append(len(record.value("map")))
        gradients = torch.autograd.grad(losses["loss"], list(model.parameters()))
        values = [losses["loss"].detach(), *gradients]
        if world > 1:
            for value in values:
                dist.all_reduce(value)
        found.append([*(value / world for value in values), *(b.clone() for b in model.buffers())])
    return maps, 0 if programs is None else programs.steps, found


def one_of_two(rank: int, compiled: bool, partly: bool) -> dict[str, Any]:
    counters.clear()
    maps, steps, found = train(rank, 2, compiled, partly)
    seen = [counters["stats"]["unique_graphs"], len(counters["graph_break"]), steps]
    return {"programs, breaks, steps": seen, "maps": maps, "found": found}


@pytest.mark.parametrize("partly", [False, True], ids=["all are annotated", "some are annotated"])
@pytest.mark.parametrize("compiled", [False, True], ids=["ordinary", "compiled"])
def test_two_processes_equal_one(compiled: bool, partly: bool, tmp_path: Path) -> None:
    """Statistics are those of the global batch in compiled steps too; the last step is compiled on none."""
    *_, expected = train(0, 1, compiled=False, partly=False)
    ranks = on_two_ranks(partial(one_of_two, compiled=compiled, partly=partly), tmp_path)
    for rank, maps in zip(ranks, [[1, 1, 1], [4, 1, 1]] if partly else [[4, 4, 3], [4, 4, 4]], strict=True):
        assert rank["maps"] == maps
        assert rank["programs, breaks, steps"] == ([1, 0, 2] if compiled else [0, 0, 0])
        for values, others in zip(rank["found"], expected, strict=True):
            for value, other in zip(values, others, strict=True):
                torch.testing.assert_close(value, other, rtol=1e-9, atol=1e-12)
