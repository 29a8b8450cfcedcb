"""A table of boxes as comma-separated values."""

import csv
import io
import math
import posixpath
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from guidance.data.annotation import Skipped
from guidance.data.boxes import Box
from guidance.data.folder.files import FileTree
from guidance.data.folder.record import ImageRecord
from guidance.data.folder.source import AnnotationSource
from guidance.data.folder.split_names import split_of_folders
from guidance.data.labelled_object import LabelledObject
from guidance.errors import InputError
from guidance.foreign_text import read_text
from guidance.printable import is_name

HEADER = ("image", "class", "xmin", "ymin", "xmax", "ymax")
"""The columns; pixels count from 0 and boxes are half-open."""

_NAME = "annotations.csv"
_LARGEST = 2**30  # bytes: some ten million boxes


@dataclass(frozen=True)
class CsvRow:
    """One row.

    Attributes:
        image: As it stands there.
        item: The object; None for an image without objects.
        where: The file and line.
    """

    image: str
    item: LabelledObject | None
    where: str


def read_csv(path: Path) -> tuple[list[CsvRow], list[Skipped]]:
    """Read a table.

    A box with a coordinate that is no number keeps its label: the coordinate is nan.

    Returns:
        The rows, and those that are broken.

    Raises:
        InputError: Naming the file, if it cannot be read, is not UTF-8, has another header or no row.
    """
    reader = csv.reader(io.StringIO(read_text(path, _LARGEST), newline=""), strict=True)
    rows: list[CsvRow] = []
    skipped: list[Skipped] = []
    try:
        header = next(reader, [])
        if tuple(name.strip() for name in header) != HEADER:
            raise InputError(
                f"the first line of {path} must be {','.join(HEADER)} (separated by commas, not "
                f"by semicolons or tabs); it is '{','.join(header)[:80]}'"
            )
        line = reader.line_num
        for cells in reader:
            where, line = f"{path}:{line + 1}", reader.line_num
            if not any(cell.strip() for cell in cells):
                continue
            row = _row(cells, where)
            if isinstance(row, CsvRow):
                rows.append(row)
            else:
                skipped.append(row)
    except csv.Error as error:
        raise InputError(f"{path}:{reader.line_num}: {error}; it must be a CSV file") from error
    if not rows:
        example = f"; {skipped[0].where}: {skipped[0].reason}" if skipped else ""
        raise InputError(f"{path} has no usable row below its header{example}")
    return rows, skipped


def _row(cells: list[str], where: str) -> CsvRow | Skipped:
    if len(cells) != len(HEADER):
        return Skipped("object", f"its row has not {len(HEADER)} columns", where)
    image, name, *corners = (cell.strip() for cell in cells)
    if not image:
        return Skipped("object", "its row names no image", where)
    if name and not is_name(name):
        return Skipped("object", "the name of its class has control characters", where)
    if not name:
        if any(corners):
            return Skipped("object", "its row has a box but no class", where)
        return CsvRow(image, None, where)
    x0, y0, x1, y1 = (_number(corner) for corner in corners)
    box: Box | None = (x0, y0, x1, y1) if any(corners) else None
    return CsvRow(image, LabelledObject(name, box, where), where)


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan


class CsvSource(AnnotationSource):
    """``annotations.csv`` in the root, or one in each split's folder.

    Args:
        tree: The files.

    Raises:
        InputError: Naming the file that is wrong, or an image that two files list.
    """

    looked_for = f"csv: {_NAME} with the header {','.join(HEADER)}"

    @staticmethod
    def files(tree: FileTree) -> list[str]:
        """Return the tables in the root and in folders of splits."""
        return [
            file
            for file in tree.others
            if posixpath.basename(file) == _NAME and (file == _NAME or split_of_folders(file))
        ]

    def __init__(self, tree: FileTree) -> None:
        self._objects: dict[str, list[LabelledObject]] = defaultdict(list)
        self._listed_in: dict[str, str] = {}
        skipped: list[Skipped] = []
        for file in self.files(tree):
            rows, broken = read_csv(tree.root / file)
            skipped += broken
            missing = set()
            folder = posixpath.dirname(file)
            folders = list(dict.fromkeys((folder, posixpath.join(folder, "images"), "", "images")))
            for row in rows:
                image, wrong = tree.find_image(row.image, folders)
                if image is None:
                    if row.image not in missing:
                        skipped.append(Skipped("image", wrong, row.where))
                    missing.add(row.image)
                    continue
                if self._listed_in.setdefault(image, file) != file:
                    raise InputError(
                        f"{tree.root / image} is listed in both {self._listed_in[image]} and {file}; "
                        "an image must be in one of them"
                    )
                if row.item is not None:
                    self._objects[image].append(row.item)
        self.skipped: Sequence[Skipped] = tuple(skipped)
        self.images: Sequence[str] = sorted(self._listed_in)

    def read(self, image: str) -> ImageRecord | Skipped:
        """Return an image's rows."""
        return ImageRecord(self._objects.get(image, []))

    def split_of(self, image: str) -> str | None:
        """Return the split in whose folder the image's table lies."""
        return split_of_folders(self._listed_in[image])
