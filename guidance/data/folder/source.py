"""What every annotation format offers to the data set."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor

from guidance.data.annotation import Skipped
from guidance.data.folder.files import FileTree
from guidance.data.folder.record import ImageRecord


class AnnotationSource(ABC):
    """The annotations under a folder, in one format.

    Attributes:
        looked_for: The files that make the format, for messages.
        classes: The class names in the order that the files give; None if names occur with objects only.
        has_masks: Whether :meth:`masks` may return masks.
        images: The images that have an annotation, readable or not, sorted; relative to the root.
        skipped: What the files say of no image at all.
    """

    looked_for: ClassVar[str]
    classes: tuple[str, ...] | None = None
    has_masks: bool = False
    images: Sequence[str]
    skipped: Sequence[Skipped] = ()

    @staticmethod
    @abstractmethod
    def files(tree: FileTree) -> list[str]:
        """Return the files of this format, relative to the root; none if the tree is of another format."""

    @abstractmethod
    def __init__(self, tree: FileTree) -> None: ...

    @abstractmethod
    def read(self, image: str) -> ImageRecord | Skipped:
        """Return what is said about one of ``images``, or why the image cannot be used."""

    def split_of(self, image: str) -> str | None:
        """Return the split that the image's annotation file is for, if its name or folder tells."""
        del image
        return None

    def masks(self, image: str, size: tuple[int, int]) -> tuple[list[str], Tensor]:
        """Return the names of the C classes with masks and the masks, bool [C, H, W], of ``size``."""
        del image
        return [], torch.zeros(0, *size, dtype=torch.bool)
