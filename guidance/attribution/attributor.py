"""What an attribution is."""

from abc import ABC, abstractmethod
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor, nn

from guidance.attribution.layers import find_layer, forward_with_activation


class Attributor(ABC):
    """Attribution maps from the activation at one layer and the gradient of a logit with respect to it.

    A map is signed: positive where the layer speaks for the class, negative where against. One forward
    pass serves classification and attribution::

        logits, activation = attributor.forward(model, images)
        maps = attributor.attribute(logits, activation, classes, create_graph=True)

    Args:
        layer: Where the map is taken; see :func:`guidance.attribution.find_layer`.
    """

    def __init__(self, layer: str) -> None:
        self.layer = layer

    def check(self, model: nn.Module) -> None:
        """Refuse a model that this method does not fit.

        Raises:
            InputError: If the model has no such layer, or the method is not defined for it.
        """
        find_layer(model, self.layer)

    def forward(self, model: nn.Module, images: Tensor) -> tuple[Tensor, Tensor]:
        """Run the model once; see :func:`guidance.attribution.forward_with_activation`."""
        return forward_with_activation(model, images, self.layer)

    def attribute(
        self, logits: Tensor, activation: Tensor, classes: Tensor, create_graph: bool = False
    ) -> Tensor:
        """Explain one class per image, all images in one backward pass.

        Args:
            logits: [N, K], computed from ``activation``.
            activation: [N, C, h, w].
            classes: The class to explain, int64 [N].
            create_graph: Keep the graph, so that a loss on the maps can be differentiated. Otherwise the
                maps are constants and the graph of the logits is freed.

        Returns:
            Signed maps, at least float32, [N, h, w].
        """
        with torch.enable_grad(), self.backward_context():
            target = logits.gather(1, classes[:, None]).sum()
            (gradient,) = torch.autograd.grad(target, activation, create_graph=create_graph)
        if not create_graph:
            activation = activation.detach()
        with torch.autocast(activation.device.type, enabled=False):
            return self.combine(_at_least_float32(activation), _at_least_float32(gradient))

    def backward_context(self) -> AbstractContextManager[None]:
        """Return the context that the gradient is computed in."""
        return nullcontext()

    @abstractmethod
    def combine(self, activation: Tensor, gradient: Tensor) -> Tensor:
        """Combine activation [N, C, h, w] and gradient [N, C, h, w] into maps [N, h, w]."""


def _at_least_float32(x: Tensor) -> Tensor:
    return x if x.dtype == torch.float64 else x.float()
