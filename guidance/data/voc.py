"""PASCAL VOC 2007 and 2012, in the folders that the official archives unpack to."""

from pathlib import Path

from torch import Tensor

from guidance.data.annotation import Annotation, AnnotationTable, Skipped
from guidance.data.image_dataset import ImageDataset
from guidance.data.image_file import read_image, read_label_image
from guidance.data.labelled_object import annotate
from guidance.data.splits import seeded_split
from guidance.data.voc_annotation import read_voc_annotation
from guidance.data.voc_download import download_voc
from guidance.errors import InputError, unknown_name
from guidance.foreign_text import read_text
from guidance.progress import progress_over

CLASSES = (
    "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow", "diningtable",
    "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor",
)  # fmt: skip
"""The 20 classes, in label order; in a segmentation the pixels of class k have the value k + 1."""

_NUMBERS = {name: number for number, name in enumerate(CLASSES)}

# year -> split -> (official list, the archive that holds it)
_LISTS = {
    "2007": {"train": ("train", "2007"), "val": ("val", "2007"), "test": ("test", "2007-test")},
    "2012": {"train": ("train", "2012"), "val": ("train", "2012"), "test": ("val", "2012")},
}
_TRAIN_FRACTION_2012 = 0.9
_SLOW = 2000  # reading more annotations than this takes seconds on a cold disk


class VOC(ImageDataset):
    """A split of PASCAL VOC, with all annotations read and all files checked at construction.

    ::

        root/VOCdevkit/VOC2007/Annotations/000005.xml
                               ImageSets/Main/train.txt    one image number a line
                               JPEGImages/000005.jpg
                               SegmentationClass/000032.png    of some images, if at all

    The 2007 splits are the official ones. The annotations of the 2012 test set are not public: there
    ``test`` is the official ``val``, and ``train`` and ``val`` are 90 % and 10 % of the official ``train``,
    split with a fixed seed.

    A box is clipped to its image, and dropped if nothing is left; the label stays. An image without any
    object is kept, with no label. The void pixels around the objects of a segmentation belong to no object.

    Attributes:
        classes: The 20 class names.

    Args:
        root: The folder that holds ``VOCdevkit``, or ``VOCdevkit`` itself.
        year: 2007 or 2012.
        split: ``train``, ``val`` or ``test``.
        keep_difficult: Whether objects marked ``difficult`` count, with box and label.
        download: Whether to fetch the official archive if a file of the split is missing.

    Raises:
        InputError: Naming the folder, file or option that is wrong.
    """

    classes = CLASSES
    has_masks = True

    def __init__(
        self,
        root: str | Path,
        year: str | int,
        split: str,
        keep_difficult: bool = False,
        download: bool = False,
    ) -> None:
        year = str(year)
        if year not in _LISTS:
            raise unknown_name("year of VOC", year, _LISTS)
        if split not in _LISTS[year]:
            raise unknown_name("split", split, _LISTS[year])
        root = Path(root).expanduser()
        devkit = root if root.name == "VOCdevkit" else root / "VOCdevkit"
        self._folder = devkit / f"VOC{year}"
        official, archive = _LISTS[year][split]
        if download and self._problem(official):
            download_voc(devkit.parent, archive, is_complete=lambda: not self._problem(official))
        problem = self._problem(official)
        if problem:
            raise InputError(problem)

        self._ids = self._listed(official)
        if (year, split) in (("2012", "train"), ("2012", "val")):
            train, val = seeded_split(len(self._ids), _TRAIN_FRACTION_2012, seed=0)
            self._ids = [self._ids[i] for i in (train if split == "train" else val).tolist()]
        description = f"VOC{year} {split}"
        self._keep_difficult = keep_difficult
        skipped: list[Skipped] = []
        with progress_over(self._ids, description, shown=len(self._ids) > _SLOW) as ids:
            self._annotations = AnnotationTable((self._read(image, skipped) for image in ids), len(CLASSES))
        self.skipped = tuple(skipped)

    def __len__(self) -> int:
        return len(self._ids)

    def annotation(self, index: int) -> Annotation:
        """Return an image's labels and boxes."""
        return self._annotations[index]

    def image(self, index: int, least: int | None = None) -> Tensor:
        """Read an image.

        Raises:
            InputError: Naming the file, if it cannot be decoded or has another size than its annotation says.
        """
        return read_image(Path(self.name(index)), self._annotations[index].size, least)

    def masks(self, index: int) -> tuple[Tensor, Tensor]:
        """Read the segmentation of an image, if there is one.

        Raises:
            InputError: Naming the file, if it cannot be decoded or has another size than the image.
        """
        path = self._folder / "SegmentationClass" / f"{self._ids[index]}.png"
        if not path.is_file():
            return super().masks(index)
        pixels = read_label_image(path, self._annotations[index].size)
        values = pixels.unique().long()
        classes = values[(values > 0) & (values <= len(CLASSES))] - 1
        return classes, pixels == classes[:, None, None] + 1

    def name(self, index: int) -> str:
        """Return the path of the image file."""
        return str(self._folder / "JPEGImages" / f"{self._ids[index]}.jpg")

    def _list_file(self, official: str) -> Path:
        return self._folder / "ImageSets" / "Main" / f"{official}.txt"

    def _listed(self, official: str) -> list[str]:
        lines = read_text(self._list_file(official)).splitlines()
        return [line.split()[0] for line in lines if line.strip()]

    def _problem(self, official: str) -> str:
        """Say what keeps the official split from being read; nothing if all its files are there."""
        remedy = "; data.download=true fetches the official archive"
        if not self._folder.is_dir():
            return (
                f"there is no folder {self._folder}. data.root must be the folder that holds VOCdevkit (with "
                f"{self._folder.name}/Annotations, {self._folder.name}/ImageSets/Main and "
                f"{self._folder.name}/JPEGImages in it){remedy}"
            )
        list_file = self._list_file(official)
        if not list_file.is_file():
            # Beside the splits lie lists of single classes, such as cat_train.txt.
            others = sorted(path.name for path in list_file.parent.glob("*.txt") if "_" not in path.name)
            return f"{list_file} is missing; available there: {', '.join(others) or 'none'}{remedy}"
        listed = self._listed(official)
        if not listed:
            return f"{list_file} lists no image; it needs one image number a line"
        for folder, suffix in (("Annotations", ".xml"), ("JPEGImages", ".jpg")):
            path = self._folder / folder
            found = {file.name for file in path.iterdir()} if path.is_dir() else set()
            missing = [image + suffix for image in listed if image + suffix not in found]
            if missing:
                return (
                    f"{len(missing)} of the {len(listed)} files that {list_file} lists are missing, "
                    f"the first: {path / missing[0]}{remedy}"
                )
        return ""

    def _read(self, image: str, skipped: list[Skipped]) -> Annotation:
        path = self._folder / "Annotations" / f"{image}.xml"
        content = read_voc_annotation(path)
        objects = []
        for item, difficult in zip(content.objects, content.difficult, strict=True):
            if item.name not in _NUMBERS:
                raise InputError(f"{path}: {unknown_name('class', item.name, CLASSES)}")
            if difficult and not self._keep_difficult:
                skipped.append(Skipped("object", "it is marked difficult", item.where))
            else:
                objects.append(item)
        annotation, more = annotate(objects, content.size, _NUMBERS)
        skipped += more
        return annotation
