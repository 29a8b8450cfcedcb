"""How well the maps of one layer localize: EPG, IoU and on-object EPG of one split."""

from collections.abc import Sequence

from torch import Tensor, nn

from guidance.data import Batch
from guidance.metrics.attribution_iou import AttributionIoU
from guidance.metrics.energy_pointing_game import EnergyPointingGame
from guidance.metrics.on_object_energy import OnObjectEnergy


class LocalizationMetrics(nn.Module):
    """EPG and IoU against the boxes, and on-object EPG where there are segmentation masks.

    Args:
        classes: The K class names.
        has_masks: Whether images may have segmentation masks.
    """

    def __init__(self, classes: Sequence[str], has_masks: bool = False) -> None:
        super().__init__()
        self.classes = tuple(classes)
        self.epg = EnergyPointingGame(len(self.classes))
        self.iou = AttributionIoU()
        self.on_object = OnObjectEnergy() if has_masks else None

    def update(self, batch: Batch, maps: Tensor, images: Tensor, classes: Tensor) -> None:
        """Add P (image, class) pairs of a batch.

        Args:
            batch: Knows boxes and masks.
            maps: signed, floating point [P, h, w].
            images: The pairs' positions in the batch, int64 [P].
            classes: int64 [P].
        """
        masks = batch.masks(images, classes)
        self.epg.update(maps, masks, classes)
        self.iou.update(maps, masks)
        if self.on_object is not None:
            # Outside the boxes there is no object that the evidence could lie on.
            known = batch.has_masks()[images, classes] & ~batch.outside[images]
            objects = batch.object_masks(images[known], classes[known])
            self.on_object.update(maps[known], masks[known], objects)

    def compute(self, iou_threshold: float) -> tuple[dict[str, float], dict[str, float]]:
        """Compute all metrics over all processes and start anew; call it on every rank.

        Args:
            iou_threshold: One of the IoU's thresholds.

        Returns:
            ``epg``, ``iou`` at the given threshold, ``iou_at_0.5``, ``iou_threshold`` and, with masks,
            ``on_object_epg``; and the EPG of every class by its name. nan where there was nothing to measure.
        """
        values = {
            "epg": float(self.epg.compute()),
            "iou": float(self.iou.curve()[self.iou.thresholds.index(iou_threshold)]),
            "iou_at_0.5": float(self.iou.compute()),
            "iou_threshold": iou_threshold,
        }
        if self.on_object is not None:
            values["on_object_epg"] = float(self.on_object.compute())
        per_class = dict(zip(self.classes, self.epg.per_class().tolist(), strict=True))
        for metric in (self.epg, self.iou, self.on_object):
            if metric is not None:
                metric.reset()
        return values, per_class
