"""Images as a network sees them: read, and squashed to a square."""

import torch
from torch import Tensor
from torchvision.transforms.v2 import functional as transforms

from guidance.data.image_dataset import ImageDataset
from guidance.errors import InputError


def read_image(dataset: ImageDataset, index: int, least: int | None = None) -> Tensor:
    """Return an image of a data set, uint8 [3, H, W].

    Args:
        dataset: The data set.
        index: Which image.
        least: See :meth:`guidance.data.ImageDataset.image`.

    Raises:
        InputError: Naming the file, if it cannot be read or is not uint8.
    """
    image = dataset.image(index, least=least)
    if image.dtype != torch.uint8:
        finite = "" if image.isfinite().all() else ", with values that are not finite"
        raise InputError(
            f"the image {dataset.name(index)} is {image.dtype}{finite}; a data set's images are torch.uint8, "
            "from 0 to 255"
        )
    return image


def squash(image: Tensor, size: int) -> Tensor:
    """Squash an image [3, H, W] to [3, size, size], antialiased, bilinear; one so large stays as it is."""
    if image.shape[-2:] == (size, size):
        return image
    squashed: Tensor = transforms.resize(image, [size, size], antialias=True)
    return squashed
