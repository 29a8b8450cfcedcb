"""YOLO's text labels, one file per image."""

import math
from collections.abc import Mapping, Sequence

from guidance.data.annotation import Skipped
from guidance.data.boxes import Box
from guidance.data.folder.files import FileTree
from guidance.data.folder.label_files import label_files
from guidance.data.folder.record import ImageRecord
from guidance.data.folder.source import AnnotationSource
from guidance.data.folder.yolo_names import FILES, read_yolo_names
from guidance.data.labelled_object import LabelledObject
from guidance.errors import InputError
from guidance.foreign_text import read_text

_LARGEST = 2**24  # bytes of an image's file
_NO_LABELS = {*FILES, "train.txt", "val.txt", "test.txt"}


def read_yolo(text: str, names: Mapping[int, str], path: str) -> ImageRecord:
    """Read the rows ``class cx cy w h``, or ``class`` and the corners of a polygon, of which the box is kept.

    A row whose numbers make no box keeps its label.

    Args:
        text: Of one label file; empty means that the image has no objects.
        names: The name of each class number.
        path: The file, for messages.

    Returns:
        The objects with relative boxes; rows without a known class are skipped.
    """
    objects: list[LabelledObject] = []
    skipped: list[Skipped] = []
    for line, row in enumerate(text.splitlines(), start=1):
        where = f"{path}:{line}"
        cells = row.split()
        if not cells:
            continue
        number, *values = map(_number, cells)
        if number not in names:
            skipped.append(Skipped("object", "its class number has no name", where))
            continue
        box = _box(values)
        if box is None:
            wrong = "its row has neither a box's 4 numbers nor the corners of a polygon"
            skipped.append(Skipped("box", wrong, where))
        objects.append(LabelledObject(names[int(number)], box, where))
    return ImageRecord(objects, relative=True, skipped=tuple(skipped))


def _box(values: Sequence[float]) -> Box | None:
    if len(values) == 4:
        x, y, width, height = values
        return x - width / 2, y - height / 2, x + width / 2, y + height / 2
    if len(values) >= 6 and len(values) % 2 == 0:
        if not all(math.isfinite(value) for value in values):
            return math.nan, math.nan, math.nan, math.nan
        return min(values[::2]), min(values[1::2]), max(values[::2]), max(values[1::2])
    return None


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan


class YoloSource(AnnotationSource):
    """One ``.txt`` per image; an empty one is an image without objects, a missing one an image unlabelled.

    Args:
        tree: The files.

    Raises:
        InputError: If the class names are missing or broken.
    """

    looked_for = "yolo: a .txt file for each image, beside it or in labels/ where it is in images/"

    @staticmethod
    def files(tree: FileTree) -> list[str]:
        """Return the ``.txt`` files that belong to an image."""
        return sorted(set(label_files(tree, ".txt")[0].values()) - _NO_LABELS)

    def __init__(self, tree: FileTree) -> None:
        self._root = tree.root
        self._names = read_yolo_names(tree.root)
        self.classes = tuple(self._names.values())
        self._files, self._sharing = label_files(tree, ".txt")
        self.images: Sequence[str] = sorted(i for i, file in self._files.items() if file not in _NO_LABELS)

    def read(self, image: str) -> ImageRecord | Skipped:
        """Read an image's file."""
        if image in self._sharing:
            return Skipped("image", "another image has the same annotation file", str(self._root / image))
        path = self._root / self._files[image]
        try:
            text = read_text(path, _LARGEST)
        except InputError:
            return Skipped("image", "its annotation file cannot be read", str(path))
        return read_yolo(text, self._names, str(path))
