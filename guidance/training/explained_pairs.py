"""A few (image, class) pairs that are explained to be looked at, chosen by a seed and not by hand."""

import torch
from torch import Tensor

from guidance.attribution import attribute_pairs
from guidance.data import Batch, collate
from guidance.data.prepared import PreparedDataset
from guidance.randomness import permutation
from guidance.training.module import GuidedClassifier


def choose_pairs(dataset: PreparedDataset, count: int, seed: int) -> tuple[Batch, Tensor] | None:
    """Draw images that have a box, and in each one class that has one.

    Args:
        dataset: A split, as evaluation sees it.
        count: The most images, >= 1.
        seed: Of the draw.

    Returns:
        The n <= count images, and the class of each, int64 [n]; None if no image has a box.
    """
    chosen = []
    for index in permutation(len(dataset), seed).tolist():
        sample = dataset[index]
        if len(sample.boxes):
            chosen.append(sample)
        if len(chosen) == count:
            break
    if not chosen:
        return None
    classes = [s.box_classes[int(permutation(len(s.boxes), seed, s.index)[0])] for s in chosen]
    return collate(chosen), torch.stack(classes)


def explain_pairs(module: GuidedClassifier, batch: Batch, classes: Tensor) -> tuple[Tensor, Tensor]:
    """Explain one class of each image.

    Args:
        module: Explains, in evaluation mode, at the first of its attributor's layers.
        batch: n images.
        classes: The class of each, int64 [n].

    Returns:
        Signed maps [n, h, w] and probabilities [n], on the CPU.
    """
    images = batch.images.to(module.device).to(module.dtype) / 255
    rows = torch.arange(len(batch), device=module.device)
    training = module.training
    module.eval()
    try:
        logits, layers = attribute_pairs(
            module.attributor, module.model, images, rows, classes.to(module.device)
        )
    finally:
        module.train(training)
    maps = layers[module.attributor.layers[0]]
    return maps.cpu(), logits.sigmoid().cpu().gather(1, classes[:, None])[:, 0]
