"""One forward pass, kept together with all that explaining its logits takes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from guidance.attribution.layers import KeepActivation, find_layer


@dataclass(frozen=True)
class ForwardPass:
    """The logits of N images and the activations that they were computed from.

    Attributes:
        logits: [N, K].
        activations: Of each layer asked for, [N, C, h, w]; gradients reach them from the logits.
        model: The model that ran.
        images: What it ran on, [N, 3, H, W].
    """

    logits: Tensor
    activations: Mapping[str, Tensor]
    model: nn.Module
    images: Tensor

    def run_from(self, layer: str, activation: Tensor) -> Tensor:
        """Run the model again from a layer on, with another activation there.

        Args:
            layer: One of those in ``activations``.
            activation: [R * N, C, h, w] for a whole number R: what the layer is to hold, for all images R
                times over (image 0 to N - 1, then again from 0).

        Returns:
            Logits [R * N, K], computed from ``activation``; what comes before the layer is in no graph.
        """
        repeats = len(activation) // len(self.images)
        images = self.images.detach().repeat(repeats, 1, 1, 1)
        return run_model(self.model, images, (layer,), {layer: activation}).logits


def run_model(
    model: nn.Module,
    images: Tensor,
    layers: Sequence[str],
    replaced: Mapping[str, Tensor] | None = None,
) -> ForwardPass:
    """Run a model once and keep the activations at some layers, ready to be differentiated.

    Args:
        model: Maps images to logits.
        images: float [N, 3, H, W].
        layers: See :func:`guidance.attribution.find_layer`.
        replaced: Activations to put in place of what some of the layers hold.

    Returns:
        The pass. Gradients are enabled from the first layer on, whatever the caller's setting; if it is
        replaced, what comes before it is not in the graph.

    Raises:
        InputError: If there is no such layer, it runs not exactly once, or it holds no feature map.
    """
    keepers = {layer: KeepActivation(model, layer, images, (replaced or {}).get(layer)) for layer in layers}
    handles = []
    try:
        for layer, keep in keepers.items():
            module, of_input = find_layer(model, layer)
            if of_input:
                hook = module.register_forward_pre_hook(lambda _, args, keep=keep: (keep(args[0]), *args[1:]))
            else:
                hook = module.register_forward_hook(lambda _, __, output, keep=keep: keep(output))
            handles.append(hook)
        # A layer that is replaced switches gradients on when it is reached.
        with torch.set_grad_enabled(not replaced):
            logits: Tensor = model(images)
    finally:
        for handle in handles:
            handle.remove()
    return ForwardPass(logits, {layer: keep.kept() for layer, keep in keepers.items()}, model, images)
