"""The file that a step which was not finite leaves behind: weights, batch, place in the run."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from guidance.checkpoints.reading import read_checkpoint
from guidance.data import Batch
from guidance.errors import InputError
from guidance.files import replacing
from guidance.training.finding import Finding
from guidance.training.module import GuidedClassifier

_VERSION = 1


@dataclass(frozen=True)
class Failure:
    """A training step that was not finite.

    Attributes:
        batch: The images of all processes, in the order of their ranks, N in all.
        names: What a person would call each image, N names.
        ranks: The process that each image was trained in, int64 [N].
        epoch: Counted from 0.
        step: Optimizer steps done before.
        guided: For each explanation of the batch the class explained in each image, int64 [N]; -1 where none
            is guided.
        findings: What was not finite.
    """

    batch: Batch
    names: list[str]
    ranks: Tensor
    epoch: int
    step: int
    guided: list[Tensor]
    findings: list[Finding]


def joined_batches(batches: Sequence[Batch]) -> Batch:
    """Put the batches of several processes into one, image after image.

    Args:
        batches: At least one, on one device, with one target.
    """
    offsets = torch.tensor([0, *(len(batch) for batch in batches)]).cumsum(0).tolist()
    joined: dict[str, Any] = {"target": batches[0].target}
    for name in (field.name for field in fields(Batch) if field.name != "target"):
        parts = [getattr(batch, name) for batch in batches]
        if name in ("box_images", "run_images"):
            parts = [part + offset for part, offset in zip(parts, offsets, strict=False)]
        joined[name] = torch.cat(parts)
    return Batch(**joined)


def write_failure(path: Path, failure: Failure, module: GuidedClassifier) -> None:
    """Write a step and the weights before it, atomically.

    The file is a checkpoint too, of weights alone: what evaluates or explains checkpoints takes it.

    Args:
        path: The file.
        failure: The step.
        module: Has the weights, and the configuration that the step is built from again.
    """
    content: dict[str, Any] = {
        "state_dict": {name: value.detach().cpu() for name, value in module.state_dict().items()},
        "epoch": failure.epoch,
        "global_step": failure.step,
    }
    module.on_save_checkpoint(content)
    batch = failure.batch.to("cpu")
    content["failure"] = {
        "version": _VERSION,
        "batch": {field.name: getattr(batch, field.name) for field in fields(Batch)},
        "names": failure.names,
        "ranks": failure.ranks.cpu(),
        "guided": [classes.cpu() for classes in failure.guided],
        "findings": [finding.plain() for finding in failure.findings],
    }
    with replacing(path) as temporary:
        torch.save(content, temporary)


def read_failure(path: Path) -> tuple[Failure, dict[str, Any]]:
    """Read a step back, weights-only.

    Returns:
        The step, and the file's whole content, which is a checkpoint's.

    Raises:
        InputError: If it is no such file, or one of a newer version.
    """
    if not path.is_file():
        raise InputError(f"no file {path}; name the failure.pt of a run")
    content = read_checkpoint(path)
    own = content.get("failure")
    if own is None:
        raise InputError(f"{path} holds no step that was not finite; name the failure.pt of a run")
    if own["version"] > _VERSION:
        raise InputError(f"{path} has version {own['version']}, this one reads up to {_VERSION}")
    findings = [
        Finding(**{**plain, "images": tuple(plain["images"]), "names": tuple(plain["names"])})
        for plain in own["findings"]
    ]
    failure = Failure(
        batch=Batch(**own["batch"]),
        names=own["names"],
        ranks=own["ranks"],
        epoch=content["epoch"],
        step=content["global_step"],
        guided=own["guided"],
        findings=findings,
    )
    return failure, content
