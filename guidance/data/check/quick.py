"""What training asks of its data before it starts: what can be said without reading the images."""

import logging
import time

import torch
from pytorch_lightning.utilities import rank_zero_only
from torch import Tensor

from guidance.data.annotation import Annotation
from guidance.data.check.summary import count_skipped, counted
from guidance.data.check.verdict import absent_classes, no_box, no_label, not_guidable
from guidance.data.datamodule import SPLITS, GuidanceDataModule
from guidance.data.image_dataset import ImageDataset
from guidance.errors import InputError

log = logging.getLogger(__name__)

_FIRST = 100
_AT_HAND = 2e-4  # seconds for an annotation; a table takes a tenth of it, drawing a scene ten times as long


def quick_check(datamodule: GuidanceDataModule, guided: bool) -> list[str]:
    """Say in one line per split what there is to train with, and refuse what training would not notice.

    Annotations are counted where they are at hand. Where each must be made, as a rendered scene's, the first
    hundred speak for all.

    Args:
        datamodule: Whose three splits are made, if they were not yet.
        guided: Whether a localization loss is to use the annotations.

    Returns:
        Warnings, one sentence each.

    Raises:
        InputError: If the first image of a split cannot be read, no training image carries a label, or
            ``guided`` and no annotated training image has what guidance aims at.
    """
    warnings = []
    for split in SPLITS:
        dataset = datamodule.split(split)
        dataset.image(0)
        known = _annotations(dataset)
        labels = torch.stack([annotation.labels for annotation in known])
        boxes = sum(len(annotation.boxes) for annotation in known)
        rank_zero_only(log.info)("%s", _describe(split, dataset, labels, boxes))
        if split == "train" and not labels.any() and not _has_label(dataset, start=len(known)):
            raise InputError(no_label())
        if len(known) == len(dataset):
            per_class = labels.sum(dim=0).tolist()
            warnings.append(absent_classes(split, dict(zip(dataset.classes, per_class, strict=True))))
            if split != "train":
                warnings.append(no_box(split, boxes))
    if guided:
        _check_guidable(datamodule)
    return [warning for warning in warnings if warning]


def _annotations(dataset: ImageDataset) -> list[Annotation]:
    """Return all annotations, or the first ones if they take long to make."""
    first = min(_FIRST, len(dataset))
    start = time.perf_counter()
    annotations = [dataset.annotation(index) for index in range(first)]
    if time.perf_counter() - start < _AT_HAND * first:
        annotations += [dataset.annotation(index) for index in range(first, len(dataset))]
    return annotations


def _describe(split: str, dataset: ImageDataset, labels: Tensor, boxes: int) -> str:
    """Return e.g. ``train: 2,501 images, 6,301 boxes, 20 classes; skipped: 12 boxes (reason)``."""
    joint = "," if len(labels) == len(dataset) else f"; the first {len(labels)} have"
    present = int(labels.any(dim=0).sum())
    text = f"{split}: {counted(len(dataset), 'image')}{joint} {counted(boxes, 'box')}"
    text += f", {counted(present, 'class')}"
    parts = [f"{counted(item.count, item.what)} ({item.reason})" for item in count_skipped(dataset.skipped)]
    return text + (f"; skipped: {', '.join(parts)}" if parts else "")


def _has_label(dataset: ImageDataset, start: int) -> bool:
    return any(bool(dataset.annotation(index).labels.any()) for index in range(start, len(dataset)))


def _check_guidable(datamodule: GuidanceDataModule) -> None:
    """Refuse training data that cannot guide; masks are not read, the data set's word is enough."""
    prepared = datamodule.prepared("train")
    chosen = prepared.annotated.nonzero().flatten().tolist()
    if prepared.target == "mask":
        guidable = prepared.dataset.has_masks and bool(chosen)
    else:
        annotations = (prepared.dataset.annotation(index) for index in chosen)
        guidable = any(bool(found.labels[found.box_classes].any()) for found in annotations)
    if not guidable:
        raise InputError(not_guidable(prepared.target, len(chosen) / len(prepared)))
