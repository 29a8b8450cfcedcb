"""Attributions that change an activation and watch the logits; they need no gradient and have none."""

from abc import abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from guidance.attribution.attributor import Attributor, at_least_float32
from guidance.attribution.forward_pass import ForwardPass, evaluation_mode
from guidance.attribution.layers import KeepActivation, find_layer
from guidance.errors import InputError

Change = Callable[[Tensor, Tensor, Tensor], Tensor]
"""Changes a layer: from its activation [R, C, h, w], which image [R] and which change [R] to the new one."""


class PerturbationAttributor(Attributor):
    """Maps made of how the class logit answers to P changes of an activation.

    For evaluation only: P is in the hundreds or thousands, each change costs a forward pass of the image, and
    no graph is kept.

    Args:
        layer: Where the map is taken.
        chunk: The most images in one forward pass, which bounds the memory whatever N and P are.

    Raises:
        InputError: If ``chunk`` < 1.
    """

    guides: ClassVar[bool] = False

    def __init__(self, layer: str | Sequence[str], chunk: int) -> None:
        super().__init__(layer)
        if chunk < 1:
            raise InputError(f"attributor.chunk must be at least 1 image; got {chunk}")
        self.chunk = chunk

    def explain(self, forward: ForwardPass, classes: Tensor, create_graph: bool) -> list[Tensor]:
        """Explain all images, one layer after the other, without a graph."""
        return [self.explain_layer(forward, layer, classes) for layer in self.layers]

    @abstractmethod
    def explain_layer(self, forward: ForwardPass, layer: str, classes: Tensor) -> Tensor:
        """Return the maps of one layer, at least float32, [N, h, w]."""

    def changed_logits(
        self, forward: ForwardPass, layer: str, classes: Tensor, count: int, change: Change
    ) -> Tensor:
        """Run every image with every change of a layer, at most ``chunk`` at a time, without a graph.

        The model runs in evaluation mode, whatever its own: images do not depend on each other, and the
        running statistics of batch norm stay as they are.

        Args:
            forward: The images and the model.
            layer: Which activation is changed; any layer, not only those that are explained.
            classes: int64 [N].
            count: Number of changes P.
            change: Is told the image, 0 to N - 1, and the change, 0 to P - 1, of each activation it gets.

        Returns:
            The class logit of every image under every change, at least float32, [N, P].
        """
        images, logits = forward.images.detach(), []
        for runs in torch.arange(len(images) * count, device=images.device).split(self.chunk):
            image, index = runs // count, runs % count
            of_all = run_changed(forward.model, images[image], layer, change, image, index)
            logits.append(at_least_float32(of_all.gather(1, classes[image, None])[:, 0]))
        return torch.cat(logits).view(len(images), count)

    def unchanged_logits(self, forward: ForwardPass, classes: Tensor) -> Tensor:
        """Return the class logits [N, 1] that :meth:`changed_logits` gives if nothing is changed.

        Those of ``forward`` may come from autocast, whose rounding would drown the changes.
        """
        return self.changed_logits(forward, self.layers[0], classes, 1, lambda activation, *_: activation)


def run_changed(
    model: nn.Module, images: Tensor, layer: str, change: Change, image: Tensor, index: Tensor
) -> Tensor:
    """Return the logits [R, K] of images [R, 3, H, W] with a layer changed on the way, without a graph."""

    def changed(activation: Any) -> Tensor:
        # Keeping an activation switches gradients on, which other attributions need; this context undoes it.
        with torch.no_grad():
            read = KeepActivation(model, layer, images)
            read(activation)
            replacement = change(read.kept().detach(), image, index)
            return KeepActivation(model, layer, images, replacement)(activation)

    module, of_input = find_layer(model, layer)
    if of_input:
        handle = module.register_forward_pre_hook(lambda _, args: (changed(args[0]), *args[1:]))
    else:
        handle = module.register_forward_hook(lambda _, __, output: changed(output))
    try:
        with torch.no_grad(), evaluation_mode(model):
            logits: Tensor = model(images)
    finally:
        handle.remove()
    return logits
