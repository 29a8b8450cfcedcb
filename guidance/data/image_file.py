"""Reading an image file."""

import re
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torchvision.io import ImageReadMode, decode_image

from guidance.errors import InputError


def image_size(path: Path, exif: bool = False) -> tuple[int, int]:
    """Return an image's (height, width) from its header."""
    with Image.open(path) as image:
        return image.height, image.width


def read_image(
    path: Path, size: tuple[int, int] | None = None, least: int | None = None, exif: bool = False
) -> Tensor:
    """Read an image as RGB, whatever its own colour space; its EXIF orientation is not applied.

    Args:
        path: A JPEG, PNG, WebP or GIF file.

    Returns:
        uint8 [3, H, W].

    Raises:
        InputError: Naming the file, if it is missing, truncated or no image.
    """
    try:
        image: Tensor = decode_image(str(path), mode=ImageReadMode.RGB)
    except RuntimeError as error:
        # The decoder's message starts with the C++ file it comes from and goes on about other formats.
        reason = re.sub(r"^.*\.cpp:\d+, ", "", str(error)).split(". ")[0]
        raise InputError(f"cannot read the image {path}: {reason}. Replace the file.") from error
    height, width = image.shape[1:]
    if size is not None and (height, width) != size:
        raise InputError(
            f"{path} is {width} x {height} pixels, but its annotation says "
            f"{size[1]} x {size[0]}: they do not belong together"
        )
    return image


def read_label_image(path: Path, size: tuple[int, int]) -> Tensor:
    """Read an image whose pixels are class numbers: a palette's indices or grey values.

    Args:
        path: A PNG file.
        size: (height, width) that it must have.

    Returns:
        uint8 [H, W].

    Raises:
        InputError: Naming the file, if it cannot be decoded, has colours instead or another size.
    """
    try:
        with Image.open(path) as image:
            if image.mode not in ("P", "L", "1"):
                raise InputError(
                    f"{path} must hold one class number per pixel (palette or grey); it is {image.mode}"
                )
            pixels = torch.from_numpy(np.array(image, dtype=np.uint8))
    except (OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise InputError(f"cannot read the segmentation {path}: {error}. Replace the file.") from error
    if tuple(pixels.shape) != size:
        raise InputError(
            f"{path} is {pixels.shape[1]} x {pixels.shape[0]} pixels, but its image is {size[1]} x {size[0]}"
        )
    return pixels
