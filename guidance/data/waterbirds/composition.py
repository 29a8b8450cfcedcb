"""Composing one image of Waterbirds: a bird cut out of its photograph, on a place."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from guidance.data.image_file import read_image
from guidance.data.waterbirds.cub import read_segmentation
from guidance.errors import InputError
from guidance.files import replacing, write_atomically

JPEG_QUALITY = 95

Pixels = npt.NDArray[np.uint8]
"""RGB, [H, W, 3]."""


@dataclass(frozen=True)
class Composition:
    """The files of one image.

    Attributes:
        bird: The photograph.
        segmentation: Of the bird in it.
        place: The photograph of the background.
        image: What is to be written.
        segmentation_copy: Where the segmentation is to be copied to.
    """

    bird: Path
    segmentation: Path
    place: Path
    image: Path
    segmentation_copy: Path


def compose(files: Composition) -> None:
    """Compose an image, unless it is there already, and write it and the copy of the segmentation.

    Each file is written atomically, the image last, so that one that is there is whole.

    Raises:
        InputError: Naming the file, if one cannot be read or written, or segmentation and photograph have
            different sizes.
    """
    if files.image.is_file() and files.segmentation_copy.is_file():
        return
    bird = _read(files.bird)
    alpha = read_segmentation(files.segmentation, bird.shape[:2]).numpy()
    blended = blend(bird, alpha, fill(_read(files.place), bird.shape[:2]))
    try:
        write_atomically(files.segmentation_copy, files.segmentation.read_bytes())
        with replacing(files.image) as temporary:
            Image.fromarray(blended).save(temporary, format="JPEG", quality=JPEG_QUALITY)
    except OSError as error:
        raise InputError(f"cannot write {files.image}: {error}") from error


def blend(bird: Pixels, alpha: npt.NDArray[np.uint8], place: Pixels) -> Pixels:
    """Lay the bird over the place: alpha / 255 of the bird's colour, the rest of the place's, rounded.

    Args:
        bird: [H, W, 3].
        alpha: [H, W].
        place: [H, W, 3].
    """
    part = alpha[:, :, None].astype(np.float32) / 255
    blended: Pixels = np.rint(part * bird + (1 - part) * place).astype(np.uint8)
    return blended


def fill(place: Pixels, size: tuple[int, int]) -> Pixels:
    """Cut the middle out of a place, as large as a size's aspect ratio allows, and resize it (Lanczos).

    Args:
        place: [h, w, 3].
        size: (height, width) of the result.
    """
    height, width = size
    rows, columns = place.shape[:2]
    scale = min(rows / height, columns / width)
    # Rounding must not move a corner past the edge, which Pillow refuses.
    top, left = max(0, (rows - scale * height) / 2), max(0, (columns - scale * width) / 2)
    box = (left, top, min(columns, left + scale * width), min(rows, top + scale * height))
    resized = Image.fromarray(place).resize((width, height), Image.Resampling.LANCZOS, box=box)
    return np.asarray(resized)


def _read(path: Path) -> Pixels:
    return np.ascontiguousarray(read_image(path).permute(1, 2, 0).numpy())
