"""Which annotation file belongs to an image where each image has its own."""

import posixpath
from collections import Counter
from collections.abc import Iterator

from guidance.data.folder.files import FileTree, composed

_IMAGE_FOLDERS = ("images", "jpegimages")
_LABEL_FOLDERS = ("Annotations", "annotations", "labels")


def label_files(tree: FileTree, suffix: str) -> tuple[dict[str, str], set[str]]:
    """Find each image's annotation file: the same path with another suffix.

    The file lies beside the image, or where a folder ``images`` or ``JPEGImages`` of the path is replaced by
    ``Annotations``, ``annotations`` or ``labels``; the deepest such folder first.

    Args:
        tree: The files.
        suffix: Of annotation files, e.g. ``.xml``, in lower case; files may have it in any case.

    Returns:
        The annotation file of each image that has one, and the images that share theirs with another image
        (``a.jpg`` and ``a.png`` with one ``a.xml``), for which nobody can tell what the file is about.
    """
    files: dict[str, str] = {}
    for file in tree.others:
        stem, its_suffix = posixpath.splitext(file)
        if its_suffix.lower() == suffix:
            files.setdefault(composed(stem), file)
    found = {}
    for image in tree.images:
        for candidate in _candidates(composed(posixpath.splitext(image)[0])):
            if candidate in files:
                found[image] = files[candidate]
                break
    owners = Counter(found.values())
    return found, {image for image, file in found.items() if owners[file] > 1}


def _candidates(stem: str) -> Iterator[str]:
    yield stem
    folders = stem.split("/")
    for depth in reversed(range(len(folders) - 1)):
        if folders[depth].lower() in _IMAGE_FOLDERS:
            for name in _LABEL_FOLDERS:
                yield "/".join([*folders[:depth], name, *folders[depth + 1 :]])
