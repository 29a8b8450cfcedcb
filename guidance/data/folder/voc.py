"""PASCAL VOC's XML, one file per image."""

from collections.abc import Sequence

from guidance.data.annotation import Skipped
from guidance.data.folder.files import FileTree
from guidance.data.folder.label_files import label_files
from guidance.data.folder.record import ImageRecord
from guidance.data.folder.source import AnnotationSource
from guidance.data.voc_annotation import read_voc_annotation
from guidance.errors import InputError


class VocSource(AnnotationSource):
    """One ``.xml`` per image; objects that are marked difficult are skipped, as VOC's own rules have it.

    Args:
        tree: The files.
    """

    looked_for = "voc: an .xml file for each image, beside it or in Annotations/ where it is in images/"

    @staticmethod
    def files(tree: FileTree) -> list[str]:
        """Return the ``.xml`` files that belong to an image."""
        return sorted(set(label_files(tree, ".xml")[0].values()))

    def __init__(self, tree: FileTree) -> None:
        self._root = tree.root
        self._files, self._sharing = label_files(tree, ".xml")
        self.images: Sequence[str] = sorted(self._files)

    def read(self, image: str) -> ImageRecord | Skipped:
        """Read an image's file."""
        path = self._root / self._files[image]
        if image in self._sharing:
            return Skipped("image", "another image has the same annotation file", str(self._root / image))
        try:
            content = read_voc_annotation(path)
        except InputError as error:
            return Skipped("image", _reason(error, str(path)), str(path))
        objects, skipped = [], []
        for item, difficult in zip(content.objects, content.difficult, strict=True):
            if difficult:
                skipped.append(Skipped("object", "it is marked difficult", item.where))
            else:
                objects.append(item)
        return ImageRecord(objects, content.size, skipped=tuple(skipped))


def _reason(error: InputError, path: str) -> str:
    """Return an error's message without the file that it names, so that equal reasons can be counted."""
    if isinstance(error.__cause__, OSError):
        return "its annotation file cannot be read"
    return f"its annotation file is broken: {str(error).rpartition(f'{path}: ')[2]}"
