"""Which images may stand in a grid: those that every compared model is sure of."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from guidance.data import Batch, ImageDataset
from guidance.errors import InputError, unknown_name

Rule = Literal["confident", "most_confident"]
Probability = Literal["sigmoid", "softmax"]
Labels = Literal["annotated", "predicted"]

_LEAST: dict[str, float] = {"confident": 0.99, "most_confident": 0.5}


@dataclass(frozen=True)
class SelectionRule:
    """How images are chosen.

    Attributes:
        rule: ``confident`` draws at random among images of at least the confidence (Rao et al., CVPR 2022);
            ``most_confident`` takes the most confident first (the B-cos and CoDA papers).
        labels: ``annotated``: images of exactly one class, which every model gets right. ``predicted``: the
            class that every model predicts is the label, for heads whose classes the data does not know.
        min_confidence: The least probability of the label under every model; by default 0.99 or, for
            ``most_confident``, 0.5.
        probability: Of the label: the ``sigmoid`` of its logit, or the ``softmax`` over all; None leaves it
            to :func:`guidance.protocols.choosing.qualifying_images`.

    Raises:
        InputError: If an option is wrong.
    """

    rule: Rule = "confident"
    labels: Labels = "annotated"
    min_confidence: float | None = None
    probability: Probability | None = None

    def __post_init__(self) -> None:
        for name, kind in (("rule", Rule), ("labels", Labels), ("probability", Probability)):
            value = getattr(self, name)
            if value not in get_args(kind) and not (name == "probability" and value is None):
                raise unknown_name(f"protocol.{name}", str(value), get_args(kind))
        if not 0 <= self.least <= 1:
            raise InputError(f"protocol.min_confidence must lie between 0 and 1; got {self.min_confidence}")

    @property
    def least(self) -> float:
        """The least confidence of an image that qualifies."""
        return _LEAST[self.rule] if self.min_confidence is None else self.min_confidence


@dataclass(frozen=True)
class Candidates:
    """M images that qualify.

    Attributes:
        indices: Of the images in their data set, int64 [M], ascending.
        labels: Their classes, int64 [M].
        confidences: The least probability that a model gives the label, float64 [M].
    """

    indices: Tensor
    labels: Tensor
    confidences: Tensor


def single_labels(dataset: ImageDataset) -> Tensor:
    """Return the class of every image that shows exactly one, and -1 of any other; int64 [len(dataset)]."""
    labels = torch.stack([dataset.annotation(index).labels for index in range(len(dataset))])
    return torch.where(labels.sum(dim=1) == 1, labels.int().argmax(dim=1), -1)


def find_candidates(
    models: Sequence[nn.Module], batches: Iterable[Batch], rule: SelectionRule, labels: Tensor
) -> Candidates:
    """Classify images with all models and keep those that qualify.

    Args:
        models: In evaluation mode, all on one device.
        batches: The images.
        rule: What qualifies.
        labels: The class of each image of the data set, int64; for ``predicted`` labels not looked at.
    """
    device = next((p.device for model in models for p in model.parameters()), torch.device("cpu"))
    kept = []
    for batch in batches:
        images = batch.images.to(device).float() / 255
        least = torch.ones(len(batch), dtype=torch.float64)
        correct = torch.ones(len(batch), dtype=torch.bool)
        with torch.no_grad():
            of_models = [model(images).double().cpu() for model in models]
        chosen = of_models[0].argmax(dim=1) if rule.labels == "predicted" else labels[batch.indices]
        for logits in of_models:
            probabilities = logits.softmax(dim=1) if rule.probability == "softmax" else logits.sigmoid()
            least = least.minimum(probabilities.gather(1, chosen[:, None])[:, 0])
            correct &= logits.argmax(dim=1) == chosen
        qualifies = correct & (least >= rule.least)
        kept.append((batch.indices[qualifies], chosen[qualifies], least[qualifies]))
    none = torch.zeros(0, dtype=torch.int64)
    kept.append((none, none, none.double()))
    indices, of_class, confidences = (torch.cat(parts) for parts in zip(*kept, strict=True))
    order = indices.argsort()
    return Candidates(indices[order], of_class[order], confidences[order])
