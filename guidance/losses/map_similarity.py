"""Map-to-map distillation: explain as a teacher does."""

import torch
from torch import Tensor, nn

from guidance.maps import EMPTY, upsample


class MapSimilarityLoss(nn.Module):
    """``1 - cos(A, A_T)`` for every map A and its teacher's map A_T.

    The explanation loss of Parchami-Araghi et al., "Good Teachers Explain: Explanation-Enhanced Knowledge
    Distillation" (e2KD), ECCV 2024 (arXiv 2402.03119). Signed maps, compared at the larger of both sizes.
    """

    def forward(self, attributions: Tensor, teacher_maps: Tensor) -> Tensor:
        """Score N maps.

        Args:
            attributions: signed, floating point [N, h, w].
            teacher_maps: signed, floating point [N, H, W].

        Returns:
            [N] in [0, 2]; 1 and a zero gradient if one of the two maps is empty.

        Raises:
            ValueError: If there are not as many maps of the one as of the other.
        """
        if attributions.ndim != 3 or teacher_maps.ndim != 3 or len(attributions) != len(teacher_maps):
            raise ValueError(
                "attributions and teacher_maps must be [N, h, w] and [N, H, W]; "
                f"got {list(attributions.shape)} and {list(teacher_maps.shape)}"
            )
        size = (
            max(attributions.shape[-2], teacher_maps.shape[-2]),
            max(attributions.shape[-1], teacher_maps.shape[-1]),
        )
        dtype = torch.promote_types(attributions.dtype, torch.float32)
        student = _unit(upsample(attributions.to(dtype), size))
        teacher = _unit(upsample(teacher_maps.to(dtype), size))
        return 1 - (student * teacher).sum(dim=(-2, -1))


def _unit(maps: Tensor) -> Tensor:
    """Divide maps [N, H, W] by their Euclidean norm; an empty map becomes zeros."""
    largest = maps.detach().abs().amax(dim=(-2, -1), keepdim=True)
    empty = largest <= EMPTY
    scaled = torch.where(empty, 0.0, maps / torch.where(empty, 1.0, largest))
    squares = scaled.square().sum(dim=(-2, -1), keepdim=True)
    return scaled / torch.where(empty, 1.0, squares).sqrt()
