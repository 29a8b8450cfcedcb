"""What an instances file of COCO's says, packed."""

import math
from array import array
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from guidance.data.annotation import Skipped
from guidance.data.coco_segmentation import Segmentation, Segmentations
from guidance.data.labelled_object import LabelledObject
from guidance.errors import InputError

_MOST_PIXELS = 2**32  # of the masks of one image


class CocoImage(NamedTuple):
    """One entry of ``"images"``.

    Attributes:
        id: Of the image.
        file_name: Relative, with no ``..`` in it.
        size: (height, width) in pixels.
    """

    id: int
    file_name: str
    size: tuple[int, int]


class CocoObjects:
    """The entries of ``"annotations"``, as columns that grow.

    Attributes:
        ids: Of the objects.
        images: The number of each one's image.
        categories: The number of each one's category.
        boxes: Half-open xyxy, four numbers an object; nan without a box.
        crowds: Whether each one stands for a crowd.
        segmentations: Those of the objects.
    """

    def __init__(self) -> None:
        self.ids = array("q")
        self.images = array("q")
        self.categories = array("q")
        self.boxes = array("d")
        self.crowds = array("b")
        self.segmentations: list[Segmentation] = []


class CocoAnnotations:
    """What one file says of its N images, in the order of their ids, and of their objects, in its own order.

    Everything lies in a few flat tensors, which worker processes share.

    Attributes:
        path: The file.
        categories: The names, in the order of their ids; a name that has several ids is there once.
        image_ids: int64 [N], ascending.
        file_names: As the file has them: relative, with no ``..`` in them.
        sizes: (height, width), int32 [N, 2].
        has_masks: Whether any object has a segmentation that can be drawn.
        skipped: What belongs to no image, or to one that is listed twice.
    """

    def __init__(
        self,
        path: Path,
        categories: tuple[str, ...],
        images: Sequence[CocoImage],
        objects: CocoObjects,
        skipped: Sequence[Skipped],
    ) -> None:
        self.path = path
        self.categories = categories
        self.image_ids = torch.tensor([image.id for image in images], dtype=torch.int64)
        self.file_names = tuple(image.file_name for image in images)
        self.sizes = torch.tensor([image.size for image in images], dtype=torch.int32).reshape(-1, 2)
        self.skipped = tuple(skipped)
        owners = torch.from_numpy(np.array(objects.images))
        order = owners.argsort(stable=True)
        self._ends = torch.bincount(owners, minlength=len(images)).cumsum(0)
        self._ids = torch.from_numpy(np.array(objects.ids))[order]
        self._categories = torch.from_numpy(np.array(objects.categories))[order]
        self._boxes = torch.from_numpy(np.array(objects.boxes)).float().reshape(-1, 4)[order]
        self._crowds = torch.from_numpy(np.array(objects.crowds)).bool()[order]
        self._segmentations = Segmentations([objects.segmentations[number] for number in order.tolist()])
        self.has_masks = bool(self._segmentations.drawable.any())

    def __len__(self) -> int:
        return len(self.file_names)

    def size(self, index: int) -> tuple[int, int]:
        """Return an image's (height, width)."""
        height, width = self.sizes[index].tolist()
        return height, width

    def objects(self, index: int, keep_crowd: bool = False) -> tuple[list[LabelledObject], list[Skipped]]:
        """List an image's objects.

        Args:
            index: Of the image.
            keep_crowd: Whether objects that stand for a crowd count.

        Returns:
            The objects, without a box where the file's ``bbox`` is not four finite numbers; and the crowds,
            boxes and masks that are not used.
        """
        objects, skipped = [], []
        for number in self._numbers(index):
            where = f"{self.path}: annotation {int(self._ids[number])}"
            if self._crowds[number] and not keep_crowd:
                skipped.append(Skipped("object", "it is a crowd", where))
                continue
            x0, y0, x1, y1 = self._boxes[number].tolist()
            has_box = not math.isnan(x0)
            if not has_box:
                skipped.append(Skipped("box", "its bbox is not four finite numbers", where))
            for problem in self._segmentations.problems.get(number, ()):
                skipped.append(Skipped("mask", problem, where))
            name = self.categories[int(self._categories[number])]
            objects.append(LabelledObject(name, (x0, y0, x1, y1) if has_box else None, where))
        return objects, skipped

    def masks(self, index: int, keep_crowd: bool = False) -> tuple[list[str], Tensor]:
        """Draw an image's objects, one mask for all of a category.

        Args:
            index: Of the image.
            keep_crowd: Whether objects that stand for a crowd count.

        Returns:
            The C categories, in their order, and the pixels of their objects, bool [C, H, W]. A category of
            which some object has no segmentation is left out, since its mask would lack that object.

        Raises:
            InputError: Naming the image, if its masks would take more than 4 GB.
        """
        size = self.size(index)
        members: dict[int, list[int]] = {}
        for number in self._numbers(index):
            if keep_crowd or not self._crowds[number]:
                members.setdefault(int(self._categories[number]), []).append(number)
        drawable = self._segmentations.drawable
        complete = [category for category in sorted(members) if drawable[members[category]].all()]
        if len(complete) * size[0] * size[1] > _MOST_PIXELS:
            raise InputError(
                f"{self.path}: the masks of image {int(self.image_ids[index])} would take more than 4 GB: "
                f"{len(complete):,} categories of {size[1]} x {size[0]} pixels"
            )
        masks = [self._segmentations.draw(members[category], size) for category in complete]
        names = [self.categories[category] for category in complete]
        return names, torch.stack(masks) if masks else torch.zeros(0, *size, dtype=torch.bool)

    def _numbers(self, index: int) -> range:
        if not 0 <= index < len(self):
            raise IndexError(f"index {index} is outside the {len(self)} images of {self.path}")
        return range(int(self._ends[index - 1]) if index else 0, int(self._ends[index]))
