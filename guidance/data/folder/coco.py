"""COCO's JSON, one file for many images."""

import posixpath
import re
from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase

from torch import Tensor

from guidance.data.annotation import Skipped
from guidance.data.coco_annotation import read_coco
from guidance.data.folder.files import FileTree
from guidance.data.folder.record import ImageRecord
from guidance.data.folder.source import AnnotationSource
from guidance.data.folder.split_names import split_of_folders, split_of_name
from guidance.errors import InputError

_NAMES = ("annotations.json", "instances*.json", "_annotations.coco.json")


class CocoSource(AnnotationSource):
    """One JSON for all images, or one for each split; objects that stand for a crowd are skipped.

    Args:
        tree: The files.

    Raises:
        InputError: Naming the file that is wrong, or an image that two files list.
    """

    looked_for = f"coco: {', '.join(_NAMES)} there, in annotations/ or in a split's folder"

    @staticmethod
    def files(tree: FileTree) -> list[str]:
        """Return the ``.json`` files in the root, in ``annotations`` and in folders of splits."""
        return [
            file
            for file in tree.others
            if any(fnmatchcase(posixpath.basename(file), name) for name in _NAMES)
            and (posixpath.dirname(file) in ("", "annotations") or split_of_folders(file))
        ]

    def __init__(self, tree: FileTree) -> None:
        files = self.files(tree)
        self._contents = [read_coco(tree.root / file) for file in files]
        self._places: dict[str, tuple[int, int]] = {}
        skipped: list[Skipped] = []
        for number, (file, content) in enumerate(zip(files, self._contents, strict=True)):
            skipped += content.skipped
            folders = list(_image_folders(file))
            ids = content.image_ids.tolist()
            for index, name in enumerate(content.file_names):
                where = f"{tree.root / file}: image {ids[index]}"
                image, wrong = tree.find_image(name, folders)
                if image is None:
                    skipped.append(Skipped("image", wrong, where))
                    continue
                owner, _ = self._places.setdefault(image, (number, index))
                if owner != number:
                    raise InputError(
                        f"{tree.root / image} is listed in both {files[owner]} and {file}; an image must be "
                        "in one of them"
                    )
                if self._places[image] != (number, index):
                    skipped.append(Skipped("image", "another entry means the same file", where))
        self._splits = [_split_of(file) for file in files]
        self.skipped: Sequence[Skipped] = tuple(skipped)
        self.images: Sequence[str] = sorted(self._places)
        self.classes = tuple(dict.fromkeys(name for each in self._contents for name in each.categories))
        self.has_masks = any(content.has_masks for content in self._contents)

    def read(self, image: str) -> ImageRecord | Skipped:
        """Return an image's objects."""
        number, index = self._places[image]
        objects, skipped = self._contents[number].objects(index)
        return ImageRecord(objects, self._contents[number].size(index), skipped=tuple(skipped))

    def split_of(self, image: str) -> str | None:
        """Return the split that the folder or the name of the image's JSON tells."""
        return self._splits[self._places[image][0]]

    def masks(self, image: str, size: tuple[int, int]) -> tuple[list[str], Tensor]:
        """Draw an image's objects, one mask for all of a class."""
        del size  # what the file states, or the image would not be used
        number, index = self._places[image]
        return self._contents[number].masks(index)


def _split_of(file: str) -> str | None:
    """Return the split of a JSON in a split's folder, or called like ``instances_train2017.json``."""
    words = re.split(r"[^a-zA-Z0-9]+", posixpath.basename(file))
    told = (split_of_name(word) for word in words)
    return split_of_folders(file) or next((split for split in told if split), None)


def _image_folders(file: str) -> Iterator[str]:
    """Yield the folders that a JSON's file names may be relative to."""
    folder = posixpath.dirname(file)
    yield from (folder, posixpath.join(folder, "images"), "", "images")
    subset = re.sub(r"^instances[_-]?|\.json$", "", posixpath.basename(file))
    if split_of_name(subset):
        yield from (subset, f"images/{subset}", f"{subset}/images")
