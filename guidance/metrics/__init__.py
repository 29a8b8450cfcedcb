"""How well a model classifies (F1, mAP, accuracy) and localizes (EPG, IoU); states sum over ranks."""

from guidance.maps import energy_in_mask
from guidance.metrics.attribution_iou import DEFAULT_THRESHOLDS, AttributionIoU
from guidance.metrics.classification import ClassificationMetrics
from guidance.metrics.energy_pointing_game import EnergyPointingGame
from guidance.metrics.group_accuracy import GroupAccuracy
from guidance.metrics.localization import LocalizationMetrics
from guidance.metrics.on_object_energy import OnObjectEnergy, on_object_energy
from guidance.metrics.split_metrics import SplitMetrics

__all__ = [
    "DEFAULT_THRESHOLDS",
    "AttributionIoU",
    "ClassificationMetrics",
    "EnergyPointingGame",
    "GroupAccuracy",
    "LocalizationMetrics",
    "OnObjectEnergy",
    "SplitMetrics",
    "energy_in_mask",
    "on_object_energy",
]
