"""Reading an image file."""

import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError
from torch import Tensor
from torchvision.io import ImageReadMode, decode_image

from guidance.errors import InputError

# torchvision announces with every call that its decoder will move to another package.
warnings.filterwarnings(
    "ignore", "The image decoding and encoding capabilities of TorchVision", DeprecationWarning
)

# What Pillow could open besides is exotic, and decoding some of it starts other programs.
_FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "JPEG2000")
_MOST_PIXELS = 178_956_970  # where Pillow stops by itself, unless a program has switched that off
_SIXTEEN_BIT = ("I;16", "I;16B", "I;16L", "I;16N")
_ORIENTATION = 0x0112
# EXIF orientation -> what to flip, 1 for height and 2 for width; from 5 on the image is transposed first.
_FLIPS = {1: (), 2: (2,), 3: (1, 2), 4: (1,), 5: (), 6: (2,), 7: (1, 2), 8: (1,)}


def image_size(path: Path, exif: bool = False) -> tuple[int, int]:
    """Return an image's (height, width) from its header.

    Args:
        path: As in :func:`read_image`.
        exif: Whether the size is that of the image turned upright by its EXIF orientation.

    Raises:
        InputError: Naming the file, if it is missing, no image or larger than 178,956,970 pixels.
    """
    with _opened(path, "image") as (image, _):
        return _oriented_size(image, _orientation(image) if exif else 1)


def read_image(
    path: Path, size: tuple[int, int] | None = None, least: int | None = None, exif: bool = False
) -> Tensor:
    """Read an image as RGB, whatever its own colour space, of an animation the first frame.

    Transparency is ignored. Of 16 bits the upper 8 count.

    Args:
        path: A JPEG, PNG, WebP, GIF, BMP, TIFF, PPM or JPEG 2000 file.
        size: (height, width) that the image in the file must have; any if None.
        least: If given, a JPEG is decoded at 1/4 or 1/8 of its size, which is nearly twice as fast, where
            both sides keep at least ``2 * least`` pixels: enough for a resize to ``least``.
        exif: Whether to turn the image upright by its EXIF orientation, also before ``size`` is compared;
            annotations of older data sets refer to the pixels as they are stored. A TIFF is always upright.

    Returns:
        uint8 [3, H, W].

    Raises:
        InputError: Naming the file, if it is missing, truncated, no image, larger than 178,956,970 pixels or
            has another size than ``size``.
    """
    with _opened(path, "image") as (image, file):
        orientation = _orientation(image) if exif else 1
        height, width = _oriented_size(image, orientation)
        if size is not None and (height, width) != size:
            raise InputError(
                f"{path} is {width} x {height} pixels, but its annotation says "
                f"{size[1]} x {size[0]}: they do not belong together"
            )
        pixels = _decode(image, file, least)
        if orientation >= 5:
            pixels = pixels.transpose(1, 2)
        return pixels.flip(_FLIPS[orientation]) if _FLIPS[orientation] else pixels


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
    with _opened(path, "segmentation") as (image, _):
        if image.mode not in ("P", "L", "1"):
            raise InputError(
                f"{path} must hold one class number per pixel (palette or grey); it is {image.mode}"
            )
        if (image.height, image.width) != size:
            raise InputError(
                f"{path} is {image.width} x {image.height} pixels, but its image is {size[1]} x {size[0]}"
            )
        return torch.from_numpy(np.array(image, dtype=np.uint8))


@contextmanager
def _opened(path: Path, kind: str) -> Iterator[tuple[Image.Image, BinaryIO]]:
    """Open a file of which only the header has been read; whatever fails within is an InputError."""
    try:
        with path.open("rb") as file, Image.open(file, formats=_FORMATS) as image:
            pixels = image.width * image.height
            if pixels > _MOST_PIXELS:
                raise Image.DecompressionBombError(
                    f"Image size ({pixels} pixels) exceeds limit of {_MOST_PIXELS} pixels"
                )
            yield image, file
            return
    except InputError:
        raise
    except UnidentifiedImageError:
        reason = f"Unsupported image file; what can be read is {', '.join(_FORMATS)}"
    except Image.DecompressionBombError as error:
        reason = str(error).split(",")[0]
    except OSError as error:
        reason = error.strerror or str(error)
    except Exception as error:  # whatever a decoder stumbles on in a damaged file
        # torchvision's message starts with the C++ file it comes from and goes on about other formats.
        reason = re.sub(r"^.*\.cpp:\d+, ", "", str(error)).split(". ")[0] or type(error).__name__
    raise InputError(f"cannot read the {kind} {path}: {reason}. Replace or remove the file.")


def _decode(image: Image.Image, file: BinaryIO, least: int | None) -> Tensor:
    """Decode what was opened to RGB, uint8 [3, H, W]."""
    if image.format in ("JPEG", "MPO") and image.mode in ("RGB", "L"):
        if least is None or min(image.size) < 8 * least:  # half the size would win nothing
            # Nearly twice as fast as Pillow; elsewhere it wins nothing, or differs.
            file.seek(0)
            content = torch.from_numpy(np.fromfile(file, dtype=np.uint8))
            decoded: Tensor = decode_image(content, mode=ImageReadMode.RGB)
            return decoded
        image.draft(None, (2 * least, 2 * least))
    if image.mode in _SIXTEEN_BIT or (image.mode == "I" and image.format in ("PNG", "PPM")):
        # Pillow's own conversion cuts off at 255.
        grey = torch.from_numpy((np.asarray(image) >> 8).astype(np.uint8))
        return grey.repeat(3, 1, 1)
    if image.mode in ("I", "F"):
        raise ValueError("its pixels are 32-bit numbers, of which nothing says what is white")
    image.load()
    image.info.pop("transparency", None)  # Pillow would warn that RGB has none
    return torch.from_numpy(np.array(image.convert("RGB"))).permute(2, 0, 1)


def _orientation(image: Image.Image) -> int:
    """Return the EXIF orientation, 1 (upright) if there is none that makes sense."""
    if image.format == "TIFF":  # Pillow turns it
        return 1
    try:
        # Not the method of the image's own class: for a PNG that decodes all of it.
        orientation = Image.Image.getexif(image).get(_ORIENTATION)
    except Exception:  # the rest of the file may be sound
        return 1
    return orientation if orientation in _FLIPS else 1


def _oriented_size(image: Image.Image, orientation: int) -> tuple[int, int]:
    """Return (height, width) after turning."""
    return (image.width, image.height) if orientation >= 5 else (image.height, image.width)
