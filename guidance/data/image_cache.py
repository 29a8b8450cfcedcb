"""The squashed images of a split in one memory-mapped file."""

from collections.abc import Sequence
from pathlib import Path

from torch import Tensor

from guidance.data.image_dataset import ImageDataset


class ImageCache:
    """The squashed images of a split in one memory-mapped file."""

    def __init__(
        self, dataset: ImageDataset, image_size: int, folder: str | Path, label: str, num_workers: int = 0
    ) -> None:
        raise NotImplementedError

    def __getitem__(self, indices: Sequence[int]) -> Tensor:
        """Return images, uint8 [N, 3, S, S]."""
        raise NotImplementedError
