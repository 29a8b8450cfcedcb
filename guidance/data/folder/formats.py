"""Which annotation format lies in a folder."""

from guidance.data.folder.coco import CocoSource
from guidance.data.folder.csv_table import CsvSource
from guidance.data.folder.files import FileTree
from guidance.data.folder.source import AnnotationSource
from guidance.data.folder.voc import VocSource
from guidance.data.folder.yolo import YoloSource
from guidance.errors import InputError, unknown_name

_FORMATS: dict[str, type[AnnotationSource]] = {
    "voc": VocSource,
    "coco": CocoSource,
    "csv": CsvSource,
    "yolo": YoloSource,
}


def open_annotations(tree: FileTree, name: str) -> AnnotationSource:
    """Open the annotations under a folder.

    Args:
        tree: The files.
        name: ``voc``, ``coco``, ``csv``, ``yolo``, or ``auto`` for the one whose files are there.

    Raises:
        InputError: If there are no such files, ``auto`` finds several formats, or a file is broken.
    """
    if name != "auto" and name not in _FORMATS:
        raise unknown_name("data.format", name, ("auto", *_FORMATS))
    wanted = _FORMATS if name == "auto" else {name: _FORMATS[name]}
    found = {key: files for key, kind in wanted.items() if (files := kind.files(tree))}
    if not found:
        looked_for = "; ".join(kind.looked_for for kind in wanted.values())
        raise InputError(
            f"found no annotations for the {len(tree.images)} images under {tree.root}. Looked for "
            f"{looked_for}"
        )
    if len(found) > 1:
        kinds = ", ".join(f"{key} ({len(files)}, e.g. {files[0]})" for key, files in found.items())
        raise InputError(
            f"found annotations of several formats under {tree.root}: {kinds}; choose one, e.g. "
            f"data.format={next(iter(found))}"
        )
    return wanted[next(iter(found))](tree)
