"""On-object EPG: how much of the evidence inside the boxes lies on the objects themselves."""

import torch
from torch import Tensor
from torchmetrics import Metric

from guidance.maps import energy_in_mask


def on_object_energy(attributions: Tensor, boxes: Tensor, objects: Tensor) -> Tensor:
    """Compute ``sum(S * M * A+) / sum(M * A+)`` for every (image, class) pair.

    Rao et al., ICCV 2023: the energy in the segmentation mask S of a class over that in its boxes M. What
    of S no box covers is left out, so that the share cannot exceed 1.

    Args:
        attributions: signed, floating point [P, h, w].
        boxes: M, bool [P, H, W].
        objects: S, bool [P, H, W].

    Returns:
        [P] in [0, 1]; 0 for a map without positive evidence inside the boxes.

    Raises:
        ValueError: If shapes or dtypes do not fit.
    """
    inside = energy_in_mask(attributions, boxes)
    on_object = energy_in_mask(attributions, boxes & objects)
    nothing = inside == 0
    return torch.where(nothing, 0.0, on_object / torch.where(nothing, 1.0, inside))


class OnObjectEnergy(Metric):
    """Mean of :func:`on_object_energy` over all pairs that have boxes and a segmentation mask."""

    is_differentiable = False
    higher_is_better = True
    full_state_update = False

    energy: Tensor
    pairs: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.add_state("energy", torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("pairs", torch.zeros((), dtype=torch.int64), dist_reduce_fx="sum")

    def update(self, attributions: Tensor, boxes: Tensor, objects: Tensor) -> None:
        """Add P pairs; P may be 0.

        Args:
            attributions: signed, floating point [P, h, w].
            boxes: bool [P, H, W].
            objects: bool [P, H, W].
        """
        energy = on_object_energy(attributions, boxes, objects).double()
        self.energy = self.energy.double() + energy.sum()
        self.pairs = self.pairs + len(energy)

    def compute(self) -> Tensor:
        """Return the mean, float64 []; nan (nothing measured) without a pair."""
        return self.energy / self.pairs
