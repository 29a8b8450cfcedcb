"""A teacher: another trained classifier whose maps, and maybe logits, the student is to repeat."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from guidance.attribution import Attributor
from guidance.errors import InputError


@dataclass(frozen=True)
class Lesson:
    """What a teacher says of N images; all constants.

    Attributes:
        logits: [N, K].
        classes: The class of the largest logit, which is explained, int64 [N].
        maps: Its signed map, [N, h, w].
    """

    logits: Tensor
    classes: Tensor
    maps: Tensor


class Teacher:
    """A frozen classifier in evaluation mode and its attributor; no part of the student's weights.

    Explanation-enhanced knowledge distillation (e2KD, arXiv 2402.03119): the student repeats the teacher's
    map of the class that the teacher predicts. With a temperature it learns from the teacher's logits instead
    of from labels.

    Args:
        model: Maps images to logits of the student's classes.
        attributor: Makes the maps.
        temperature: Softens both sides' logits, > 0; None trains on the labels.

    Raises:
        InputError: If the attributor does not fit the model, or the temperature is not positive.
    """

    def __init__(self, model: nn.Module, attributor: Attributor, temperature: float | None = None) -> None:
        attributor.check(model)
        if temperature is not None and not temperature > 0:
            raise InputError(f"loss.teacher.temperature is {temperature}; it must be positive, or null")
        self.model = model.eval().requires_grad_(False)
        self.attributor = attributor
        self.temperature = temperature

    def to(self, like: Tensor) -> None:
        """Move the model to a tensor's device and floating-point type."""
        self.model.to(device=like.device, dtype=like.dtype)

    def teach(self, images: Tensor) -> Lesson:
        """Classify images and explain the predicted classes.

        Args:
            images: float [N, 3, H, W].
        """
        self.to(images)
        forward = self.attributor.forward(self.model, images)
        classes = forward.logits.detach().argmax(dim=1)
        maps = self.attributor.attribute(forward, classes)
        return Lesson(forward.logits.detach(), classes, maps)

    def distillation_loss(self, logits: Tensor, lesson: Lesson) -> Tensor:
        """Compute ``t^2 * BCE(sigmoid(z / t), sigmoid(z_T / t))`` for every image, the mean over classes.

        The multi-label form of Hinton et al. 2015, less the teacher's own entropy, so that it is 0 for equal
        logits.

        Args:
            logits: The student's, [N, K].
            lesson: The teacher's.

        Returns:
            [N], >= 0.

        Raises:
            ValueError: If there is no temperature.
        """
        if self.temperature is None:
            raise ValueError("without a temperature the student learns from labels")
        wide = logits if logits.dtype == torch.float64 else logits.float()
        taught = lesson.logits.to(wide.dtype) / self.temperature
        targets = taught.sigmoid()
        cross = F.binary_cross_entropy_with_logits(wide / self.temperature, targets, reduction="none")
        entropy = F.binary_cross_entropy_with_logits(taught, targets, reduction="none")
        return self.temperature**2 * (cross - entropy).mean(dim=1)
