"""What is done to an attribution map before it is scored: bring it to the image size, keep its evidence."""

import torch
import torch.nn.functional as F
from torch import Tensor

EMPTY = 1e-12
"""A map whose largest (absolute) value is not above this carries no evidence and counts as empty."""


def upsample(attributions: Tensor, size: tuple[int, int]) -> Tensor:
    """Interpolate maps bilinearly (``align_corners=False``) to ``size``.

    Args:
        attributions: float [N, h, w].
        size: (H, W) in pixels.

    Returns:
        float [N, H, W]; the input itself if it already has that size.
    """
    if attributions.shape[-2:] == size:
        return attributions
    return F.interpolate(attributions[:, None], size=size, mode="bilinear", align_corners=False)[:, 0]


def positive_evidence(attributions: Tensor, size: tuple[int, int]) -> Tensor:
    """Return A+ as every metric sees it: the signed map, brought to the image size, then its positive part.

    Args:
        attributions: signed, float [N, h, w].
        size: (H, W) in pixels.

    Returns:
        float [N, H, W], >= 0.
    """
    return upsample(attributions, size).clamp(min=0)


def divide_by_maximum(attributions: Tensor) -> Tensor:
    """Divide every map by its largest absolute value; the divisor is part of the graph.

    Args:
        attributions: float [N, h, w].

    Returns:
        float [N, h, w] in [-1, 1]. An empty map (see :data:`EMPTY`) gives zeros and a zero gradient.
    """
    largest = attributions.abs().amax(dim=(-2, -1), keepdim=True)
    empty = largest <= EMPTY
    return torch.where(empty, 0.0, attributions / torch.where(empty, 1.0, largest))


def check_maps_and_masks(attributions: Tensor, masks: Tensor, soft: bool = False) -> None:
    """Refuse maps and masks that do not belong together.

    Args:
        attributions: floating point [N, h, w].
        masks: bool [N, H, W].
        soft: Whether masks may be floating point, with values in [0, 1], too.

    Raises:
        ValueError: Naming the shape or dtype that is wrong.
    """
    if attributions.ndim != 3 or not attributions.is_floating_point():
        raise ValueError(
            "attributions must be floating point [N, h, w]; "
            f"got {attributions.dtype} {list(attributions.shape)}"
        )
    if masks.ndim != 3 or not (masks.dtype == torch.bool or (soft and masks.is_floating_point())):
        kinds = "bool or floating point" if soft else "bool"
        raise ValueError(f"masks must be {kinds} [N, H, W]; got {masks.dtype} {list(masks.shape)}")
    if len(attributions) != len(masks):
        raise ValueError(f"{len(attributions)} attributions but {len(masks)} masks")


def energy_in_mask(attributions: Tensor, masks: Tensor) -> Tensor:
    """Compute ``EPG = sum(M * A+) / sum(A+)`` for every (image, class) pair.

    Wang et al., "Score-CAM", CVPR-W 2020, and Rao et al., ICCV 2023. The signed map is brought
    to the mask's size bilinearly, then its positive part A+ is taken.

    Args:
        attributions: signed, floating point [P, h, w]; half precision is computed in float32.
        masks: True inside the annotated boxes, bool [P, H, W], or soft, in [0, 1].

    Returns:
        [P] in [0, 1], differentiable. A map without positive evidence (see :data:`EMPTY`) scores 0 with a
        zero gradient, and so does an empty mask; nan or infinite evidence scores nan.

    Raises:
        ValueError: If shapes or dtypes do not fit.
    """
    check_maps_and_masks(attributions, masks, soft=True)
    attributions = attributions.to(torch.promote_types(attributions.dtype, torch.float32))
    positive = positive_evidence(attributions, (masks.shape[-2], masks.shape[-1]))
    largest = positive.detach().amax(dim=(-2, -1), keepdim=True)
    empty = largest <= EMPTY
    # A common factor cancels in the ratio; dividing by the largest value keeps the sums in range.
    positive = positive / torch.where(empty, 1.0, largest)
    total = positive.sum(dim=(-2, -1))
    inside = (positive * masks).sum(dim=(-2, -1))
    empty = empty[:, 0, 0]
    return torch.where(empty, 0.0, inside / torch.where(empty, 1.0, total))
