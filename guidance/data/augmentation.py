"""Random changes of a training image that keep its boxes and masks right."""

import math

import torch
from torch import Tensor
from torchvision import tv_tensors
from torchvision.transforms.v2 import functional as transforms

from guidance.data.splits import check_fraction
from guidance.errors import InputError
from guidance.randomness import hash_integers

_AUGMENTATION = -3  # set apart from the streams of other draws that one seed decides
_ATTEMPTS = 10
_WIDEST = 4 / 3
_COLOUR_CHANGES = (
    transforms.adjust_brightness,
    transforms.adjust_contrast,
    transforms.adjust_saturation,
)

Window = tuple[int, int, int, int]
"""Top, left, height and width in pixels."""


class Augmentation:
    """Random resized crop, horizontal flip and colour jitter, drawn by (seed, epoch, image).

    Off by default, as in Rao et al. 2023. Nothing depends on a generator's state, so that a resumed run
    repeats every draw.

    Args:
        crop: The smallest part of an image's area that a crop may keep, in (0, 1]; None for no crops.
        min_visible: A crop drops a box of which less than this part is left, in [0, 1]; of 0, a box of which
            nothing is left.
        flip: Probability of a horizontal flip, in [0, 1].
        jitter: Brightness, contrast and saturation change by factors within 1 - jitter and 1 + jitter, in
            [0, 1).
        seed: Any integer.

    Raises:
        InputError: Naming the option that is wrong.
    """

    def __init__(
        self,
        crop: float | None = None,
        min_visible: float = 0.5,
        flip: float = 0.0,
        jitter: float = 0.0,
        seed: int = 0,
    ) -> None:
        if crop is not None and not (isinstance(crop, int | float) and 0 < crop <= 1):
            raise InputError(
                f"data.augmentation.crop is {crop}; it must be a number in (0, 1], or null for no crops"
            )
        check_fraction("data.augmentation.min_visible", min_visible)
        check_fraction("data.augmentation.flip", flip)
        if not (isinstance(jitter, int | float) and 0 <= jitter < 1):
            raise InputError(f"data.augmentation.jitter is {jitter}; it must be a number in [0, 1)")
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
        """Cut a random window out of an image with its boxes and masks.

        The window's part of the area is uniform in [crop, 1]; its aspect ratio relative to the image's is
        log-uniform in [3/4, 4/3], or as much of that as fits with its area; its place is uniform. Up to ten
        windows are drawn, until one shows enough of at least one box of every class that has any, so that the
        labels stay true; if none does, the whole image is kept.

        Args:
            image: uint8 [3, H, W].
            boxes: float64 [M, 4], xyxy, half-open, pixels of ``image``.
            box_classes: int64 [M].
            masks: bool [C, H, W]; of any size if C = 0.
            draw: From :meth:`generator`; nothing is drawn if there are no crops.

        Returns:
            The same four of the window [h, w], with the boxes clipped to it; those of which too little is
            left are dropped.
        """
        if self._crop is None:
            return image, boxes, box_classes, masks
        height, width = image.shape[-2:]
        # All at once: how many numbers are drawn must not depend on the boxes.
        for numbers in torch.rand(_ATTEMPTS, 4, generator=draw, dtype=torch.float64).tolist():
            window = _window(self._crop, (height, width), numbers)
            cut = _as_boxes(boxes, (height, width))
            clipped = transforms.crop(cut, *window).as_subclass(Tensor)
            visible = _areas(clipped) / _areas(boxes)
            kept = (visible >= self._min_visible - 1e-9) & (visible > 0)
            if set(box_classes[kept].tolist()) == set(box_classes.tolist()):
                image = transforms.crop(tv_tensors.Image(image), *window).as_subclass(Tensor)
                if len(masks) > 0:
                    masks = transforms.crop(tv_tensors.Mask(masks), *window).as_subclass(Tensor)
                return image, clipped[kept], box_classes[kept], masks
        return image, boxes, box_classes, masks

    def flip_and_jitter(
        self, image: Tensor, boxes: Tensor, masks: Tensor, draw: torch.Generator
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Mirror an image with its boxes and masks, and change its colours, at random.

        Args:
            image: uint8 [3, S, S].
            boxes: int64 [M, 4], xyxy, half-open, pixels of ``image``.
            masks: bool [C, S, S].
            draw: From :meth:`generator`.

        Returns:
            The same three.
        """
        if torch.rand((), generator=draw) < self._flip:
            flipped = _as_boxes(boxes, (image.shape[-2], image.shape[-1]))
            boxes = transforms.horizontal_flip(flipped).as_subclass(Tensor)
            image = transforms.horizontal_flip(tv_tensors.Image(image)).as_subclass(Tensor)
            masks = transforms.horizontal_flip(tv_tensors.Mask(masks)).as_subclass(Tensor)
        if self._jitter > 0:
            factors = 1 + self._jitter * (2 * torch.rand(3, generator=draw, dtype=torch.float64) - 1)
            for change in torch.randperm(3, generator=draw).tolist():
                image = _COLOUR_CHANGES[change](image, float(factors[change]))
        return image, boxes, masks


def _window(least: float, size: tuple[int, int], numbers: list[float]) -> Window:
    """Turn four numbers in [0, 1) into a window within an image of ``size``."""
    height, width = size
    area = least + (1 - least) * numbers[0]
    most = min(math.log(_WIDEST), -math.log(area))
    ratio = math.exp(most * (2 * numbers[1] - 1))
    window_height = min(max(round(height * math.sqrt(area / ratio)), 1), height)
    window_width = min(max(round(width * math.sqrt(area * ratio)), 1), width)
    top = int(numbers[2] * (height - window_height + 1))
    left = int(numbers[3] * (width - window_width + 1))
    return top, left, window_height, window_width


def _as_boxes(boxes: Tensor, size: tuple[int, int]) -> tv_tensors.BoundingBoxes:
    return tv_tensors.BoundingBoxes(boxes, format="XYXY", canvas_size=size)


def _areas(boxes: Tensor) -> Tensor:
    return (boxes[:, 2:] - boxes[:, :2]).prod(dim=1)
