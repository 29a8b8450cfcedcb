"""Everything that is reported of one split."""

from collections.abc import Sequence

from torch import Tensor, nn

from guidance.metrics.attribution_iou import AttributionIoU
from guidance.metrics.classification import ClassificationMetrics
from guidance.metrics.energy_pointing_game import EnergyPointingGame


class SplitMetrics(nn.Module):
    """F1, mAP, EPG and IoU of one split, accumulated batch by batch.

    Args:
        classes: The K class names.
    """

    def __init__(self, classes: Sequence[str]) -> None:
        super().__init__()
        self.classes = tuple(classes)
        self.classification = ClassificationMetrics(len(self.classes))
        self.epg = EnergyPointingGame(len(self.classes))
        self.iou = AttributionIoU()

    def update(
        self, logits: Tensor, labels: Tensor, maps: Tensor, masks: Tensor, pair_classes: Tensor
    ) -> None:
        """Add N images and P of their (image, class) pairs.

        Args:
            logits: [N, K].
            labels: bool [N, K].
            maps: signed, floating point [P, h, w].
            masks: bool [P, H, W].
            pair_classes: int64 [P].
        """
        self.classification.update(logits, labels)
        self.epg.update(maps, masks, pair_classes)
        self.iou.update(maps, masks)

    def best_iou_threshold(self) -> float:
        """Return the IoU's best threshold on this split (Rao et al. choose it on held-out data)."""
        return self.iou.best()[0]

    def compute(self, iou_threshold: float) -> tuple[dict[str, float], dict[str, float]]:
        """Compute all metrics over all processes and start anew; call it on every rank.

        Args:
            iou_threshold: One of the IoU's thresholds.

        Returns:
            The metrics of the split (``f1_micro``, ``f1_macro``, ``map``, ``epg``, ``iou`` at the given
            threshold, ``iou_at_0.5``, ``iou_threshold``), and the EPG of every class by its name; nan where
            there was nothing to measure.
        """
        curve = self.iou.curve()
        values = {name: float(value) for name, value in self.classification.compute().items()}
        values["epg"] = float(self.epg.compute())
        values["iou"] = float(curve[self.iou.thresholds.index(iou_threshold)])
        values["iou_at_0.5"] = float(self.iou.compute())
        values["iou_threshold"] = iou_threshold
        per_class = dict(zip(self.classes, self.epg.per_class().tolist(), strict=True))
        for metric in (self.classification, self.epg, self.iou):
            metric.reset()
        return values, per_class
