"""Which (image, class) pairs a protocol explains."""

import hashlib
import logging
from dataclasses import dataclass

import torch
from torch import Tensor

from guidance.errors import InputError
from guidance.protocols.candidates import SelectionRule
from guidance.protocols.choosing import label_names, qualifying_images
from guidance.protocols.protocol import Evaluation
from guidance.randomness import permutation

log = logging.getLogger(__name__)

# Sets this draw apart from others of the same seed.
_IMAGES = 211


@dataclass(frozen=True)
class Pairs:
    """P pairs.

    Attributes:
        indices: Of the images in the split, int64 [P]; an image may be in several pairs.
        classes: int64 [P].
    """

    indices: Tensor
    classes: Tensor

    def __len__(self) -> int:
        return len(self.indices)

    def digest(self, evaluation: Evaluation) -> str:
        """Return what identifies the images and classes."""
        dataset = evaluation.datamodule.split(evaluation.split)
        digest = hashlib.sha256()
        for index, of_class in zip(self.indices.tolist(), self.classes.tolist(), strict=True):
            digest.update(f"{dataset.fingerprint(index)}\n{of_class}\n".encode())
        return digest.hexdigest()


def confident_pairs(count: int, rule: SelectionRule, evaluation: Evaluation) -> tuple[Pairs, SelectionRule]:
    """Choose images that all models are sure of, each with its class.

    Args:
        count: How many; fewer if fewer qualify, which is logged.
        rule: What qualifies. The most confident images come first or, for ``confident``, they are drawn.
        evaluation: Knows models, images and seed.

    Returns:
        The pairs, and the rule with the probability that was used.

    Raises:
        InputError: If no image qualifies, or the models do not answer for the same classes.
    """
    label_names(rule.labels, evaluation)  # refuses models that do not fit
    candidates, rule = qualifying_images(rule, evaluation)
    found = len(candidates.indices)
    if not found:
        raise InputError(
            f"no image of the split '{evaluation.split}' of exactly one class is classified right by all "
            f"models with a probability of at least {rule.least}: lower protocol.min_confidence"
        )
    if found < count:
        log.warning("protocol.images is %d, but %d images qualify: these are used", count, found)
    if rule.rule == "most_confident":
        order = candidates.confidences.argsort(descending=True, stable=True)
    else:
        order = permutation(found, evaluation.seed, _IMAGES)
    chosen = order[:count]
    return Pairs(candidates.indices[chosen], candidates.labels[chosen]), rule


def annotated_pairs(evaluation: Evaluation) -> Pairs:
    """Return every image of the split with every present class that has a box.

    Raises:
        InputError: If there is no box.
    """
    dataset = evaluation.datamodule.split(evaluation.split)
    indices, classes = [], []
    for index in range(len(dataset)):
        annotation = dataset.annotation(index)
        boxed = [k for k in annotation.box_classes.unique().tolist() if annotation.labels[k]]
        indices += [index] * len(boxed)
        classes += boxed
    if not indices:
        raise InputError(f"no image of the split '{evaluation.split}' has a box to point at")
    return Pairs(torch.tensor(indices), torch.tensor(classes))
