"""An image that is explained, with what is annotated in it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torchvision.transforms.v2 import functional as transforms

from guidance.data.boxes import rescale_boxes, union_masks

_SHOWN = 480  # pixels of a picture's longer side


@dataclass(frozen=True)
class Subject:
    """One image and its boxes.

    Attributes:
        name: What a person calls it.
        read: Reads it as RGB, uint8 [3, H, W]; given a number of pixels, at least that many on both sides
            will do.
        size: (height, width) in its own pixels.
        boxes: float [M, 4], xyxy, half-open, in its own pixels, within it.
        box_names: The class of each box; "" counts for every class.
        outside: Whether the evidence is to lie outside the boxes.
    """

    name: str
    read: Callable[[int], Tensor]
    size: tuple[int, int]
    boxes: Tensor
    box_names: tuple[str, ...]
    outside: bool = False

    def squashed(self, side: int) -> Tensor:
        """Return the image as training prepares it: squashed to a square, uint8 [3, side, side].

        Raises:
            InputError: Naming the file, if it cannot be read.
        """
        image = self.read(side)
        return image if image.shape[-2:] == (side, side) else transforms.resize(image, [side, side])

    def shown(self) -> Tensor:
        """Return the image in its own proportions, not larger than a picture needs, uint8 [3, H, W]."""
        image = self.read(_SHOWN // 2)
        height, width = self.size
        scale = min(1.0, _SHOWN / max(height, width))
        size = [max(1, round(height * scale)), max(1, round(width * scale))]
        return image if list(image.shape[-2:]) == size else transforms.resize(image, size)

    def boxes_of(self, name: str) -> Tensor:
        """Return which boxes count for a class, bool [M]."""
        return torch.tensor([own in ("", name) for own in self.box_names], dtype=torch.bool)

    def boxed(self, names: Sequence[str]) -> list[bool]:
        """Return whether each class has a box."""
        return [bool(self.boxes_of(name).any()) for name in names]

    def masks(self, names: Sequence[str], side: int) -> Tensor:
        """Draw where the evidence for each class should lie in the squashed image, as evaluation does.

        Args:
            names: Of P classes.
            side: Of the squashed image, in pixels.

        Returns:
            bool [P, side, side]; all False for a class without a box.
        """
        squashed = rescale_boxes(self.boxes, self.size, (side, side))
        own = [self.boxes_of(name) for name in names]
        owners = torch.cat([torch.full((int(m.sum()),), i) for i, m in enumerate(own)])
        drawn = union_masks(torch.cat([squashed[m] for m in own]), owners, len(names), (side, side))
        boxed = drawn.flatten(1).any(dim=1)[:, None, None]
        return drawn ^ (boxed & self.outside)
