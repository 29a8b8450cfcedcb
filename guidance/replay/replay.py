"""The step of a failure file, done again in one process."""

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import pytorch_lightning as pl
import torch
from omegaconf import OmegaConf
from torch import Tensor

from guidance.checkpoints.reading import load_weights
from guidance.models import cpu_kernels
from guidance.replay.reproducer import Failure, read_failure
from guidance.runs.building import build_module
from guidance.training.finding import Finding, describe, findings_of, gradient_finding, weights_finding
from guidance.training.module import GuidedClassifier
from guidance.training.step_record import StepRecord
from guidance.untrusted.stored_config import stored_config, stored_loss


@dataclass(frozen=True)
class Replayed:
    """What a step done again gave.

    Attributes:
        failure: What the file says.
        losses: The step's losses by name.
        findings: What was not finite this time; empty if everything was.
    """

    failure: Failure
    losses: dict[str, float]
    findings: list[Finding]

    @property
    def same(self) -> bool:
        """Whether the same quantities of the same images are not finite as in the run."""
        again = [finding for finding in self.findings if not finding.what.startswith("gradient at ")]
        return _images_by_quantity(again) == _images_by_quantity(self.failure.findings)

    def describe(self) -> str:
        """Say what was not finite, with all images and parameters."""
        if not self.findings:
            return "everything is finite"
        names = dict(zip(self.failure.batch.indices.tolist(), self.failure.names, strict=True))
        return describe(self.findings, names.__getitem__, shown=None)


@dataclass(frozen=True)
class _Classes:
    """All that a training module needs to know of the data when only one batch is trained on."""

    classes: tuple[str, ...]
    multi_label: bool = True
    groups: tuple[str, ...] = ()
    has_masks: bool = False


def replay(path: Path, device: str = "cpu", trusted: Collection[str] = ()) -> Replayed:
    """Do a failed step again: the same weights, images, classes drawn and seeds; nothing is changed or saved.

    The batches of several processes are one batch here, which trains the same, but for what differs between
    processes by its nature: dropout masks, and statistics of batch norms that do not synchronise.

    Where a gradient alone is not finite, it is followed back to the maps and logits of single images.

    Args:
        path: The file, see :func:`guidance.replay.write_failure`.
        device: ``cpu`` or ``cuda``.
        trusted: Packages of one's own that the file may name, see
            :func:`guidance.untrusted.targets.find_target`.

    Raises:
        InputError: If it is no such file, or what its configuration names is not there or not to be trusted.
    """
    failure, content = read_failure(path)
    stored = stored_config(content, path, trusted)
    # Nothing is optimized, but a training module has an optimizer.
    optimizer = {"_target_": "torch.optim.Adam", "_partial_": True}
    parts = {key: stored[key] for key in ("model", "attributor", "seed")}
    parts |= {"loss": stored_loss(content, path, trusted), "optimizer": optimizer, "trusted": [*trusted]}
    config = OmegaConf.create(parts)
    module = build_module(config, _Classes(tuple(content["guidance"]["classes"])), start_weights=False)
    load_weights(module, content)
    trainer = pl.Trainer(
        accelerator="gpu" if device.startswith("cuda") else device,
        devices=1,
        precision=stored.get("precision", "32-true"),
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    precision = trainer.precision_plugin
    precision.convert_module(module)
    module.to(trainer.strategy.root_device).train()
    plan = module.guided_step.plan(failure.batch)
    batch = failure.batch.to(trainer.strategy.root_device)
    weights = weights_finding(module.model)
    module.seed_batch(failure.step)
    # As runs do by default: where numbers overflow depends on how they are added up.
    with cpu_kernels():
        with precision.train_step_context():
            losses, record = module.guided_step.losses(module.model, batch, plan, failure.epoch)
        findings = _findings(module, losses["loss"], record)
    findings += [] if weights is None else [weights]
    return Replayed(failure, {name: value.item() for name, value in losses.items()}, findings)


def _findings(module: GuidedClassifier, loss: Tensor, record: StepRecord) -> list[Finding]:
    found = findings_of(record)
    noted = [one for one in record.quantities if one.name != "loss" and one.values.requires_grad]
    within = torch.autograd.grad(loss, [one.values for one in noted], retain_graph=True, allow_unused=True)
    loss.backward()
    gradient = gradient_finding(module.model)
    if gradient is None:
        return found
    at = StepRecord(record.indices)
    for one, values in zip(noted, within, strict=True):
        if values is not None:
            at.note(f"gradient at {one.name}", values, one.rows)
    return [*found, *findings_of(at), gradient]


def _images_by_quantity(findings: list[Finding]) -> dict[str, set[int]]:
    images: dict[str, set[int]] = {}
    for finding in findings:
        images.setdefault(finding.what, set()).update(finding.images)
    return images
