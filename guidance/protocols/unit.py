"""What a protocol works through: every model with every attribution that fits it."""

import hashlib
import json
import logging
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from guidance.errors import InputError
from guidance.models import Classifier
from guidance.protocols.attributors import NamedAttributor
from guidance.protocols.protocol import ComparedModel, Evaluation
from guidance.protocols.score_file import ScoreFile

log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Fit:
    """One model explained by one attribution.

    Attributes:
        compared: The model.
        named: The attribution.
        model: What is explained: the classifier, or what a protocol made of it.
    """

    compared: ComparedModel
    named: NamedAttributor
    model: nn.Module


@dataclass(frozen=True, eq=False)
class Unit(Fit):
    """A fit with its scores.

    Attributes:
        file: The scores.
    """

    file: ScoreFile

    @property
    def identity(self) -> dict[str, str]:
        """Return the first columns of every table: model, method, setting."""
        return {"model": self.compared.name, "method": self.named.method, "setting": self.named.setting}


@dataclass
class Cost:
    """What some work took: seconds, and forward passes of one image or grid."""

    seconds: float = 0.0
    passes: int = 0


@contextmanager
def cost_of(model: nn.Module, device: torch.device) -> Iterator[Cost]:
    """Measure the work of the block, forward passes of ``model`` among it; known when the block ends."""
    cost = Cost()

    def count(_: nn.Module, images: Any) -> None:
        cost.passes += len(images[0])

    counter = model.register_forward_pre_hook(count)
    begin = _now(device)
    try:
        yield cost
    finally:
        counter.remove()
        cost.seconds = _now(device) - begin


def _now(device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


def find_fits(
    evaluation: Evaluation,
    attributors: Sequence[NamedAttributor],
    model_for: Callable[[Classifier, Sequence[str]], nn.Module],
) -> list[Fit]:
    """Return every model with every attribution that fits it; what does not is logged.

    Args:
        evaluation: Knows the models.
        attributors: What is compared.
        model_for: Makes what is explained of a classifier and the layers.

    Raises:
        InputError: If no attribution fits any model.
    """
    fits, refusals = [], []
    for compared in evaluation.models:
        for named in attributors:
            model = model_for(compared.classifier, named.attributor.layers)
            try:
                named.attributor.check(model)
            except InputError as error:
                refusals.append(f"{named.label} of {compared.name}: {error}")
                continue
            fits.append(Fit(compared, named, model))
    for refusal in refusals:
        log.warning("left out, %s", refusal)
    if not fits:
        raise InputError(f"no attribution of protocol.attributors fits; {refusals[0]}")
    return fits


def make_units(
    evaluation: Evaluation, fits: Sequence[Fit], identity: Sequence[Any], count: int
) -> list[Unit]:
    """Give every fit the file of its scores.

    Args:
        evaluation: Knows the folder.
        fits: Of :func:`find_fits`.
        identity: Plain data that decides the scores, beside models and attributions.
        count: Number of grids or images that are scored.
    """
    units = []
    for fit in fits:
        decides = [identity, evaluation.datamodule.image_size, fit.compared.weights, fit.named.options]
        key = hashlib.sha256(json.dumps(decides).encode()).hexdigest()[:16]
        path = evaluation.output_dir / "scores" / f"{key}.jsonl"
        units.append(Unit(fit.compared, fit.named, fit.model, ScoreFile(path, count)))
    return units
