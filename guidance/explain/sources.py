"""Where the images to explain come from: a file, a folder, or a split of a data set."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from guidance.data.folder.files import IMAGE_SUFFIXES, FileTree
from guidance.data.image_dataset import ImageDataset
from guidance.data.image_file import image_size, read_image
from guidance.errors import InputError
from guidance.explain.boxes import box_file, given_boxes, voc_boxes
from guidance.explain.subject import Subject
from guidance.randomness import permutation

_OF_SPLIT = 8


@dataclass(frozen=True)
class Source:
    """Images that are read one after the other.

    Attributes:
        names: What a person calls each.
        make: Makes the n-th; an InputError if it cannot be read.
        available: How many there would have been.
    """

    names: list[str]
    make: Callable[[int], Subject]
    available: int


def images_of(path: Path, boxes: Any, number: int | None, seed: int) -> Source:
    """Offer an image, or the images of a folder and its sub-folders.

    Args:
        path: The file or folder.
        boxes: None, lists of numbers for one image, or the path of a VOC XML file or of a folder of such.
        number: At most this many of a folder's; None for all.
        seed: Chooses them.

    Raises:
        InputError: If there is no such file, or the folder has no image.
    """
    if boxes is not None and not isinstance(boxes, str | list):
        raise InputError(f"boxes is {boxes}; it must be [[x0,y0,x1,y1],...] or the name of a file or folder")
    if not path.is_dir():
        if not path.is_file():
            raise InputError(f"image: no file or folder {path}")
        if isinstance(boxes, str):
            boxes = box_file(boxes, path.name, of_folder=False)
        return Source([path.name], lambda _: _from_file(path, path.name, boxes), 1)
    if isinstance(boxes, list):
        raise InputError(f"boxes={boxes} is of one image, but {path} is a folder; name a folder of XML files")
    if isinstance(boxes, str):
        box_file(boxes, "", of_folder=True)
    images = FileTree(path).images
    if not images:
        raise InputError(f"image: no image in {path} ({', '.join(sorted(IMAGE_SUFFIXES))})")
    chosen = sorted(permutation(len(images), seed)[:number].tolist())
    names = [images[i] for i in chosen]

    def make(position: int) -> Subject:
        name = names[position]
        xml = box_file(boxes, name, of_folder=True) if isinstance(boxes, str) else None
        return _from_file(path / name, name, xml)

    return Source(names, make, len(images))


def images_of_split(dataset: ImageDataset, number: int | None, seed: int) -> Source:
    """Offer images of a split that have a box; any, if none has.

    Args:
        dataset: The split.
        number: At most this many; None for 8.
        seed: Chooses them.
    """
    order = permutation(len(dataset), seed).tolist()
    boxed = [index for index in order if len(dataset.annotation(index).boxes)]
    indices = (boxed or order)[: _OF_SPLIT if number is None else number]
    names = [Path(dataset.name(index)).name for index in indices]
    return Source(
        names,
        lambda position: _from_dataset(dataset, indices[position], names[position]),
        len(boxed or order),
    )


def _from_file(path: Path, name: str, boxes: Path | list[Any] | None) -> Subject:
    if isinstance(boxes, Path):
        size, upright, found, names = voc_boxes(boxes, path)
    else:
        size, upright = image_size(path, exif=True), True
        found = given_boxes(boxes or [], path, size)
        names = ("",) * len(found)

    def read(least: int) -> Tensor:
        return read_image(path, size, least, exif=upright)

    return Subject(name, read, size, found, names)


def _from_dataset(dataset: ImageDataset, index: int, name: str) -> Subject:
    annotation = dataset.annotation(index)
    names = tuple(dataset.classes[k] for k in annotation.box_classes.tolist())
    read = partial(dataset.image, index)
    boxes = annotation.boxes.to(torch.float32)
    return Subject(name, read, annotation.size, boxes, names, annotation.outside)
