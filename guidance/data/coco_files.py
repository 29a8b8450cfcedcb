"""Where the files of COCO lie, and which are missing."""

from pathlib import Path
from typing import NamedTuple
from weakref import WeakValueDictionary

from guidance.data.coco_annotation import read_coco
from guidance.data.coco_objects import CocoAnnotations
from guidance.errors import InputError

_REMEDY = "; data.download=true fetches the official archives"

# Train and val are cut from one file, whose reading takes the better part of a minute.
_in_use: WeakValueDictionary[tuple[str, int, int], CocoAnnotations] = WeakValueDictionary()


class Missing(NamedTuple):
    """What keeps a part from being read.

    Attributes:
        archive: The official archive that has what is missing, as ``coco_download.ARCHIVES`` names it.
        reason: For the user.
    """

    archive: str
    reason: str


class CocoFiles:
    """The files of one official part.

    Attributes:
        home: The folder of ``annotations``: the root, or the folder ``coco`` in it, which need not be there.

    Args:
        root: What the user calls so.
        part: ``train`` or ``val``.
        year: 2014 or 2017.
    """

    def __init__(self, root: Path, part: str, year: str) -> None:
        self._part, self._year = f"{part}{year}", year
        self._annotations = Path("annotations", f"instances_{self._part}.json")
        inner = root / "coco"
        if (root / self._annotations).is_file():
            self.home = root
        elif inner.is_dir():
            self.home = inner
        else:
            self.home = root if root.name == "coco" or (root / "annotations").is_dir() else inner

    @property
    def images(self) -> Path:
        """The folder of images: within ``images`` if there is one there only."""
        inside = self.home / "images" / self._part
        return inside if inside.is_dir() and not (self.home / self._part).is_dir() else self.home / self._part

    def read(self) -> CocoAnnotations | Missing:
        """Read the annotations, which are shared with other splits, and look whether all images are there.

        Raises:
            InputError: Naming the file, if it is broken or lists no image.
        """
        path = self.home / self._annotations
        if not path.is_file():
            others = sorted(other.name for other in path.parent.glob("instances_*.json"))
            return Missing(
                f"annotations{self._year}",
                f"{path} is missing (there: {', '.join(others) or 'nothing of the kind'}). data.root must be "
                f"the folder that holds annotations and {self._part}, or hold that as coco{_REMEDY}",
            )
        content = _read_once(path)
        if len(content) == 0:
            raise InputError(f"{path} lists no image")
        folder = self.images
        found = {file.name for file in folder.iterdir()} if folder.is_dir() else set()
        missing = [name for name in content.file_names if name not in found]
        if missing:
            return Missing(
                self._part,
                f"{len(missing)} of the {len(content)} images that {path} lists are missing, the first: "
                f"{folder / missing[0]}. data.root must be the folder that holds annotations and "
                f"{self._part}{_REMEDY}",
            )
        return content

    def missing_archive(self) -> str:
        """Return the archive that has what is missing; "" if nothing is."""
        found = self.read()
        return found.archive if isinstance(found, Missing) else ""


def _read_once(path: Path) -> CocoAnnotations:
    """Read a file, or return what another split that is in use has read."""
    state = path.stat()
    key = (str(path.resolve()), state.st_size, state.st_mtime_ns)
    content = _in_use.get(key)
    if content is None:
        content = _in_use[key] = read_coco(path)
    return content
