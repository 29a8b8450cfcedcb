"""Normalisation for networks that read images of one size only."""

from collections.abc import Sequence

from torch import Tensor

from guidance.errors import InputError
from guidance.models.encoding import Normalize


class FixedSizeNormalize(Normalize):
    """Normalise images of one size and refuse any other.

    Args:
        size: Height and width in pixels.
        mean: One value per channel; ImageNet's by default.
        std: One value per channel; ImageNet's by default.
    """

    def __init__(
        self,
        size: tuple[int, int],
        mean: Sequence[float] = (0.485, 0.456, 0.406),
        std: Sequence[float] = (0.229, 0.224, 0.225),
    ) -> None:
        super().__init__(mean, std)
        self.size = size

    def forward(self, images: Tensor) -> Tensor:
        """Map [N, 3, H, W] in [0, 1] to [N, 3, H, W].

        Raises:
            InputError: If the images have another size.
        """
        height, width = images.shape[-2:]
        if (height, width) != self.size:
            raise InputError(
                f"this network was built for images of {self.size[0]} x {self.size[1]} pixels and gets "
                f"{height} x {width}: set model.image_size to the size of the images (data.image_size)"
            )
        return super().forward(images)
