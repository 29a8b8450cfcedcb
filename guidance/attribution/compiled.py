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

    There is one program for training and one for evaluation, made when first needed, which takes minutes.
    They serve batches of any size from 2 on.

    Args:
        attributor: Makes the maps.
        backend: Of ``torch.compile``.
    """

    def __init__(self, attributor: Attributor, backend: str = "inductor") -> None:
        self._attributor = attributor
        self._backend = backend
        self._programs: dict[Any, Program] = {}
        self._warned: set[str] = set()

    def fits(self, model: nn.Module) -> bool:
        """Return whether a model, in its present mode, can be compiled with the attributor; if not, say why.

        It has to be a B-cos network that is linear but for its dynamic factors, without dropout or stochastic
        depth, explained by :class:`BcosContributions`.
        """
        if type(self._attributor) is not BcosContributions:
            self.warn(f"{type(self._attributor).__name__} is not compiled, only attributor=bcos")
        elif not linear_but_for_factors(model):
            self.warn(
                "this network is not compiled, only B-cos networks that are linear but for their dynamic "
                "factors, without dropout or stochastic depth"
            )
        else:
            return True
        return False

    def warn(self, obstacle: str) -> None:
        """Say, once, why something is computed as if nothing was to be compiled."""
        if obstacle not in self._warned:
            self._warned.add(obstacle)
            log.warning("trainer.compile=true is without effect: %s", obstacle)

    def explain(
        self, model: nn.Module, images: Tensor, classes: Sequence[Tensor]
    ) -> tuple[Tensor, list[Tensor]]:
        """Classify N images and explain some classes of each, ready to be differentiated.

        Args:
            model: One that :meth:`fits`.
            images: float [N, 3, H, W], N > 1.
            classes: Each int64 [N], the class to explain in every image; may be empty.

        Returns:
            Logits [N, K], and for each of ``classes`` the signed maps, at least float32, [N, h, w].
        """
        program = self._program("explain", self._explain, model, [images, *classes])
        logits, *maps = program(images, *classes)
        return logits, maps

    def attribute_pairs(
        self, model: nn.Module, images: Tensor, pair_images: Tensor, pair_classes: Tensor
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Classify N images and explain P of their (image, class) pairs in one pass.

        Arguments and results are those of :func:`guidance.attribution.attribute_pairs`, which a model that
        does not :meth:`fit <fits>` and a batch without pairs are left to.
        """
        if len(pair_images) == 0 or not self.fits(model):
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
