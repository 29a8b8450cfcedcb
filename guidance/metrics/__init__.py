"""How well a model classifies (F1, mAP) and how well it localizes (EPG, IoU); states sum over ranks."""

from guidance.maps import energy_in_mask
from guidance.metrics.attribution_iou import DEFAULT_THRESHOLDS, AttributionIoU
from guidance.metrics.classification import ClassificationMetrics
from guidance.metrics.energy_pointing_game import EnergyPointingGame
from guidance.metrics.split_metrics import SplitMetrics

__all__ = [
    "DEFAULT_THRESHOLDS",
    "AttributionIoU",
    "ClassificationMetrics",
    "EnergyPointingGame",
    "SplitMetrics",
    "energy_in_mask",
]
