"""Localization losses: attributions [N, h, w] and masks [N, H, W] in, one loss per map [N] out."""

from guidance.losses.absent import AbsentEvidenceLoss
from guidance.losses.energy import EnergyLoss
from guidance.losses.l1 import L1Loss
from guidance.losses.map_similarity import MapSimilarityLoss
from guidance.losses.ppce import PPCELoss
from guidance.losses.res import RESLoss
from guidance.losses.rrr import RRRLoss
from guidance.losses.soft_mask import SoftMaskLoss

__all__ = [
    "AbsentEvidenceLoss",
    "EnergyLoss",
    "L1Loss",
    "MapSimilarityLoss",
    "PPCELoss",
    "RESLoss",
    "RRRLoss",
    "SoftMaskLoss",
]
