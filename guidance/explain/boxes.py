"""The boxes that a person gives with an image."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from guidance.data.boxes import Box, clip_box
from guidance.data.folder.orientation import fitting_size
from guidance.data.voc_annotation import read_voc_annotation
from guidance.errors import InputError

log = logging.getLogger(__name__)

_RIGHT = (
    "boxes is [[x0,y0,x1,y1],...] in pixels of the one image, a VOC XML file, or a folder with an .xml "
    "of each image's name"
)


def given_boxes(boxes: Sequence[Any], path: Path, size: tuple[int, int]) -> Tensor:
    """Check the boxes of a command line.

    Args:
        boxes: Lists [x0, y0, x1, y1], half-open, pixels.
        path: The image, for messages.
        size: Its (height, width).

    Returns:
        float32 [M, 4], within the image; what reaches outside is cut off, with a warning.

    Raises:
        InputError: If one is no box, or lies outside the image.
    """
    inside: list[Box] = []
    for box in boxes:
        if not isinstance(box, Sequence) or isinstance(box, str) or len(box) != 4:
            raise InputError(f"boxes: {box} is no box; {_RIGHT}")
        if not all(type(value) is float or (type(value) is int and abs(value) < 2**53) for value in box):
            raise InputError(f"boxes: {list(box)} must be four numbers; {_RIGHT}")
        clipped, wrong = clip_box([float(value) for value in box], size)
        if clipped is None:
            raise InputError(
                f"boxes: {list(box)}: {wrong}; {path} is {size[1]} pixels wide and {size[0]} high"
            )
        if wrong:
            log.warning("boxes: %s: %s", list(box), wrong)
        inside.append(clipped)
    return torch.tensor(inside, dtype=torch.float32).reshape(-1, 4)


def voc_boxes(xml: Path, path: Path) -> tuple[tuple[int, int], bool, Tensor, tuple[str, ...]]:
    """Read the boxes of an image from a VOC XML file, without objects that are marked difficult.

    Args:
        xml: The file.
        path: The image.

    Returns:
        The image's (height, width), whether it is to be turned upright by its EXIF orientation, the boxes,
        float32 [M, 4], and their classes.

    Raises:
        InputError: If the file cannot be read or is about an image of another size.
    """
    content = read_voc_annotation(xml)
    size, upright = fitting_size(path, content.size)
    if size is None:
        raise InputError(
            f"{xml} is about an image of {content.size[1]} x {content.size[0]} pixels; {path} is another"
        )
    boxes: list[Box] = []
    names = []
    for item, difficult in zip(content.objects, content.difficult, strict=True):
        if difficult or item.box is None:
            continue
        inside, wrong = clip_box(item.box, size)
        if wrong:
            log.warning("%s: %s", item.where, wrong)
        if inside is not None:
            boxes.append(inside)
            names.append(item.name)
    return size, upright, torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4), tuple(names)


def box_file(boxes: str, image: str, of_folder: bool) -> Path | None:
    """Find the VOC XML file of an image.

    Args:
        boxes: The file or folder that was named.
        image: The image's file name, or its path within the folder that is explained.
        of_folder: Whether a folder of images is explained, so that one file cannot do.

    Returns:
        The file; None if the folder has none for this image.

    Raises:
        InputError: If there is no such file or folder.
    """
    path = Path(boxes)
    if path.is_dir():
        file = (path / image).with_suffix(".xml")
        return file if file.is_file() else None
    if not path.is_file():
        raise InputError(f"boxes: no file or folder {path}; {_RIGHT}")
    if of_folder:
        raise InputError(f"boxes: {path} is of one image, but image names a folder; {_RIGHT}")
    return path
