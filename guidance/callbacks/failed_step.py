"""What all processes know of a step that was not finite, and what to do about it."""

from collections.abc import Callable
from typing import Any, cast

import pytorch_lightning as pl
import torch
import torch.distributed as dist

from guidance.data import Batch
from guidance.replay.reproducer import Failure, joined_batches
from guidance.training.finding import Finding
from guidance.training.step_record import StepRecord

WEIGHTS_ADVICE = "A step before was too large: lower optimizer.lr, and go on from an earlier checkpoint"
"""For weights that are not finite."""


def finding_rank(trainer: pl.Trainer) -> int | None:
    """Return the rank that findings of this process bear; None where there are no others."""
    return trainer.global_rank if trainer.world_size > 1 else None


def gathered(trainer: pl.Trainer, own: Any) -> list[Any]:
    """Return what every process has, in the order of ranks."""
    if trainer.world_size == 1:
        return [own]
    everyone: list[Any] = [None] * trainer.world_size
    dist.all_gather_object(everyone, own)
    return everyone


def failed_step(trainer: pl.Trainer, batch: Batch, record: StepRecord, findings: list[Finding]) -> Failure:
    """Put together what all processes know of a step."""
    guided = [torch.where(counts, classes, -1).cpu() for classes, counts in record.guided]
    parts = gathered(trainer, (batch.to("cpu"), guided))
    joined = joined_batches([part for part, _ in parts])
    ranks = torch.arange(len(parts)).repeat_interleave(torch.tensor([len(part) for part, _ in parts]))
    name = image_namer(trainer, "train")
    return Failure(
        batch=joined,
        names=[name(index) for index in joined.indices.tolist()],
        ranks=ranks,
        epoch=trainer.current_epoch,
        step=trainer.global_step,
        guided=[torch.cat(each) for each in zip(*(classes for _, classes in parts), strict=False)],
        findings=findings,
    )


def image_namer(trainer: pl.Trainer, split: str) -> Callable[[int], str]:
    """Return what names the images of a split; their numbers, where images come without a data module."""
    datamodule = cast(Any, trainer).datamodule
    if datamodule is None:
        return lambda index: f"{split} image {index}"
    dataset = datamodule.split(split)
    return lambda index: str(dataset.name(index))


def advice(findings: list[Finding]) -> str:
    """Return what a user may do, one sentence without its full stop."""
    what = {finding.what for finding in findings}
    if "weights" in what:
        return WEIGHTS_ADVICE
    if "input" in what:
        return "Replace or remove these images"
    return "Lower optimizer.lr or loss.weight, or use trainer.precision=32-true"
