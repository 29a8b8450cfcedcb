"""Reading an image file."""

import re
from pathlib import Path

from torch import Tensor
from torchvision.io import ImageReadMode, decode_image

from guidance.errors import InputError


def read_image(path: Path) -> Tensor:
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
    return image
