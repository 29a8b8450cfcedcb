"""IoU between the binarised attribution map and the mask, at many thresholds at once."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torchmetrics import Metric

from guidance.errors import InputError
from guidance.maps import EMPTY, check_maps_and_masks, positive_evidence

DEFAULT_THRESHOLDS = (0.0, 0.005, 0.01, 0.02, 0.03, 0.05, 0.075, *(k / 20 for k in range(2, 20)))
"""The sweep: dense near 0, since a few pixels hold most of a B-cos network's evidence at the input."""

ROUNDING = 8
"""A map whose values differ by no more than so many units of rounding of the largest is constant."""


def _iou_per_threshold(attributions: Tensor, masks: Tensor, thresholds: Sequence[float]) -> Tensor:
    """IoU of P pairs at T ascending thresholds, float64 [P, T].

    Every pixel is put into the bin between two thresholds once; what lies above a threshold is then a
    cumulative sum over bins, so that nothing of size P x T x H x W is ever made.
    """
    check_maps_and_masks(attributions, masks)
    attributions = attributions.to(torch.promote_types(attributions.dtype, torch.float32))
    positive = positive_evidence(attributions, (masks.shape[-2], masks.shape[-1])).flatten(1)  # [P, H*W]
    pairs, bins = len(positive), len(thresholds) + 1
    lowest, largest = positive.aminmax(dim=1, keepdim=True)
    spread = largest - lowest
    # Interpolation rounds: what it makes of a constant map is constant but for that.
    constant = spread <= (ROUNDING * torch.finfo(positive.dtype).eps * largest).clamp(min=EMPTY)
    normalised = (positive - lowest) / torch.where(constant, 1.0, spread)

    # A pixel's bin is the number of thresholds below it; constant maps land in bin 0, above no threshold.
    edges = torch.tensor(thresholds, dtype=positive.dtype, device=positive.device)
    index = torch.where(constant, 0, torch.bucketize(normalised, edges))
    index = index + bins * masks.flatten(1)
    index = index + 2 * bins * torch.arange(pairs, device=positive.device)[:, None]
    index = index.flatten()
    counts = torch.zeros(pairs * 2 * bins, dtype=torch.int64, device=positive.device)
    counts = counts.scatter_add_(0, index, torch.ones_like(index)).view(pairs, 2, bins)

    above = counts[:, :, 1:].flip(-1).cumsum(-1).flip(-1)  # [P, 2, T]: outside and inside the mask
    intersection = above[:, 1].double()
    union = above[:, 0] + counts[:, 1].sum(-1, keepdim=True)
    iou = intersection / union.clamp(min=1)
    return torch.where(spread.isfinite(), iou, torch.nan)


class AttributionIoU(Metric):
    """Mean over (image, present class) pairs of the IoU between ``Â+ > t`` and the mask.

    Rao et al., ICCV 2023. The signed map is brought to the mask's size bilinearly, its positive
    part is min-max normalised to [0, 1] per map, and binarised at t. The paper chooses t on held-out data:
    read it from :meth:`best` on the validation split and give it as ``threshold`` for the test split.

    A constant (or empty) map predicts no pixel and scores 0, also against an empty mask; constant is one up
    to the rounding of interpolation (:data:`ROUNDING`). Nan or infinite evidence scores nan. Comparisons are
    made in the map's dtype, half precision in float32.

    Args:
        threshold: The t of :meth:`compute`, in [0, 1); it need not be one of ``thresholds``.
        thresholds: The sweep of :meth:`curve` and :meth:`best`, each in [0, 1).

    Raises:
        InputError: If a threshold is outside [0, 1), or there is none to sweep.
    """

    is_differentiable = False
    higher_is_better = True
    full_state_update = False

    iou: Tensor
    pairs: Tensor

    def __init__(self, threshold: float = 0.5, thresholds: Sequence[float] = DEFAULT_THRESHOLDS) -> None:
        super().__init__()
        wrong = [t for t in (threshold, *thresholds) if not 0 <= t < 1]
        if wrong or not thresholds:
            raise InputError(f"IoU thresholds must be in [0, 1), at least one of them; got {wrong or 'none'}")
        self.threshold = float(threshold)
        self.thresholds = tuple(float(t) for t in thresholds)
        self._grid = tuple(sorted({self.threshold, *self.thresholds}))
        self.add_state("iou", torch.zeros(len(self._grid), dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("pairs", torch.zeros((), dtype=torch.int64), dist_reduce_fx="sum")

    def update(self, attributions: Tensor, masks: Tensor) -> None:
        """Add P pairs; P may be 0.

        Args:
            attributions: signed, floating point [P, h, w].
            masks: True inside the annotated boxes, bool [P, H, W].

        Raises:
            ValueError: If shapes or dtypes do not fit.
        """
        self.iou = self.iou + _iou_per_threshold(attributions, masks, self._grid).sum(0)
        self.pairs = self.pairs + len(attributions)

    def compute(self) -> Tensor:
        """Return the mean IoU at ``threshold``, float64 []; nan if there was no pair."""
        return self.iou[self._grid.index(self.threshold)] / self.pairs

    def curve(self) -> Tensor:
        """Return the mean IoU at each of ``thresholds``, float64 [T]; nan if there was no pair.

        Call it on every rank: the ranks' sums are added first.
        """
        with self.sync_context():
            mean = self.iou / self.pairs
        return mean[[self._grid.index(t) for t in self.thresholds]]

    def best(self) -> tuple[float, float]:
        """Return the best of ``thresholds`` and its mean IoU, the first of equals; call it on every rank.

        Without a pair nothing was measured: the result is ``(threshold, nan)``.
        """
        curve = self.curve().tolist()
        iou, threshold = max(zip(curve, self.thresholds, strict=True), key=lambda pair: pair[0])
        return (self.threshold, math.nan) if math.isnan(iou) else (threshold, iou)
