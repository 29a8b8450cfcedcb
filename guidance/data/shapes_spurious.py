"""The embedded twin of Waterbirds: two objects on two backgrounds that give them away, in training."""

from collections.abc import Mapping
from types import MappingProxyType

import numpy as np
import torch
from torch import Tensor

from guidance.data.annotation import Annotation
from guidance.data.confounder import assign_backgrounds
from guidance.data.image_dataset import ImageDataset
from guidance.data.shapes_objects import mask_boxes
from guidance.data.shapes_spurious_scene import BACKGROUNDS, OBJECTS, SpuriousScene, draw_spurious_scene
from guidance.data.splits import check_fraction
from guidance.errors import InputError, unknown_name
from guidance.randomness import permutation

SPLITS = ("train", "val", "test")
TASKS = {"conventional": OBJECTS, "reversed": BACKGROUNDS}
"""The classes of each task."""

LENGTH: Mapping[str, int] = MappingProxyType({"train": 2000, "val": 400, "test": 400})
CONFOUNDER: Mapping[str, float] = MappingProxyType({"train": 1.0, "val": 1.0, "test": 0.5})

# Set apart from each other and from the streams of other data sets.
_OBJECT, _BACKGROUND, _SCENE = 101, 102, 103


class ShapesSpurious(ImageDataset):
    """Scenes of one object, a disk or a star, on land or on water; rendered from a seed, with exact masks.

    In the conventional task the label is the object and the evidence is to lie in its box; in the reversed
    task the label is the background and the evidence is to lie outside the same box. An image's group is
    2 * object + background in both.

    In training and validation every disk is on land and every star on water, and the background is easier to
    learn; in the test split neither tells the other. The numbers are exact: half of the images show each
    object, and the backgrounds follow :func:`~guidance.data.confounder.assign_backgrounds`.

    An image depends on (seed, split, its index), its object and its background alone. Drawn scenes are kept
    in memory, 16 KB each at 64 px.

    Attributes:
        classes: ``disk`` and ``star``, or ``land`` and ``water``.

    Args:
        split: ``train``, ``val`` or ``test``.
        seed: Any integer >= 0.
        image_size: S, the width and height in pixels, at least 32.
        task: ``conventional`` or ``reversed``.
        confounder: How strongly object and background agree in each split, in [0, 1]; 0.5 is not at all.
        length: Number of images of each split.

    Raises:
        InputError: Naming the argument that is wrong.
    """

    multi_label = False
    groups = tuple(f"{shape} on {background}" for shape in OBJECTS for background in BACKGROUNDS)
    has_masks = True

    def __init__(
        self,
        split: str,
        seed: int = 0,
        image_size: int = 64,
        task: str = "conventional",
        confounder: Mapping[str, float] = CONFOUNDER,
        length: Mapping[str, int] = LENGTH,
    ) -> None:
        if split not in SPLITS:
            raise unknown_name("split", split, SPLITS)
        if task not in TASKS:
            raise unknown_name("data.task", str(task), TASKS)
        for key, values in (("length", length), ("confounder", confounder)):
            if split not in values:
                raise InputError(
                    f"data.{key} has no value for the split '{split}'; it needs {', '.join(SPLITS)}"
                )
        if not isinstance(image_size, int) or image_size < 32:
            raise InputError(f"data.image_size is {image_size}; it must be an integer, at least 32")
        if not isinstance(length[split], int) or length[split] < 1:
            raise InputError(f"data.length.{split} is {length[split]}; it must be an integer, at least 1")
        check_fraction(f"data.confounder.{split}", confounder[split])
        if seed < 0:
            raise InputError(f"the seed of the shapes is {seed}; it must not be negative")
        self.classes = TASKS[task]
        self.split = split
        self._seed = seed
        self._image_size = image_size
        self._reversed = task == "reversed"
        number = SPLITS.index(split)
        self._objects = permutation(length[split], seed, number, _OBJECT) % 2
        self._backgrounds = assign_backgrounds(self._objects, confounder[split], seed, number, _BACKGROUND)
        self._scenes: dict[int, SpuriousScene] = {}

    def __len__(self) -> int:
        return len(self._objects)

    def annotation(self, index: int) -> Annotation:
        """Return one scene's label, and the box of the object's pixels."""
        scene = self._scene(index)
        shape, background = int(self._objects[index]), int(self._backgrounds[index])
        label = background if self._reversed else shape
        return Annotation(
            size=(self._image_size, self._image_size),
            labels=torch.arange(2) == label,
            boxes=torch.from_numpy(mask_boxes(scene.mask[None])).float(),
            box_classes=torch.tensor([label]),
            outside=self._reversed,
            group=2 * shape + background,
        )

    def image(self, index: int, least: int | None = None) -> Tensor:
        """Return one scene as it was drawn."""
        return torch.from_numpy(self._scene(index).image.copy())

    def masks(self, index: int) -> tuple[Tensor, Tensor]:
        """Return the object's pixels, which belong to the image's label."""
        mask = torch.from_numpy(self._scene(index).mask.copy())
        return self.annotation(index).box_classes, mask[None]

    def fingerprint(self, index: int) -> str:
        """Return what decides the image: seed, split, number, size, object and background."""
        shown = (int(self._objects[index]), int(self._backgrounds[index]))
        drawn_from = (self._seed, self.split, index, self._image_size, *shown)
        return "shapes_spurious:" + ":".join(str(part) for part in drawn_from)

    def name(self, index: int) -> str:
        """Return the image's split and number, e.g. ``train-17``."""
        return f"{self.split}-{index}"

    def _scene(self, index: int) -> SpuriousScene:
        if not 0 <= index < len(self):
            raise IndexError(f"index {index} is outside the {len(self)} images of the split '{self.split}'")
        if index not in self._scenes:
            rng = np.random.default_rng([self._seed, SPLITS.index(self.split), index, _SCENE])
            self._scenes[index] = draw_spurious_scene(
                rng, self._image_size, int(self._objects[index]), int(self._backgrounds[index])
            )
        return self._scenes[index]
