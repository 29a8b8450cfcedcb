"""What happens around training: checkpoints, the Pareto front, pictures."""

from guidance.callbacks.gallery import Gallery
from guidance.callbacks.last_checkpoint import LastCheckpoint
from guidance.callbacks.pareto_checkpoint import ParetoCheckpoint

__all__ = ["Gallery", "LastCheckpoint", "ParetoCheckpoint"]
