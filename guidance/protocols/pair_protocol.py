"""What protocols on single images share: maps of (image, class) pairs, scores that outlive the process."""

from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from guidance.data import Batch
from guidance.errors import InputError
from guidance.progress import progress_over
from guidance.protocols.attributors import Entry, NamedAttributor, read_attributors
from guidance.protocols.pairs import Pairs
from guidance.protocols.protocol import Evaluation, Protocol
from guidance.protocols.score_file import Chunk
from guidance.protocols.unit import Unit, cost_of, find_fits, make_units

Measured = Mapping[str, Tensor]
"""Numbers of each pair, [N] or [N, ...], by ``QUANTITY@LAYER``."""


class PairProtocol(Protocol):
    """Explains (image, class) pairs with all attributions of all models and measures something of each.

    Args:
        attributors: What is compared, see :func:`guidance.protocols.attributors.read_attributors`.
        layers: Where all maps are taken; None is each method's own layer.
        batch_size: Pairs that are explained at once.

    Raises:
        InputError: If an option is wrong.
    """

    title: str
    with_masks = False
    """Whether the segmentation masks of the images are needed."""

    def __init__(
        self, attributors: Sequence[Entry], layers: Sequence[str] | None = None, batch_size: int = 16
    ) -> None:
        check_at_least(batch_size=(batch_size, 1))
        self.attributors = read_attributors(attributors, layers)
        self.batch_size = batch_size

    @abstractmethod
    def select(self, evaluation: Evaluation) -> Pairs:
        """Return the pairs."""

    @abstractmethod
    def measure(self, unit: Unit, batch: Batch, classes: Tensor, evaluation: Evaluation) -> Measured:
        """Explain N images, one class each, and measure what is asked.

        Args:
            unit: The model and the attribution.
            batch: The images, on the device.
            classes: int64 [N].
            evaluation: Knows the seed.
        """

    @abstractmethod
    def report(self, units: Sequence[Unit], pairs: Pairs, evaluation: Evaluation) -> dict[str, Any]:
        """Write CSV and figures, print a table; return what ``results.json`` is to hold."""

    def controls(self) -> Sequence[NamedAttributor]:
        """Return what is measured beside the attributions, to compare with."""
        return ()

    def identity(self) -> list[Any]:
        """Return what decides the numbers beside pairs, models, attributions and the seed."""
        return [type(self).__name__]

    def run(self, evaluation: Evaluation) -> dict[str, Any]:
        """Select the pairs, measure all attributions of all models on them, and report."""
        attributors = [*self.attributors, *self.controls()]
        fits = find_fits(evaluation, attributors, lambda classifier, _: classifier)
        pairs = self.select(evaluation)
        identity = [self.identity(), evaluation.seed, pairs.digest(evaluation)]
        units = make_units(evaluation, fits, identity, len(pairs))
        waiting = {unit: [k for k in range(len(pairs)) if k not in unit.file.done] for unit in units}
        chunks = sum(-(-len(numbers) // self.batch_size) for numbers in waiting.values())
        with progress_over(
            self._work(evaluation, waiting, pairs), f"{self.title}: explaining", total=chunks
        ) as work:
            for unit, numbers, batch in work:
                classes = pairs.classes[numbers].to(evaluation.device)
                with cost_of(unit.model, evaluation.device) as cost:
                    measured = self.measure(unit, batch, classes, evaluation)
                    scores = {
                        name: values.double().flatten(1).tolist()
                        if values.ndim > 1
                        else values.double()[:, None].tolist()
                        for name, values in measured.items()
                    }
                unit.file.append(Chunk(numbers, scores, cost.seconds, cost.passes))
        return self.report(units, pairs, evaluation)

    def _work(
        self, evaluation: Evaluation, waiting: Mapping[Unit, list[int]], pairs: Pairs
    ) -> Iterator[tuple[Unit, list[int], Batch]]:
        """Yield which pairs to measure how, with their images."""
        for unit, numbers in waiting.items():
            loader = evaluation.datamodule.chosen_loader(
                evaluation.split, pairs.indices[numbers].tolist(), self.batch_size, self.with_masks
            )
            batch: Batch
            for start, batch in zip(range(0, len(numbers), self.batch_size), loader, strict=True):
                yield unit, numbers[start : start + self.batch_size], batch.to(evaluation.device)


def explain(unit: Unit, images: Tensor, classes: Tensor) -> dict[str, Tensor]:
    """Return the signed maps [N, h, w] of each layer, of one class of each image.

    Args:
        unit: The model and the attribution.
        images: RGB in [0, 1], [N, 3, H, W].
        classes: int64 [N].
    """
    forward = unit.named.attributor.forward(unit.model, images)
    return unit.named.attributor.attribute_layers(forward, classes)


def rgb(batch: Batch) -> Tensor:
    """Return the images of a batch, float32 [N, 3, H, W] in [0, 1]."""
    return batch.images.float() / 255


def collected(unit: Unit) -> dict[str, Tensor]:
    """Return all numbers of a unit, float64 [P, V], by ``QUANTITY@LAYER``, the pairs in order."""
    values: dict[str, list[Sequence[float]]] = {}
    for name, _, of_pair in unit.file.scores():
        values.setdefault(name, []).append(of_pair)
    return {name: torch.tensor(rows, dtype=torch.float64) for name, rows in values.items()}


def check_at_least(**options: tuple[Any, int]) -> None:
    """Refuse options that are no integers, or too small.

    Args:
        **options: Each with its value and the least that is right.

    Raises:
        InputError: Naming the option.
    """
    for name, (value, least) in options.items():
        if not isinstance(value, int) or value < least:
            raise InputError(f"protocol.{name} must be an integer, at least {least}; got {value}")
