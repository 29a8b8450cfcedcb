"""What an attribution is."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from inspect import isabstract
from typing import ClassVar

import torch
from torch import Tensor, nn

from guidance.attribution.forward_pass import ForwardPass, run_model
from guidance.attribution.layers import find_layer
from guidance.errors import InputError
from guidance.models.dynamic_factors import is_explained_input


class Attributor(ABC):
    """Attribution maps: which positions of a layer speak for a class.

    A map is signed: positive where the layer speaks for the class, negative where against. One forward
    pass serves classification and attribution::

        forward = attributor.forward(model, images)
        maps = attributor.attribute(forward, classes, create_graph=True)
        loss = classification_loss(forward.logits, labels) + localization_loss(maps, masks)

    Attributes:
        guides: Whether the maps can be differentiated, so that a localization loss can train on them.
        layers: Where the maps are taken.

    Args:
        layer: Where the map is taken; see :func:`guidance.attribution.find_layer`. Several layers are
            explained from one forward pass, for evaluation.

    Raises:
        InputError: If no layer is named, or one twice.
    """

    guides: ClassVar[bool] = True

    def __init__(self, layer: str | Sequence[str]) -> None:
        self.layers = (layer,) if isinstance(layer, str) else tuple(layer)
        if not self.layers or len(set(self.layers)) < len(self.layers):
            raise InputError(f"attributor.layer must name each layer once; got {list(self.layers)}")

    def check(self, model: nn.Module) -> None:
        """Refuse a model that this method does not fit.

        Raises:
            InputError: If the model has no such layer, or the method is not defined for it.
        """
        for layer in self.layers:
            find_layer(model, layer)

    def forward(self, model: nn.Module, images: Tensor) -> ForwardPass:
        """Run the model once and keep what explaining it takes; gradients are enabled.

        Args:
            model: Maps images to logits [N, K].
            images: float [N, 3, H, W].

        Raises:
            InputError: If a layer runs not exactly once, or holds no feature map.
        """
        return run_model(model, images, self.layers)

    def attribute(self, forward: ForwardPass, classes: Tensor, create_graph: bool = False) -> Tensor:
        """Explain one class per image at the one layer.

        Args:
            forward: What :meth:`forward` returned.
            classes: The class to explain, int64 [N].
            create_graph: Keep the graph, so that a loss on the maps can be differentiated. Otherwise the
                maps are constants and the graph of the logits may be freed.

        Returns:
            Signed maps, at least float32, [N, h, w].

        Raises:
            ValueError: If there are several layers.
            InputError: If a graph is wanted of a method that has none.
        """
        if len(self.layers) != 1:
            raise ValueError(
                f"attribute() explains one layer, not {len(self.layers)}: use attribute_layers()"
            )
        return self.attribute_layers(forward, classes, create_graph)[self.layers[0]]

    def attribute_layers(
        self, forward: ForwardPass, classes: Tensor, create_graph: bool = False
    ) -> dict[str, Tensor]:
        """Explain one class per image at every layer.

        Args:
            forward: What :meth:`forward` returned.
            classes: The class to explain, int64 [N].
            create_graph: As in :meth:`attribute`.

        Returns:
            Signed maps, at least float32, [N, h, w] of each layer.

        Raises:
            InputError: If a graph is wanted of a method that has none.
        """
        if create_graph and not self.guides:
            raise InputError(cannot_guide(self))
        with torch.autocast(forward.logits.device.type, enabled=False):
            maps = self.explain(forward, classes, create_graph)
        return dict(zip(self.layers, maps, strict=True))

    @abstractmethod
    def explain(self, forward: ForwardPass, classes: Tensor, create_graph: bool) -> list[Tensor]:
        """Return the maps of each layer, at least float32, [N, h, w]; see :meth:`attribute_layers`."""


class GradientAttributor(Attributor):
    """Maps made of the activation at a layer and the gradient of a logit with respect to it."""

    def explain(self, forward: ForwardPass, classes: Tensor, create_graph: bool) -> list[Tensor]:
        """Explain all images and layers in one backward pass."""
        activations = [forward.activations[layer] for layer in self.layers]
        gradients = self.gradients(forward, classes, create_graph)
        maps = []
        for activation, gradient in zip(activations, gradients, strict=True):
            kept = activation if create_graph and not is_explained_input(activation) else activation.detach()
            maps.append(self.combine(at_least_float32(kept), at_least_float32(gradient)))
        return maps

    def gradients(
        self, forward: ForwardPass, classes: Tensor, create_graph: bool = False
    ) -> tuple[Tensor, ...]:
        """Differentiate one logit per image with respect to the activation at every layer.

        Args:
            forward: What :meth:`forward` returned.
            classes: int64 [N].
            create_graph: As in :meth:`attribute`.

        Returns:
            [N, C, h, w] of each layer, in the order of ``layers``. Of a method that holds dynamic factors
            constant they are the rows of the dynamic linear map, W(a)_k.
        """
        activations = [forward.activations[layer] for layer in self.layers]
        with torch.enable_grad(), self.backward_context():
            target = forward.logits.gather(1, classes[:, None]).sum()
            return torch.autograd.grad(target, activations, create_graph=create_graph)

    def backward_context(self) -> AbstractContextManager[None]:
        """Return the context that the gradient is computed in."""
        return nullcontext()

    @abstractmethod
    def combine(self, activation: Tensor, gradient: Tensor) -> Tensor:
        """Combine activation [N, C, h, w] and gradient [N, C, h, w] into maps [N, h, w]."""


def at_least_float32(x: Tensor) -> Tensor:
    """Return half precision as float32, anything else as it is."""
    return x if x.dtype == torch.float64 else x.float()


def cannot_guide(attributor: Attributor) -> str:
    """Return the message that refuses to guide with an attribution that has no gradient."""
    guiding = {
        cls.__name__
        for cls in _descendants(Attributor.__subclasses__())
        if cls.guides and not isabstract(cls)
    }
    return (
        f"{type(attributor).__name__} cannot guide: its maps have no gradient. It is for evaluation "
        f"(evaluate.py attributor=...); guide with {', '.join(sorted(guiding))}"
    )


def _descendants(classes: Iterable[type[Attributor]]) -> set[type[Attributor]]:
    return {found for cls in classes for found in (cls, *_descendants(cls.__subclasses__()))}
