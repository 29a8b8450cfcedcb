"""From RGB in [0, 1] to what a network reads."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class AddInverse(nn.Module):
    """Append the inverse colours: ``[x, 1 - x]``, the input of B-cos networks.

    Böhle et al., CVPR 2022: with six channels the direction of a pixel alone tells its colour, and no
    colour has norm 0.
    """

    def forward(self, images: Tensor) -> Tensor:
        """Map [N, 3, H, W] in [0, 1] to [N, 6, H, W] in [0, 1]."""
        return torch.cat([images, 1 - images], dim=1)


class Normalize(nn.Module):
    """Subtract a mean and divide by a standard deviation, per channel.

    Args:
        mean: One value per channel; ImageNet's by default.
        std: One value per channel; ImageNet's by default.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        mean: Sequence[float] = (0.485, 0.456, 0.406),
        std: Sequence[float] = (0.229, 0.224, 0.225),
    ) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(list(mean))[:, None, None], persistent=False)
        self.register_buffer("std", torch.tensor(list(std))[:, None, None], persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        """Map [N, 3, H, W] in [0, 1] to [N, 3, H, W]."""
        return (images - self.mean) / self.std
