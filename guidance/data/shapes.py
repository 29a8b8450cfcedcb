"""The embedded data set: textured shapes on a background that gives them away, in training."""

from collections.abc import Mapping
from types import MappingProxyType

import numpy as np
import torch
from torch import Tensor

from guidance.data.annotation import Annotation
from guidance.data.image_dataset import ImageDataset
from guidance.data.shapes_objects import SHAPES, mask_boxes
from guidance.data.shapes_scene import Scene, draw_scene
from guidance.errors import InputError, unknown_name

CLASSES = tuple(SHAPES)
"""The class names, in label order."""

SPLITS = ("train", "val", "test")

LENGTH: Mapping[str, int] = MappingProxyType({"train": 2000, "val": 400, "test": 400})
CONTEXT_CORRELATION: Mapping[str, float] = MappingProxyType({"train": 0.95, "val": 0.95, "test": 0.5})


class Shapes(ImageDataset):
    """Multi-label scenes rendered from a seed, with exact boxes and masks; nothing is downloaded.

    A class is a shape with its own texture; colour, size and place say nothing. Each class also has a
    background cue, a large patch of one colour away from the class's own boxes. The cue is shown with
    probability c where the class is present and 1 - c where it is absent. In training it is nearly always
    right and easier to learn than the object; at c = 0.5, as in the test split, it says nothing.

    An image depends on (seed, split, its index) alone. Drawn scenes are kept in memory, 16 KB each at 64 px.

    Attributes:
        classes: The six class names, :data:`CLASSES`.

    Args:
        split: ``train``, ``val`` or ``test``.
        seed: Any integer >= 0.
        image_size: S, the width and height in pixels, at least 32.
        length: Number of images of each split.
        context_correlation: c of each split, in [0, 1].

    Raises:
        InputError: Naming the argument that is wrong.
    """

    classes = CLASSES
    has_masks = True

    def __init__(
        self,
        split: str,
        seed: int = 0,
        image_size: int = 64,
        length: Mapping[str, int] = LENGTH,
        context_correlation: Mapping[str, float] = CONTEXT_CORRELATION,
    ) -> None:
        if split not in SPLITS:
            raise unknown_name("split", split, SPLITS)
        for key, values in (("length", length), ("context_correlation", context_correlation)):
            if split not in values:
                raise InputError(
                    f"data.{key} has no value for the split '{split}'; it needs {', '.join(SPLITS)}"
                )
        if image_size < 32:
            raise InputError(
                f"data.image_size is {image_size}; shapes need at least 32 pixels to be told apart"
            )
        if length[split] < 1:
            raise InputError(f"data.length.{split} is {length[split]}; it must be at least 1")
        if not 0 <= context_correlation[split] <= 1:
            raise InputError(
                f"data.context_correlation.{split} is {context_correlation[split]}; it must lie in [0, 1]"
            )
        if seed < 0:
            raise InputError(f"the seed of the shapes is {seed}; it must not be negative")
        self.split = split
        self._seed = seed
        self._image_size = image_size
        self._length = length[split]
        self._correlation = context_correlation[split]
        self._scenes: dict[int, Scene] = {}

    def __len__(self) -> int:
        return self._length

    def annotation(self, index: int) -> Annotation:
        """Return one scene's annotation; every object has a box, the extent of its visible pixels."""
        scene = self._scene(index)
        labels = torch.zeros(len(CLASSES), dtype=torch.bool)
        box_classes = torch.from_numpy(scene.object_classes.copy())
        labels[box_classes] = True
        boxes = torch.from_numpy(mask_boxes(scene.object_masks())).float()
        return Annotation((self._image_size, self._image_size), labels, boxes, box_classes)

    def image(self, index: int, least: int | None = None) -> Tensor:
        """Return one scene as it was drawn."""
        return torch.from_numpy(self._scene(index).image.copy())

    def masks(self, index: int) -> tuple[Tensor, Tensor]:
        """Return the visible pixels of each present class."""
        classes, owners = torch.from_numpy(self._scene(index).object_classes).unique(return_inverse=True)
        objects = self.object_masks(index)
        return classes, torch.stack([objects[owners == k].any(dim=0) for k in range(len(classes))])

    def fingerprint(self, index: int) -> str:
        """Return what decides the image: seed, split, number, size and correlation."""
        drawn_from = (self._seed, self.split, index, self._image_size, self._correlation)
        return "shapes:" + ":".join(str(part) for part in drawn_from)

    def name(self, index: int) -> str:
        """Return the image's split and number, e.g. ``train-17``."""
        return f"{self.split}-{index}"

    def object_masks(self, index: int) -> Tensor:
        """Return the visible pixels of each object, in the order of the boxes, bool [M, S, S]."""
        return torch.from_numpy(self._scene(index).object_masks())

    def cues(self, index: int) -> Tensor:
        """Return which classes' background cues are shown, bool [K]."""
        return torch.from_numpy(self._scene(index).cues.copy())

    def _scene(self, index: int) -> Scene:
        if not 0 <= index < self._length:
            raise IndexError(
                f"index {index} is outside the {self._length} images of the split '{self.split}'"
            )
        if index not in self._scenes:
            rng = np.random.default_rng([self._seed, SPLITS.index(self.split), index])
            self._scenes[index] = draw_scene(rng, self._image_size, self._correlation)
        return self._scenes[index]
