"""Energy pointing game: the share of positive evidence that lies inside the mask."""

import torch
from torch import Tensor
from torchmetrics import Metric

from guidance.maps import energy_in_mask


class EnergyPointingGame(Metric):
    """Mean of :func:`energy_in_mask` over all (image, present class) pairs of a split, and per class.

    Args:
        num_classes: K, if :meth:`per_class` is wanted; every update then needs the pairs' classes.
    """

    is_differentiable = False
    higher_is_better = True
    full_state_update = False

    energy: Tensor
    pairs: Tensor

    def __init__(self, num_classes: int | None = None) -> None:
        super().__init__()
        self.num_classes = num_classes
        bins = num_classes or 1
        self.add_state("energy", torch.zeros(bins, dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("pairs", torch.zeros(bins, dtype=torch.int64), dist_reduce_fx="sum")

    def update(self, attributions: Tensor, masks: Tensor, classes: Tensor | None = None) -> None:
        """Add P pairs; P may be 0.

        Args:
            attributions: signed, floating point [P, h, w].
            masks: bool [P, H, W].
            classes: int64 [P] in [0, K); needed if, and only if, ``num_classes`` was given.

        Raises:
            ValueError: If shapes or dtypes do not fit, or classes are missing or unexpected.
        """
        if (classes is None) != (self.num_classes is None):
            raise ValueError("give classes to update() if, and only if, num_classes was given")
        energy = energy_in_mask(attributions, masks).double()
        if classes is None:
            classes = torch.zeros(len(energy), dtype=torch.int64, device=energy.device)
        elif classes.shape != energy.shape:
            raise ValueError(f"{len(energy)} pairs but classes of shape {list(classes.shape)}")
        self.energy = self.energy.double().index_add(0, classes, energy)
        self.pairs = self.pairs.index_add(0, classes, torch.ones_like(classes))

    def compute(self) -> Tensor:
        """Return the mean over all pairs, float64 []; nan (nothing measured) without a pair."""
        return self.energy.sum() / self.pairs.sum()

    def per_class(self) -> Tensor:
        """Return the mean over each class's pairs, float64 [K]; nan for a class without pairs.

        Call it on every rank: the ranks' sums are added first.

        Raises:
            ValueError: If the metric was built without ``num_classes``.
        """
        if self.num_classes is None:
            raise ValueError("per_class() needs EnergyPointingGame(num_classes=...)")
        with self.sync_context():
            return self.energy / self.pairs
