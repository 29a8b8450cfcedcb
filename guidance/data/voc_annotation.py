"""Reading one annotation file in PASCAL VOC's XML."""

import re
from dataclasses import dataclass
from pathlib import Path
from xml.etree.ElementTree import Element, ParseError

from defusedxml import DefusedXmlException
from defusedxml.ElementTree import fromstring

from guidance.data.labelled_object import LabelledObject
from guidance.errors import InputError
from guidance.foreign_text import read_bytes
from guidance.printable import is_name

_LARGEST = 2**24  # bytes of an image's file: some 50,000 objects


@dataclass(frozen=True)
class VocAnnotation:
    """What one file says about its image.

    Attributes:
        size: (height, width) in pixels.
        objects: In the file's order; their boxes are half-open, those of the file 1-based and inclusive.
        difficult: Whether each object is marked so; without the mark an object is not.
    """

    size: tuple[int, int]
    objects: list[LabelledObject]
    difficult: list[bool]


def read_voc_annotation(path: Path) -> VocAnnotation:
    """Read one file.

    Raises:
        InputError: Naming the file, if it is no XML, lacks a tag, or has a broken number.
    """
    text = read_bytes(path, _LARGEST)
    try:
        root: Element = fromstring(text)
    except (ParseError, DefusedXmlException, ValueError, LookupError) as error:
        raise InputError(f"cannot read the annotation {path}: {error}") from error
    height, width = (_number(root, f"size/{side}", path) for side in ("height", "width"))
    # Written so that a nan is refused.
    if not (1 <= height < 1e6 and 1 <= width < 1e6):
        raise InputError(f"{path}: the image's <size> is {width:g} x {height:g}; both must be positive")

    items = root.findall("object")
    lines = _lines(text, len(items))
    objects, difficult = [], []
    for item, where in zip(items, lines, strict=True):
        x0, y0 = (_number(item, f"bndbox/{side}", path) - 1 for side in ("xmin", "ymin"))
        x1, y1 = (_number(item, f"bndbox/{side}", path) for side in ("xmax", "ymax"))
        objects.append(LabelledObject(_text(item, "name", path), (x0, y0, x1, y1), f"{path}{where}"))
        difficult.append(item.find("difficult") is not None and _number(item, "difficult", path) != 0)
    return VocAnnotation((int(height), int(width)), objects, difficult)


def _lines(text: bytes, count: int) -> list[str]:
    """Return ``:LINE`` of each object, "" for all where the text does not tell them apart."""
    starts = [match.start() for match in re.finditer(rb"<object[\s>]", text)]
    if len(starts) != count:
        return [""] * count
    lines, line, position = [], 1, 0
    for start in starts:
        line += text.count(b"\n", position, start)
        position = start
        lines.append(f":{line}")
    return lines


def _text(parent: Element, tag: str, path: Path) -> str:
    text = parent.findtext(tag)
    if text is None or not text.strip():
        raise InputError(f"{path}: <{parent.tag}> has no <{tag}>; every annotation needs one")
    if not is_name(text.strip()):
        raise InputError(f"{path}: <{tag}> has control characters; it must be a text that can be printed")
    return text.strip()


def _number(parent: Element, tag: str, path: Path) -> float:
    text = _text(parent, tag, path)
    try:
        # The 2012 release has a few coordinates with decimals.
        return float(text)
    except ValueError as error:
        raise InputError(f"{path}: <{tag}> is '{text}'; it must be a number") from error
