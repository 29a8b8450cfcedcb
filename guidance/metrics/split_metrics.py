"""Everything that is reported of one split."""

from collections.abc import Sequence

from torch import Tensor, nn

from guidance.data import Batch
from guidance.metrics.attribution_iou import AttributionIoU
from guidance.metrics.classification import ClassificationMetrics
from guidance.metrics.energy_pointing_game import EnergyPointingGame
from guidance.metrics.group_accuracy import GroupAccuracy
from guidance.metrics.on_object_energy import OnObjectEnergy


class SplitMetrics(nn.Module):
    """The metrics of one split, accumulated batch by batch.

    Always F1, mAP, EPG and IoU; accuracy (also per group) of a single-label data set; on-object EPG of a data
    set with segmentation masks.

    Args:
        classes: The K class names.
        multi_label: Whether an image may show several classes, or none.
        groups: The names of the groups.
        has_masks: Whether images may have segmentation masks.
    """

    def __init__(
        self,
        classes: Sequence[str],
        multi_label: bool = True,
        groups: Sequence[str] = (),
        has_masks: bool = False,
    ) -> None:
        super().__init__()
        self.classes = tuple(classes)
        self.classification = ClassificationMetrics(len(self.classes))
        self.accuracy = None if multi_label else GroupAccuracy(groups)
        self.epg = EnergyPointingGame(len(self.classes))
        self.on_object = OnObjectEnergy() if has_masks else None
        self.iou = AttributionIoU()

    def update(self, batch: Batch, logits: Tensor, maps: Tensor, images: Tensor, classes: Tensor) -> None:
        """Add a batch of N images and P of their (image, class) pairs.

        Args:
            batch: Knows labels, boxes, masks and groups.
            logits: [N, K].
            maps: signed, floating point [P, h, w].
            images: The pairs' positions in the batch, int64 [P].
            classes: int64 [P].
        """
        masks = batch.masks(images, classes)
        self.classification.update(logits, batch.labels)
        self.epg.update(maps, masks, classes)
        self.iou.update(maps, masks)
        if self.accuracy is not None:
            self.accuracy.update(logits, batch.labels, batch.groups)
        if self.on_object is not None:
            # Outside the boxes there is no object that the evidence could lie on.
            known = batch.has_masks()[images, classes] & ~batch.outside[images]
            objects = batch.object_masks(images[known], classes[known])
            self.on_object.update(maps[known], masks[known], objects)

    def best_iou_threshold(self) -> float:
        """Return the IoU's best threshold on this split (Rao et al. choose it on held-out data)."""
        return self.iou.best()[0]

    def compute(self, iou_threshold: float) -> tuple[dict[str, float], dict[str, float]]:
        """Compute all metrics over all processes and start anew; call it on every rank.

        Args:
            iou_threshold: One of the IoU's thresholds.

        Returns:
            The metrics of the split (``f1_micro``, ``f1_macro``, ``map``, ``epg``, ``iou`` at the given
            threshold, ``iou_at_0.5``, ``iou_threshold``, where they apply ``on_object_epg`` and what
            :class:`~guidance.metrics.group_accuracy.GroupAccuracy` computes), and the EPG of every
            class by its name; nan where there was nothing to measure.
        """
        curve = self.iou.curve()
        values = {name: float(value) for name, value in self.classification.compute().items()}
        values["epg"] = float(self.epg.compute())
        values["iou"] = float(curve[self.iou.thresholds.index(iou_threshold)])
        values["iou_at_0.5"] = float(self.iou.compute())
        values["iou_threshold"] = iou_threshold
        if self.accuracy is not None:
            values |= {name: float(value) for name, value in self.accuracy.compute().items()}
        if self.on_object is not None:
            values["on_object_epg"] = float(self.on_object.compute())
        per_class = dict(zip(self.classes, self.epg.per_class().tolist(), strict=True))
        for metric in (self.classification, self.accuracy, self.epg, self.on_object, self.iou):
            if metric is not None:
                metric.reset()
        return values, per_class
