"""Random changes of a training image that keep its boxes and masks right."""

import torch
from torch import Tensor

from guidance.data.splits import check_fraction
from guidance.randomness import hash_integers

_AUGMENTATION = -3
_ATTEMPTS = 10


class Augmentation:
    """Random resized crop, horizontal flip and colour jitter, drawn by (seed, epoch, image).

    Off by default, as in Rao et al. 2023. Nothing depends on a generator's state, so that a resumed run
    repeats every draw.
    """

    def __init__(
        self,
        crop: float | None = None,
        min_visible: float = 0.5,
        flip: float = 0.0,
        jitter: float = 0.0,
        seed: int = 0,
    ) -> None:
        check_fraction("data.augmentation.flip", flip)
        self._crop = crop
        self._min_visible = min_visible
        self._flip = flip
        self._jitter = jitter
        self._seed = seed

    @property
    def active(self) -> bool:
        """Whether anything is ever changed."""
        return self.crops or self._flip > 0 or self._jitter > 0

    @property
    def crops(self) -> bool:
        """Whether whole images are needed, to cut crops from."""
        return self._crop is not None

    def generator(self, epoch: int, index: int) -> torch.Generator:
        """Return the source of all draws for one image in one epoch."""
        return torch.Generator().manual_seed(int(hash_integers(self._seed, _AUGMENTATION, epoch, index)))

    def crop(
        self, image: Tensor, boxes: Tensor, box_classes: Tensor, masks: Tensor, draw: torch.Generator
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Cut a random window."""
        raise NotImplementedError

    def flip_and_jitter(
        self, image: Tensor, boxes: Tensor, masks: Tensor, draw: torch.Generator
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Flip and change colours at random."""
        raise NotImplementedError
