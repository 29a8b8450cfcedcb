"""Where the grids of an evaluation come from: drawn from its data set, or a manifest."""

from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor
from torchvision.models import ResNet50_Weights

from guidance.errors import InputError
from guidance.models import DynamicLinear
from guidance.progress import progress_over
from guidance.protocols.candidates import Candidates, SelectionRule, find_candidates, single_labels
from guidance.protocols.drawing import draw_grids
from guidance.protocols.manifest import GridManifest, make_cells
from guidance.protocols.protocol import Evaluation


def qualifying_images(rule: SelectionRule, evaluation: Evaluation) -> tuple[Candidates, SelectionRule]:
    """Find the images that all models are sure of.

    Unless the rule says otherwise, confidence is a sigmoid for networks trained here and for B-cos networks,
    which are trained with binary cross-entropy on ImageNet too, and a softmax for others with their own head.

    Returns:
        The images, and the rule with the probability that was used.
    """
    labels = single_labels(evaluation.datamodule.split(evaluation.split))
    indices = torch.arange(len(labels)) if rule.labels == "predicted" else (labels >= 0).nonzero()[:, 0]
    loader = evaluation.datamodule.chosen_loader(evaluation.split, indices.tolist())
    if rule.probability is None:
        rule = replace(rule, probability="softmax" if _trained_by_softmax(evaluation) else "sigmoid")
    with progress_over(loader, "looking for images that all models are sure of") as batches:
        models = [compared.classifier for compared in evaluation.models]
        return find_candidates(models, batches, rule, labels), rule


def choose_grids(
    n: int, count: int, rule: SelectionRule, evaluation: Evaluation
) -> tuple[GridManifest, Tensor]:
    """Draw grids from the images that all models are sure of.

    Returns:
        The grids, and the indices of their images, int64 [count, n * n].

    Raises:
        InputError: If too few images qualify, or the models do not answer for the same classes.
    """
    classes = label_names(rule.labels, evaluation)
    dataset = evaluation.datamodule.split(evaluation.split)
    candidates, rule = qualifying_images(rule, evaluation)
    drawn = draw_grids(candidates, n, count, evaluation.seed, rule.rule == "most_confident", classes)
    chosen = drawn.flatten()
    cells = make_cells(
        dataset,
        candidates.indices[chosen].tolist(),
        candidates.labels[chosen].tolist(),
        candidates.confidences[chosen].tolist(),
    )
    manifest = GridManifest(
        n=n,
        split=evaluation.split,
        classes=classes,
        labels=rule.labels,
        selection={
            "rule": rule.rule,
            "min_confidence": rule.least,
            "probability": rule.probability,
            "seed": evaluation.seed,
            "image_size": evaluation.datamodule.image_size,
        },
        models=tuple({"name": m.name, "weights": m.weights} for m in evaluation.models),
        grids=tuple(tuple(cells[i : i + n * n]) for i in range(0, len(cells), n * n)),
    )
    return manifest, candidates.indices[drawn]


def read_grids(path: Path, n: int, labels: str, evaluation: Evaluation) -> tuple[GridManifest, Tensor]:
    """Read grids from a manifest and find their images.

    Returns:
        As :func:`choose_grids`.

    Raises:
        InputError: If it is no manifest, does not fit the options, or the data set is not the same.
    """
    manifest = GridManifest.read(path)
    for option, own, given in (("protocol.n", manifest.n, n), ("protocol.labels", manifest.labels, labels)):
        if own != given:
            raise InputError(
                f"protocol.manifest: the grids of {path} have {option}={own}; set it, not {given}"
            )
    if manifest.split != evaluation.split:
        raise InputError(f"protocol.manifest: the grids of {path} are of split={manifest.split}; set it")
    names = label_names(labels, evaluation)
    if len(names) != len(manifest.classes):
        raise InputError(
            f"protocol.manifest: {path} has labels of {len(manifest.classes)} classes, the models answer for "
            f"{len(names)}"
        )
    return manifest, manifest.find_images(evaluation.datamodule.split(evaluation.split), path)


def label_names(labels: str, evaluation: Evaluation) -> tuple[str, ...]:
    """Return the names of the classes that labels are of."""
    if not any(model.own_head for model in evaluation.models):
        return evaluation.datamodule.classes
    if labels != "predicted":
        raise InputError(
            "a model without a checkpoint has its own head, whose classes this data set does not know: use "
            "protocol.labels=predicted, or train it and name the checkpoint"
        )
    counts = sorted({model.classifier.num_classes for model in evaluation.models})
    if len(counts) > 1:
        raise InputError(f"the compared models answer for different numbers of classes: {counts}")
    of_imagenet = tuple(ResNet50_Weights.DEFAULT.meta["categories"])
    return of_imagenet if counts[0] == len(of_imagenet) else tuple(map(str, range(counts[0])))


def _trained_by_softmax(evaluation: Evaluation) -> bool:
    return any(
        compared.own_head and not any(isinstance(m, DynamicLinear) for m in compared.classifier.modules())
        for compared in evaluation.models
    )
