"""Forward pass and explanations of B-cos networks as programs of ``torch.compile``."""

import logging
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from guidance.attribution.attributor import Attributor
from guidance.attribution.bcos import BcosContributions, linear_but_for_factors
from guidance.attribution.pairs import attribute_pairs
from guidance.attribution.program import Function, Program

log = logging.getLogger(__name__)


class CompiledExplanations:
    """Classifies and explains as an attributor does, by compiled programs; equal up to rounding.

    There is one program for training and one for evaluation, made when first needed, which takes minutes. They
    serve batches of any size. What no program fits (see :meth:`obstacle`) is computed as ever, with one
    warning: results are the same, only the speed is not.

    Args:
        attributor: Makes the maps.
        backend: Of ``torch.compile``.
    """

    def __init__(self, attributor: Attributor, backend: str = "inductor") -> None:
        self._attributor = attributor
        self._backend = backend
        self._programs: dict[Any, Program] = {}
        self._warned: set[str] = set()

    def obstacle(self, model: nn.Module) -> str | None:
        """Return why a model, in its present mode, cannot be compiled with the attributor; None if it can."""
        if type(self._attributor) is not BcosContributions:
            return f"{type(self._attributor).__name__} is not compiled, only attributor=bcos"
        if not linear_but_for_factors(model):
            return (
                "only B-cos networks are compiled that are linear but for their dynamic factors, without dropout "
                "or stochastic depth"
            )
        return None

    def explain(
        self, model: nn.Module, images: Tensor, classes: Sequence[Tensor]
    ) -> tuple[Tensor, list[Tensor]] | None:
        """Classify N images and explain some classes of each, ready to be differentiated.

        Args:
            model: Maps images to logits.
            images: float [N, 3, H, W].
            classes: Each int64 [N], the class to explain in every image; may be empty.

        Returns:
            Logits [N, K], and for each of ``classes`` the signed maps [N, h, w]. None if it cannot be compiled,
            or N is 1.
        """
        if len(images) < 2 or not self._fits(model):
            return None
        program = self._program("explain", self._explain, model, [images, *classes])
        logits, *maps = program(images, *classes)
        return logits, maps

    def attribute_pairs(
        self, model: nn.Module, images: Tensor, pair_images: Tensor, pair_classes: Tensor
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Classify N images and explain P pairs in one pass; see :func:`guidance.attribution.attribute_pairs`."""
        if len(pair_images) == 0 or not self._fits(model):
            return attribute_pairs(self._attributor, model, images, pair_images, pair_classes)
        inputs = [_at_least_two(each) for each in (images, pair_images, pair_classes)]
        with torch.no_grad():
            program = self._program("pairs", self._attribute_pairs, model, inputs)
            logits, *maps = program(*inputs)
        found = {
            layer: of_layer[: len(pair_images)]
            for layer, of_layer in zip(self._attributor.layers, maps, strict=True)
        }
        return logits[: len(images)], found

    def _explain(self, model: nn.Module, images: Tensor, *classes: Tensor) -> list[Tensor]:
        if not classes:
            return [model(images)]
        forward = self._attributor.forward(model, images)
        return [
            forward.logits,
            *(self._attributor.attribute(forward, each, create_graph=True) for each in classes),
        ]

    def _attribute_pairs(
        self, model: nn.Module, images: Tensor, pair_images: Tensor, pair_classes: Tensor
    ) -> list[Tensor]:
        forward = self._attributor.forward(model, images)
        maps = self._attributor.attribute_layers(forward.restrict(pair_images), pair_classes)
        return [forward.logits, *maps.values()]

    def _fits(self, model: nn.Module) -> bool:
        obstacle = self.obstacle(model)
        if obstacle is not None:
            self.warn(obstacle)
        return obstacle is None

    def warn(self, obstacle: str) -> None:
        """Say, once, why nothing is compiled."""
        if obstacle not in self._warned:
            self._warned.add(obstacle)
            log.warning("trainer.compile=true is without effect: %s", obstacle)

    def _program(self, name: str, function: Function, model: nn.Module, inputs: list[Tensor]) -> Program:
        """Return the program for tensors like these, which differ from others in more than their lengths."""
        images = inputs[0]
        device = images.device.type
        autocast = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else None
        training = tuple(module.training for module in model.modules())
        key = (name, len(inputs), images.shape[1:], images.dtype, images.device, autocast, training)
        if key not in self._programs:
            self._programs[key] = Program(function, model, inputs, self._backend)
        return self._programs[key]


def _at_least_two(rows: Tensor) -> Tensor:
    """Repeat a single row: programs are for more."""
    return rows.repeat(2, *[1] * (rows.ndim - 1)) if len(rows) == 1 else rows
