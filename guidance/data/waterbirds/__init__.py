"""Waterbirds: birds on land and on water, as a data set and as a command that composes its images."""

from guidance.data.waterbirds.dataset import Waterbirds

__all__ = ["Waterbirds"]
