"""What happens around training: checkpoints, the Pareto front, pictures, what is not finite."""

from guidance.callbacks.anneal_bcosification import AnnealBcosification
from guidance.callbacks.finite_guard import FiniteGuard
from guidance.callbacks.gallery import Gallery
from guidance.callbacks.last_checkpoint import LastCheckpoint
from guidance.callbacks.pareto_checkpoint import ParetoCheckpoint

__all__ = ["AnnealBcosification", "FiniteGuard", "Gallery", "LastCheckpoint", "ParetoCheckpoint"]
