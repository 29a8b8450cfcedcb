"""PASCAL VOC 2007 and 2012, in the folders that the official archives unpack to."""

import warnings
from pathlib import Path

import torch
from rich.progress import track

from guidance.data.image_file import read_image
from guidance.data.sample import ImageDataset, Sample
from guidance.data.splits import seeded_split
from guidance.data.voc_annotation import CLASSES, Annotation, read_annotation
from guidance.data.voc_download import download_voc
from guidance.errors import InputError, unknown_name

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

    The 2007 splits are the official ones. The annotations of the 2012 test set are not public: there
    ``test`` is the official ``val``, and ``train`` and ``val`` are 90 % and 10 % of the official ``train``,
    split with a fixed seed.

    A box is clipped to its image, and dropped if nothing is left, which one warning reports; the label stays.
    An image without any object is kept, with no label.

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
        self._annotations = [
            read_annotation(self._folder / "Annotations" / f"{image}.xml", keep_difficult)
            for image in track(self._ids, description, transient=True, disable=len(self._ids) <= _SLOW)
        ]
        self._warn_of_boxes(description)

    def __len__(self) -> int:
        return len(self._ids)

    def __getitem__(self, index: int) -> Sample:
        """Return one image.

        Raises:
            InputError: Naming the file, if it cannot be decoded or has another size than its annotation says.
        """
        annotation = self._annotations[index]
        image = read_image(Path(self.name(index)))
        height, width = image.shape[1:]
        if (height, width) != annotation.size:
            raise InputError(
                f"{self.name(index)} is {width} x {height} pixels, but its annotation says "
                f"{annotation.size[1]} x {annotation.size[0]}: they do not belong together"
            )
        labels = torch.zeros(len(CLASSES), dtype=torch.bool)
        labels[annotation.classes] = True
        return Sample(image, labels, annotation.boxes, annotation.box_classes)

    def name(self, index: int) -> str:
        """Return the path of the image file."""
        return str(self._folder / "JPEGImages" / f"{self._ids[index]}.jpg")

    def _list_file(self, official: str) -> Path:
        return self._folder / "ImageSets" / "Main" / f"{official}.txt"

    def _listed(self, official: str) -> list[str]:
        lines = self._list_file(official).read_text().splitlines()
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

    def _warn_of_boxes(self, description: str) -> None:
        def is_bad(annotation: Annotation) -> bool:
            return annotation.clipped + annotation.dropped > 0

        bad = [f"{image}.xml" for image, a in zip(self._ids, self._annotations, strict=True) if is_bad(a)]
        if bad:
            clipped = sum(annotation.clipped for annotation in self._annotations)
            dropped = sum(annotation.dropped for annotation in self._annotations)
            warnings.warn(
                f"{description}: {clipped} boxes reached outside their image and were clipped, {dropped} had "
                f"no pixel in it and were dropped (their labels stay); the first in {bad[0]}",
                stacklevel=3,
            )
