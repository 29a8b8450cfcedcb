"""Waterbirds as it is released, with the birds' boxes of CUB."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

from torch import Tensor

from guidance.data.annotation import Annotation, AnnotationTable, Skipped
from guidance.data.image_dataset import ImageDataset
from guidance.data.image_file import image_size, read_image
from guidance.data.labelled_object import LabelledObject, annotate
from guidance.data.waterbirds.cub import (
    BOXES,
    IMAGES,
    LocatedBox,
    check_files,
    read_boxes,
    read_images,
    read_segmentation,
    segmentation_file,
)
from guidance.data.waterbirds.metadata import BIRDS, GROUPS, PLACES, SPLITS, MetadataRow, read_metadata
from guidance.errors import InputError, unknown_name
from guidance.progress import progress_over

TASKS = {"conventional": BIRDS, "reversed": PLACES}
"""The classes of each task."""

VAL_GROUPS = ("correlated", "all")

_BIRD = 127  # grey values above are the bird
_READERS = 8  # threads that read image headers: most of that time is spent waiting for the disk
_SLOW = 2000


class Waterbirds(ImageDataset):
    """A split of Waterbirds (Sagawa et al. 2020): landbirds and waterbirds, on land and on water.

    ::

        root/metadata.csv
             001.Black_footed_Albatross/Black_Footed_Albatross_0046_18.jpg
        cub/images.txt
            bounding_boxes.txt
            segmentations/001.Black_footed_Albatross/Black_Footed_Albatross_0046_18.png    if at all

    In the conventional task the label is the bird and the evidence is to lie in its box; in the reversed task
    (Rao et al. 2023) the label is the background and the evidence is to lie outside the same box. An image's
    group is 2 * bird + place in both. How strongly background and bird agree in training is up to the folder:
    1 in Waterbirds-100, 0.95 in Waterbirds-95.

    The birds' boxes and segmentations come from CUB-200-2011, whose images have the same sizes. A box is
    clipped to its image, and dropped if nothing is left; the label stays.

    Attributes:
        classes: ``landbird`` and ``waterbird``, or ``land`` and ``water``.
        has_masks: Whether there is a folder of segmentations.

    Args:
        root: The folder that holds ``metadata.csv`` and the images.
        split: ``train``, ``val`` or ``test``.
        cub: The folder that holds CUB's ``images.txt`` and ``bounding_boxes.txt``; ``root`` if None.
        task: ``conventional`` or ``reversed``.
        val_groups: ``correlated`` leaves out the validation images whose bird and background disagree, as in
            Rao et al., so that nothing is chosen by what training does not show; ``all`` keeps them.

    Raises:
        InputError: Naming the folder, file and line, or option that is wrong.
    """

    multi_label = False
    groups = GROUPS

    def __init__(
        self,
        root: str | Path,
        split: str,
        cub: str | Path | None = None,
        task: str = "conventional",
        val_groups: str = "correlated",
    ) -> None:
        for option, value, known in (
            ("split", split, SPLITS),
            ("data.task", task, tuple(TASKS)),
            ("data.val_groups", val_groups, VAL_GROUPS),
        ):
            if value not in known:
                raise unknown_name(option, str(value), known)
        self.classes = TASKS[task]
        self._root = Path(root).expanduser()
        self._cub = self._root if cub is None else Path(cub).expanduser()
        table = self._root / "metadata.csv"
        if not table.is_file():
            raise InputError(
                f"there is no {table}: data.root must be the folder of Waterbirds, with metadata.csv and the "
                "images; `python -m guidance.data.waterbirds --help` tells how to make one"
            )
        for name in (IMAGES, BOXES):
            if not (self._cub / name).is_file():
                raise InputError(
                    f"there is no {self._cub / name}: data.cub must be the folder of CUB-200-2011, "
                    f"with {IMAGES} and {BOXES}"
                )

        rows = [row for row in read_metadata(table) if row.split == SPLITS.index(split)]
        if not rows:
            raise InputError(f"{table} has no image of the split '{split}' (split {SPLITS.index(split)})")
        skipped: list[Skipped] = []
        if split == "val" and val_groups == "correlated":
            reason = "its group is not in a perfectly correlated val"
            skipped += [Skipped("image", reason, row.where) for row in rows if row.bird != row.place]
            rows = [row for row in rows if row.bird == row.place]
        self._names = [row.file_name for row in rows]
        boxes = self._boxes(rows)
        self.has_masks = (self._cub / "segmentations").is_dir()
        if self.has_masks:
            check_files(
                [segmentation_file(self._cub, name) for name in self._names],
                "unpack CUB's segmentations.tgz again, or remove the folder",
            )
        annotations = []
        for row, box, size in zip(rows, boxes, self._sizes(split), strict=True):
            label = self.classes[row.bird if task == "conventional" else row.place]
            found = [LabelledObject(label, box.box, box.where)]
            annotation, wrong = annotate(found, size, {name: i for i, name in enumerate(self.classes)})
            annotations.append(replace(annotation, outside=task == "reversed", group=row.group))
            skipped += wrong
        self._annotations = AnnotationTable(annotations, len(self.classes))
        self.skipped = tuple(skipped)

    def __len__(self) -> int:
        return len(self._names)

    def annotation(self, index: int) -> Annotation:
        """Return an image's label and box."""
        return self._annotations[index]

    def image(self, index: int, least: int | None = None) -> Tensor:
        """Read an image.

        Raises:
            InputError: Naming the file, if it cannot be decoded.
        """
        return read_image(Path(self.name(index)), self._annotations[index].size, least)

    def masks(self, index: int) -> tuple[Tensor, Tensor]:
        """Read the pixels of the bird, which belong to the image's label; none without segmentations.

        Raises:
            InputError: Naming the file, if it cannot be decoded or has another size than the image.
        """
        if not self.has_masks:
            return super().masks(index)
        annotation = self._annotations[index]
        pixels = read_segmentation(segmentation_file(self._cub, self._names[index]), annotation.size)
        return annotation.labels.nonzero().flatten(), (pixels > _BIRD)[None]

    def name(self, index: int) -> str:
        """Return the path of the image file."""
        return str(self._root / self._names[index])

    def _boxes(self, rows: Sequence[MetadataRow]) -> list[LocatedBox]:
        """Return the box of each row's bird."""
        images = read_images(self._cub)
        boxes = read_boxes(self._cub, images)
        known = set(images.values())
        for row in rows:
            if row.file_name not in known:
                raise InputError(f"{row.where}: {row.file_name} is not in {self._cub / IMAGES}")
            if row.file_name not in boxes:
                raise InputError(f"{row.where}: {row.file_name} has no box in {self._cub / BOXES}")
        return [boxes[row.file_name] for row in rows]

    def _sizes(self, split: str) -> list[tuple[int, int]]:
        """Read (height, width) of each image from its header."""
        paths = [self._root / name for name in self._names]
        with ThreadPoolExecutor(_READERS) as readers:
            sizes = readers.map(image_size, paths)
            title, shown = f"Waterbirds {split}", len(paths) > _SLOW
            with progress_over(sizes, title, len(paths), shown) as waiting:
                return list(waiting)
