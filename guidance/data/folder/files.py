"""The files under a data set's folder, and the image that an annotation means by a name."""

import os
import posixpath
import re
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from unicodedata import normalize

from guidance.data.annotation import Skipped
from guidance.errors import InputError
from guidance.printable import is_name, printable

IMAGE_SUFFIXES = frozenset((".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff"))
"""What tells an image file, in any case."""


class FileTree:
    """All files under a folder; paths are relative to it, with ``/``.

    Hidden files and folders and ``__MACOSX`` are left out. Links to folders are followed; a folder that two
    paths lead to is read once, under its own path if that lies in the tree.

    Attributes:
        root: The folder.
        images: The image files, sorted.
        others: The other files, sorted.
        skipped: Folders that cannot be read, links that lead nowhere, and files whose names are not UTF-8 or
            have control characters.

    Args:
        root: The folder.

    Raises:
        InputError: If there is no such folder or it cannot be read.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.skipped: list[Skipped] = []
        files = sorted(self._walk())
        self.images = [file for file in files if posixpath.splitext(file)[1].lower() in IMAGE_SUFFIXES]
        self.others = [file for file in files if posixpath.splitext(file)[1].lower() not in IMAGE_SUFFIXES]
        # macOS takes names apart into letters and accents, an annotation written elsewhere does not.
        self._by_name = {composed(image): image for image in self.images}
        self._by_name |= {image: image for image in self.images}
        self._by_stem: dict[str, list[str]] = defaultdict(list)
        for image in self.images:
            self._by_stem[composed(posixpath.splitext(image)[0])].append(image)

    def find_image(
        self, name: str, folders: Iterable[str], without_suffix: bool = False
    ) -> tuple[str | None, str]:
        """Find the image that a file calls ``name``.

        Args:
            name: A relative path, with ``/`` or, as Windows has it, with backslashes.
            folders: What the path may be relative to, in this order; "" is the root.
            without_suffix: Whether the name may lack the image's suffix.

        Returns:
            The image or None; and what is wrong, "" if it was found. A path that leads out of the root finds
            nothing, wherever it leads.
        """
        if name.startswith("/") or re.match(r"[A-Za-z]:[\\/]", name):
            return None, "its path is absolute; it must be relative to data.root"
        folders = list(folders)
        for spelling in dict.fromkeys((name, name.replace("\\", "/"))):
            outside = True
            for folder in folders:
                path = posixpath.normpath(posixpath.join(folder, spelling))
                if path.split("/")[0] == "..":
                    continue
                outside = False
                image = self._by_name.get(path) or self._by_name.get(composed(path))
                if image is not None:
                    return image, ""
                several = self._by_stem.get(composed(path), []) if without_suffix else []
                if len(several) > 1:
                    return None, "several image files have this name; add the suffix"
                if several:
                    return several[0], ""
        return None, "its path leads out of data.root" if outside else "its file is missing"

    def _walk(self) -> Iterable[str]:
        visited: set[tuple[int, int]] = set()
        folders, linked = [""], list[str]()
        while folders or linked:
            # Links come last, so that a folder goes by its own path.
            folder = (folders or linked).pop()
            try:
                status = (self.root / folder).stat()
                if (status.st_dev, status.st_ino) in visited:
                    continue
                visited.add((status.st_dev, status.st_ino))
                with os.scandir(self.root / folder) as entries:
                    found = sorted(entries, key=lambda entry: entry.name, reverse=True)
            except OSError as error:
                if folder == "":
                    raise InputError(
                        f"cannot read the folder {self.root} ({error.strerror}); data.root must name the "
                        "folder that holds the images"
                    ) from error
                where = _printable(str(self.root / folder))
                self.skipped.append(Skipped("image", "its folder cannot be read", where))
                continue
            for entry in found:
                if entry.name.startswith(".") or entry.name == "__MACOSX":
                    continue
                path = posixpath.join(folder, entry.name)
                where = _printable(str(self.root / path))
                try:
                    is_folder, is_file = entry.is_dir(), entry.is_file()
                except OSError:  # a link that leads to itself
                    self.skipped.append(Skipped("image", "its link leads nowhere", where))
                    continue
                if is_folder:
                    (linked if entry.is_symlink() else folders).append(path)
                elif not is_file:
                    continue
                elif path != path.encode("utf-8", "backslashreplace").decode():
                    self.skipped.append(Skipped("image", "its name is not UTF-8; rename it", where))
                elif not is_name(path):
                    self.skipped.append(Skipped("image", "its name has control characters; rename it", where))
                else:
                    yield path


def composed(path: str) -> str:
    """Return a path with its accents joined to their letters, so that two spellings of one name are equal."""
    return normalize("NFC", path)


def _printable(path: str) -> str:
    return printable(path.encode("utf-8", "backslashreplace").decode())
