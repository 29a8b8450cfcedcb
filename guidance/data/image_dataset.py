"""What every data set offers: annotations that are at hand, and images and masks that are read at use."""

from abc import ABC, abstractmethod
from pathlib import Path

import torch
from torch import Tensor

from guidance.data.annotation import Annotation, Skipped


class ImageDataset(ABC):
    """A labelled split with boxes. A new data set is one subclass in one file, and one yaml.

    Annotations are read and checked when the data set is made, and kept compactly (see
    :class:`~guidance.data.annotation.AnnotationTable`); images and masks are read from disk at use.

    Attributes:
        classes: The K class names, in label order.
        multi_label: Whether an image may show several classes, or none; if not, every image has exactly one,
            and accuracy is reported too.
        groups: The names of the groups that accuracy is reported for; none by default.
        has_masks: Whether :meth:`masks` may return masks.
        skipped: What the files hold that is not used, or not as it stands there.
    """

    classes: tuple[str, ...]
    multi_label: bool = True
    groups: tuple[str, ...] = ()
    has_masks: bool = False
    skipped: tuple[Skipped, ...] = ()

    @abstractmethod
    def __len__(self) -> int:
        """Return the number of images."""

    @abstractmethod
    def annotation(self, index: int) -> Annotation:
        """Return an image's labels and boxes, without decoding the image."""

    @abstractmethod
    def image(self, index: int, least: int | None = None) -> Tensor:
        """Read an image.

        Args:
            index: Of the image.
            least: If given, a smaller copy will do, as long as both its sides have at least this many pixels
                or all those of the original; large photographs decode nearly twice as fast so.

        Returns:
            RGB, uint8 [3, H, W], of the annotation's size or, with ``least``, of the smaller copy's.

        Raises:
            InputError: Naming the file, if it cannot be read.
        """

    @abstractmethod
    def name(self, index: int) -> str:
        """Return what a person would call this image: a file's path or a number within the split."""

    def masks(self, index: int) -> tuple[Tensor, Tensor]:
        """Read an image's segmentation masks, one for each of C classes; C = 0 where there are none.

        Returns:
            The classes, int64 [C], each once, and the pixels of their objects, bool [C, H, W], of the
            annotation's size.

        Raises:
            InputError: Naming the file, if it cannot be read.
        """
        height, width = self.annotation(index).size
        return torch.zeros(0, dtype=torch.int64), torch.zeros(0, height, width, dtype=torch.bool)

    def fingerprint(self, index: int) -> str:
        """Return text that changes whenever the image does: its file's path, size and time of change."""
        stat = Path(self.name(index)).stat()
        return f"{self.name(index)}:{stat.st_size}:{stat.st_mtime_ns}"
