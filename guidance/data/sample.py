"""What a data set yields, image by image."""

from abc import ABC, abstractmethod
from dataclasses import dataclass

from torch import Tensor


@dataclass
class Sample:
    """One image with its labels and boxes, in the image's own pixels.

    Attributes:
        image: RGB, uint8 [3, H, W].
        labels: The classes present, bool [K].
        boxes: float [M, 4], xyxy, half-open, pixels of ``image``; possibly none for a present class.
        box_classes: int64 [M].
    """

    image: Tensor
    labels: Tensor
    boxes: Tensor
    box_classes: Tensor


class ImageDataset(ABC):
    """A labelled split with boxes. A new data set is one subclass in one file, and one yaml.

    Attributes:
        classes: The K class names, in label order.
    """

    classes: tuple[str, ...]

    @abstractmethod
    def __len__(self) -> int:
        """Return the number of images."""

    @abstractmethod
    def __getitem__(self, index: int) -> Sample:
        """Return one image with its annotations.

        Raises:
            InputError: Naming the file, if it cannot be read.
        """

    @abstractmethod
    def name(self, index: int) -> str:
        """Return what a person would call this image: a file's path or a number within the split."""
