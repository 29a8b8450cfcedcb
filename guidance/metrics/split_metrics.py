"""Everything that is reported of one split."""

from collections.abc import Mapping, Sequence
from typing import cast

from torch import Tensor, nn

from guidance.data import Batch
from guidance.metrics.classification import ClassificationMetrics
from guidance.metrics.group_accuracy import GroupAccuracy
from guidance.metrics.localization import LocalizationMetrics


class SplitMetrics(nn.Module):
    """The metrics of one split, accumulated batch by batch.

    Always F1, mAP, EPG and IoU; accuracy (also per group) of a single-label data set; on-object EPG of a data
    set with segmentation masks.

    Args:
        classes: The K class names.
        layers: Where the maps are taken.
        multi_label: Whether an image may show several classes, or none.
        groups: The names of the groups.
        has_masks: Whether images may have segmentation masks.
    """

    def __init__(
        self,
        classes: Sequence[str],
        layers: Sequence[str],
        multi_label: bool = True,
        groups: Sequence[str] = (),
        has_masks: bool = False,
    ) -> None:
        super().__init__()
        self.layers = tuple(layers)
        self.classification = ClassificationMetrics(len(classes))
        self.accuracy = None if multi_label else GroupAccuracy(groups)
        self.localization = nn.ModuleList(LocalizationMetrics(classes, has_masks) for _ in self.layers)

    def update(
        self, batch: Batch, logits: Tensor, maps: Mapping[str, Tensor], images: Tensor, classes: Tensor
    ) -> None:
        """Add a batch of N images and P of their (image, class) pairs.

        Args:
            batch: Knows labels, boxes, masks and groups.
            logits: [N, K].
            maps: signed, floating point [P, h, w] of every layer.
            images: The pairs' positions in the batch, int64 [P].
            classes: int64 [P].
        """
        self.classification.update(logits, batch.labels)
        if self.accuracy is not None:
            self.accuracy.update(logits, batch.labels, batch.groups)
        for layer, metrics in zip(self.layers, self.localization, strict=True):
            cast(LocalizationMetrics, metrics).update(batch, maps[layer], images, classes)

    def best_iou_threshold(self) -> float:
        """Return the IoU's best threshold on this split, at the first layer (Rao et al.: held-out data)."""
        return cast(LocalizationMetrics, self.localization[0]).iou.best()[0]

    def compute(self, iou_threshold: float) -> tuple[dict[str, float], dict[str, float]]:
        """Compute all metrics over all processes and start anew; call it on every rank.

        Args:
            iou_threshold: One of the IoU's thresholds.

        Returns:
            The metrics of the split: those of
            :class:`~guidance.metrics.classification.ClassificationMetrics`, those of
            :class:`~guidance.metrics.localization.LocalizationMetrics` (``epg``, ...; with several layers
            ``epg@LAYER``, ...) and, for a single-label data set, those of
            :class:`~guidance.metrics.group_accuracy.GroupAccuracy`; and the EPG of every class by its name,
            at the first layer. nan where there was nothing to measure.
        """
        values = {name: float(value) for name, value in self.classification.compute().items()}
        self.classification.reset()
        if self.accuracy is not None:
            values |= {name: float(value) for name, value in self.accuracy.compute().items()}
            self.accuracy.reset()
        per_class: dict[str, float] = {}
        for layer, metrics in zip(self.layers, self.localization, strict=True):
            own, each = cast(LocalizationMetrics, metrics).compute(iou_threshold)
            mark = f"@{layer}" if len(self.layers) > 1 else ""
            values |= {f"{name}{mark}": value for name, value in own.items()}
            per_class = per_class or each
        return values, per_class
