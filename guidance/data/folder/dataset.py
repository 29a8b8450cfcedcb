"""A folder of labelled images in one of the usual formats."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from rich.markup import escape
from torch import Tensor

from guidance.data.annotation import Annotation, AnnotationTable
from guidance.data.folder.class_names import check_class_names, label_order
from guidance.data.folder.files import FileTree
from guidance.data.folder.formats import open_annotations
from guidance.data.folder.reading import read_records, usable_images
from guidance.data.folder.reasons import commonest_reason
from guidance.data.folder.split_names import SPLITS
from guidance.data.folder.splits import divide
from guidance.data.image_dataset import ImageDataset
from guidance.data.image_file import read_image
from guidance.errors import InputError, unknown_name

_FRACTIONS = {"train": 0.7, "val": 0.15, "test": 0.15}


class Folder(ImageDataset):
    """A split of the labelled images under a folder.

    The annotations are in one of four formats::

        voc    images/a.jpg  annotations/a.xml     one .xml an image; its folder: Annotations, annotations or
               JPEGImages/a.jpg  Annotations/a.xml     labels; or beside the image
        coco   images/a.jpg  annotations.json      or instances*.json, _annotations.coco.json; in the root, in
                                                   annotations/ or in each split's folder; with masks
        csv    images/a.jpg  annotations.csv       image,class,xmin,ymin,xmax,ymax; in the root or in each
                                                   split's folder
        yolo   images/a.jpg  labels/a.txt          class cx cy w h; or beside the image; names in
               classes.txt                         classes.txt, data.yaml or dataset.yaml in the root

    and the splits are told in one of three ways::

        lists      train.txt  val.txt  test.txt    an image a line; in the root, splits/ or ImageSets/Main/
        folders    train/images/a.jpg              a folder train, val (valid, validation) or test in the
                   images/train/a.jpg              image's path, or in that of the .json or .csv that lists
                   annotations/instances_val.json  the image, or in the .json's name
        fraction   (none of these)                 the labelled images, at random

    **Formats.** In VOC's XML pixels count from 1 and boxes include their last pixel; objects marked difficult
    are skipped. In a CSV pixels count from 0 and boxes are half-open; a row without corners is a label
    without a box, a row without a class an image without objects. A polygon in YOLO's labels counts as its
    bounding box; only COCO's polygons make masks. An empty YOLO file is an image without objects, but an
    image without a file is one that nobody labelled: it is skipped. So is any image that no annotation names,
    and so are two images that differ in their suffix only and share an annotation file.

    **Rotated photographs.** Images are read as their EXIF orientation shows them. Where the annotation states
    a size (VOC, COCO) that fits the stored pixels only, its boxes were drawn on those, and so it is read.

    An image that cannot be used is skipped and the rest goes on; see ``skipped``, where what belongs to no
    split is listed with ``train``. Images are in the order of their paths.

    Args:
        root: The folder.
        split: ``train``, ``val`` or ``test``.
        format: ``voc``, ``coco``, ``csv``, ``yolo``, or ``auto`` for the one that is there.
        split_by: ``lists``, ``folders``, ``fraction``, or ``auto`` for the first of them that is there.
        fractions: The part of the labelled images that goes to each split; for ``fraction`` only.
        split_seed: Of the random choice; for ``fraction`` only.
        classes: The names to use, in label order; objects of others are skipped. By default all: in the order
            of the annotation files' own list (coco, yolo), else sorted, those of all splits.
        multi_label: If False, each image must show exactly one class, and others are skipped.

    Raises:
        InputError: Naming the folder, file or option that is wrong, or why no image is left.
    """

    def __init__(
        self,
        root: str | Path | None,
        split: str,
        format: str = "auto",
        split_by: str = "auto",
        fractions: Mapping[str, float] = _FRACTIONS,
        split_seed: int = 0,
        classes: Sequence[str] | None = None,
        multi_label: bool = True,
    ) -> None:
        if split not in SPLITS:
            raise unknown_name("split", split, SPLITS)
        if not root:
            raise InputError("data.root is not set; it must name the folder that holds the labelled images")
        if not isinstance(multi_label, bool):
            raise InputError(f"data.multi_label is {multi_label}; it must be true or false")
        chosen = check_class_names(classes)
        self.multi_label = multi_label
        tree = FileTree(Path(str(root)).expanduser())
        source = open_annotations(tree, format)
        of_no_split = [*tree.skipped, *source.skipped]
        if not source.images:
            raise InputError(f"{tree.root} has no usable image{commonest_reason(of_no_split)}")
        division = divide(tree, source, split_by, fractions, split_seed)
        of_no_split += division.skipped

        description = escape(f"{tree.root.name} {split}")
        records, names = read_records(source, division.images, split, description)
        self.classes = label_order(chosen, source.classes, names)
        self._numbers = {name: number for number, name in enumerate(self.classes)}
        images, skipped = usable_images(
            tree.root, division.images[split], records, self._numbers, multi_label, description
        )
        if not images:
            why = commonest_reason(skipped)
            raise InputError(f"the split '{split}' of {tree.root} has no usable image{why}")
        self.has_masks = source.has_masks
        self.skipped = (*skipped, *(of_no_split if split == "train" else ()))
        self._root = tree.root
        self._paths = [image.path for image in images]
        self._exif = torch.tensor([image.exif for image in images])
        self._annotations = AnnotationTable((image.annotation for image in images), len(self.classes))
        # Kept, and copied to loader processes, for its masks only.
        self._source = source if source.has_masks else None

    def __len__(self) -> int:
        return len(self._paths)

    def annotation(self, index: int) -> Annotation:
        """Return an image's labels and boxes."""
        return self._annotations[index]

    def image(self, index: int, least: int | None = None) -> Tensor:
        """Read an image.

        Raises:
            InputError: Naming the file, if it cannot be decoded or its size has changed.
        """
        size = self._annotations[index].size
        return read_image(Path(self.name(index)), size, least, exif=bool(self._exif[index]))

    def masks(self, index: int) -> tuple[Tensor, Tensor]:
        """Draw the polygons of an image's objects; none in formats without."""
        if self._source is None:
            return super().masks(index)
        names, masks = self._source.masks(self._paths[index], self._annotations[index].size)
        used = [position for position, name in enumerate(names) if name in self._numbers]
        classes = torch.tensor([self._numbers[names[position]] for position in used], dtype=torch.int64)
        return classes, masks[used]

    def name(self, index: int) -> str:
        """Return the path of the image file."""
        return str(self._root / self._paths[index])

    def fingerprint(self, index: int) -> str:
        """Return text that changes whenever the image does, or the way in which it is read."""
        return f"{super().fingerprint(index)}:{'shown' if self._exif[index] else 'stored'}"
