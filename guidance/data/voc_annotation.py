"""Reading one PASCAL VOC annotation file."""

from dataclasses import dataclass
from pathlib import Path
from xml.etree.ElementTree import Element, ParseError

import torch
from defusedxml import DefusedXmlException
from defusedxml.ElementTree import fromstring
from torch import Tensor

from guidance.errors import InputError, unknown_name

CLASSES = (
    "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow", "diningtable",
    "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor",
)  # fmt: skip
"""The 20 classes, in label order."""


@dataclass(frozen=True)
class Annotation:
    """What one file says about its image.

    Attributes:
        size: (height, width) in pixels.
        classes: The class of every object, also of one whose box was dropped, int64 [L].
        boxes: float [M, 4], half-open xyxy, pixels, within the image.
        box_classes: int64 [M].
        clipped: Boxes that reached outside the image.
        dropped: Boxes without a pixel inside the image.
    """

    size: tuple[int, int]
    classes: Tensor
    boxes: Tensor
    box_classes: Tensor
    clipped: int
    dropped: int


def read_annotation(path: Path, keep_difficult: bool) -> Annotation:
    """Read one file. Its boxes are 1-based and inclusive; those returned are half-open.

    Args:
        path: The XML file.
        keep_difficult: Whether objects marked ``difficult`` count; without the mark an object is not.

    Raises:
        InputError: Naming the file, if it is no XML, lacks a tag, or has an unknown class or a broken number.
    """
    try:
        root: Element = fromstring(path.read_bytes())
    except (ParseError, DefusedXmlException, OSError, UnicodeError) as error:
        raise InputError(f"cannot read the annotation {path}: {error}") from error
    height, width = (int(_number(root, f"size/{side}", path)) for side in ("height", "width"))
    if height < 1 or width < 1:
        raise InputError(f"{path}: the image's <size> is {width} x {height}; both must be positive")

    classes: list[int] = []
    boxes: list[tuple[float, float, float, float]] = []
    box_classes: list[int] = []
    clipped = dropped = 0
    for item in root.findall("object"):
        label = _label(item, path)
        x0, y0 = (_number(item, f"bndbox/{side}", path) - 1 for side in ("xmin", "ymin"))
        x1, y1 = (_number(item, f"bndbox/{side}", path) for side in ("xmax", "ymax"))
        difficult = item.find("difficult") is not None and _number(item, "difficult", path) != 0
        if difficult and not keep_difficult:
            continue
        classes.append(label)
        inside = (max(x0, 0), max(y0, 0), min(x1, width), min(y1, height))
        # Written so that a NaN counts as empty.
        if not (x0 < x1 and y0 < y1 and inside[0] < inside[2] and inside[1] < inside[3]):
            dropped += 1
            continue
        clipped += inside != (x0, y0, x1, y1)
        boxes.append(inside)
        box_classes.append(label)
    return Annotation(
        size=(height, width),
        classes=torch.tensor(classes, dtype=torch.int64),
        boxes=torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4),
        box_classes=torch.tensor(box_classes, dtype=torch.int64),
        clipped=clipped,
        dropped=dropped,
    )


def _text(parent: Element, tag: str, path: Path) -> str:
    text = parent.findtext(tag)
    if text is None or not text.strip():
        raise InputError(f"{path}: <{parent.tag}> has no <{tag}>; every annotation needs one")
    return text.strip()


def _number(parent: Element, tag: str, path: Path) -> float:
    text = _text(parent, tag, path)
    try:
        # The 2012 release has a few coordinates with decimals.
        return float(text)
    except ValueError as error:
        raise InputError(f"{path}: <{tag}> is '{text}'; it must be a number") from error


def _label(item: Element, path: Path) -> int:
    name = _text(item, "name", path)
    if name not in CLASSES:
        raise InputError(f"{path}: {unknown_name('class', name, CLASSES)}")
    return CLASSES.index(name)
