"""COCO 2014 and 2017, in the folders that the official archives unpack to."""

from pathlib import Path

import torch
from torch import Tensor

from guidance.data.annotation import Annotation, AnnotationTable, Skipped
from guidance.data.coco_download import download_coco
from guidance.data.coco_files import CocoFiles, Missing
from guidance.data.image_dataset import ImageDataset
from guidance.data.image_file import read_image
from guidance.data.labelled_object import annotate
from guidance.data.splits import check_fraction, seeded_split
from guidance.errors import InputError, unknown_name
from guidance.progress import progress_over

CLASSES = (
    "person", "bicycle", "car", "motorcycle", "airplane", "bus", "train", "truck", "boat", "traffic light",
    "fire hydrant", "stop sign", "parking meter", "bench", "bird", "cat", "dog", "horse", "sheep", "cow",
    "elephant", "bear", "zebra", "giraffe", "backpack", "umbrella", "handbag", "tie", "suitcase", "frisbee",
    "skis", "snowboard", "sports ball", "kite", "baseball bat", "baseball glove", "skateboard", "surfboard",
    "tennis racket", "bottle", "wine glass", "cup", "fork", "knife", "spoon", "bowl", "banana", "apple",
    "sandwich", "orange", "broccoli", "carrot", "hot dog", "pizza", "donut", "cake", "chair", "couch",
    "potted plant", "bed", "dining table", "toilet", "tv", "laptop", "mouse", "remote", "keyboard",
    "cell phone", "microwave", "oven", "toaster", "sink", "refrigerator", "book", "clock", "vase", "scissors",
    "teddy bear", "hair drier", "toothbrush",
)  # fmt: skip
"""The 80 classes, in label order, which is that of their ids in the official files."""

_NUMBERS = {name: number for number, name in enumerate(CLASSES)}
_YEARS = ("2014", "2017")
_PARTS = {"train": "train", "val": "train", "test": "val"}  # split -> official part
_SLOW = 2000  # annotating more images than this takes seconds


class COCO(ImageDataset):
    """A split of COCO, with all annotations read and all files checked at construction.

    ::

        root/annotations/instances_train2014.json    instances_val2014.json
             train2014/COCO_train2014_000000000009.jpg    or images/train2014/...
             val2014/COCO_val2014_000000000042.jpg

    The annotations of the test sets are not public: ``test`` is the official ``val``, and ``train`` and
    ``val`` are cut from the official ``train`` with a fixed seed.

    Objects that stand for a crowd count neither with a box nor with a label. An image without any object is
    kept, with no label. A box is clipped to its image, and dropped if nothing is left; the label stays. For
    what else is skipped, see :func:`~guidance.data.coco_annotation.read_coco`; what belongs to no image is
    listed with ``train`` and ``test``. An instances file of fewer images or classes will do.

    Attributes:
        classes: The 80 class names, whichever of them the file has.

    Args:
        root: The folder above, or one that holds it as ``coco``; there ``download`` puts it.
        year: 2014 or 2017.
        split: ``train``, ``val`` or ``test``.
        keep_crowd: Whether crowds count as objects.
        val_fraction: The part of the official ``train`` that validates.
        download: Whether to fetch the official archives if files of the split are missing.

    Raises:
        InputError: Naming the folder, file or option that is wrong.
    """

    classes = CLASSES

    def __init__(
        self,
        root: str | Path,
        year: str | int,
        split: str,
        keep_crowd: bool = False,
        val_fraction: float = 0.1,
        download: bool = False,
    ) -> None:
        year = str(year)
        if year not in _YEARS:
            raise unknown_name("year of COCO", year, _YEARS)
        if split not in _PARTS:
            raise unknown_name("split", split, _PARTS)
        check_fraction("data.val_fraction", val_fraction)
        files = CocoFiles(Path(root).expanduser(), _PARTS[split], year)
        content = files.read()
        if download and isinstance(content, Missing):
            download_coco(files.home, files.images.parent, files.missing_archive)
            content = files.read()
        if isinstance(content, Missing):
            raise InputError(content.reason)
        for name in content.categories:
            if name not in _NUMBERS:
                unknown = unknown_name("class of COCO", name, CLASSES)
                raise InputError(f"{content.path}: {unknown}; data=folder reads other classes")

        self._content = content
        self._folder = files.images
        self._keep_crowd = keep_crowd
        self._images = torch.arange(len(content))
        if split != "test":
            train, val = seeded_split(len(content), 1 - val_fraction, seed=0)
            self._images = train if split == "train" else val
        if len(self._images) == 0:
            raise InputError(
                f"no image is left for the split '{split}': {content.path} lists {len(content)}, and "
                f"data.val_fraction is {val_fraction}"
            )
        self.has_masks = content.has_masks
        skipped = [] if split == "val" else list(content.skipped)
        images = self._images.tolist()
        with progress_over(images, f"COCO {year} {split}", shown=len(images) > _SLOW) as shown:
            rows = (self._read(image, skipped) for image in shown)
            self._annotations = AnnotationTable(rows, len(CLASSES))
        self.skipped = tuple(skipped)

    def __len__(self) -> int:
        return len(self._images)

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
        """Draw the outlines of an image's objects; a class of which some object has none has no mask."""
        names, masks = self._content.masks(int(self._images[index]), self._keep_crowd)
        return torch.tensor([_NUMBERS[name] for name in names], dtype=torch.int64), masks

    def name(self, index: int) -> str:
        """Return the path of the image file."""
        return str(self._folder / self._content.file_names[int(self._images[index])])

    def _read(self, image: int, skipped: list[Skipped]) -> Annotation:
        objects, some = self._content.objects(image, self._keep_crowd)
        annotation, more = annotate(objects, self._content.size(image), _NUMBERS)
        skipped += some + more
        return annotation
