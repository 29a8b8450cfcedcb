"""Localization losses: attributions [N, h, w] and masks [N, H, W] in, one loss per map [N] out."""

from guidance.losses.energy import EnergyLoss
from guidance.losses.l1 import L1Loss
from guidance.losses.ppce import PPCELoss
from guidance.losses.rrr import RRRLoss

__all__ = ["EnergyLoss", "L1Loss", "PPCELoss", "RRRLoss"]
