"""Pareto fronts of metrics: the points that no other one beats, and how much of the space they beat."""

from guidance.pareto.front import pareto_front
from guidance.pareto.hypervolume import hypervolume

__all__ = ["hypervolume", "pareto_front"]
