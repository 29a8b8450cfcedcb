"""One forward pass, kept together with all that explaining its logits takes."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from guidance.attribution.layers import KeepActivation, find_layer
from guidance.models.dynamic_factors import explained_input, is_explained_input
from guidance.models.factor_tape import FactorTape


@dataclass(frozen=True)
class ForwardPass:
    """The logits of N images and the activations that they were computed from.

    Attributes:
        logits: [N, K].
        activations: Of each layer asked for, [N, C, h, w]; gradients reach them from the logits.
        model: The model that ran.
        images: What it ran on, [N, 3, H, W].
        tape: The dynamic factors of a B-cos network, if :meth:`restrict` may use them.
    """

    logits: Tensor
    activations: Mapping[str, Tensor]
    model: nn.Module
    images: Tensor
    tape: FactorTape | None = None

    def restrict(self, rows: Tensor | slice) -> "ForwardPass":
        """Return a pass of some of the images, ready for B-cos explanations, without running the model again.

        Explaining it costs a backward pass of these images alone, however many the batch has, also where
        images depend on each other by the statistics of their batch: to an explanation these are constants.
        A loss on the maps reaches activations, parameters and statistics through this pass.

        Args:
            rows: Positions in the batch, also repeated ones, int64 [P], or a slice.

        Returns:
            A pass whose activations are those of the images and whose logits have their gradients within
            :func:`guidance.models.explanation_backward`, but no meaning of their own.

        Raises:
            ValueError: If there is no tape.
        """
        if self.tape is None:
            raise ValueError("only the pass of a B-cos network that was recorded can be restricted")
        activations = {layer: _rows(activation, rows) for layer, activation in self.activations.items()}
        # What comes before the first layer has no gradient and no meaning: one image will do, where nothing
        # of it passes by the layer. The named layers hold all that goes on.
        named = set(activations) <= set(getattr(self.model, "layers", {}))
        images = self.images[:1] if named else self.images[rows]
        with self.tape.play(rows):
            return run_model(self.model, images, tuple(activations), activations)

    def run_from(self, layer: str, activation: Tensor, create_graph: bool = False) -> Tensor:
        """Run the model again from a layer on, with another activation there, in evaluation mode.

        Evaluation mode, whatever the model's: batch norm goes by its running statistics and leaves them as
        they are, dropout is off. So no activation changes what another gives, however they are batched.

        Args:
            layer: One of those in ``activations``.
            activation: [R * N, C, h, w] for a whole number R: what the layer is to hold, for all images R
                times over (image 0 to N - 1, then again from 0). Cast to the type of the images.
            create_graph: Whether what reaches the logits around the layer (over a skip connection, or in
                tokens that are not of the image) is differentiated too, so that a loss of what these logits
                give trains all parameters. Otherwise what comes before the layer is in no graph.

        Returns:
            Logits [R * N, K], computed from ``activation``.
        """
        repeats = len(activation) // max(1, len(self.images))
        images = self.images.detach().repeat(repeats, 1, 1, 1)
        with torch.enable_grad():
            replaced = {layer: activation.to(images.dtype)}
        with evaluation_mode(self.model):
            return run_model(self.model, images, (layer,), replaced, create_graph).logits


def _rows(activation: Tensor, rows: Tensor | slice) -> Tensor:
    if not is_explained_input(activation):
        return activation[rows]
    return explained_input(activation.detach()[rows].requires_grad_())


@contextmanager
def evaluation_mode(model: nn.Module) -> Iterator[None]:
    """Put a model into evaluation mode, and afterwards each of its modules back into its own."""
    training = [module for module in model.modules() if module.training]
    for module in training:
        module.training = False
    try:
        yield
    finally:
        for module in training:
            module.training = True


def run_model(
    model: nn.Module,
    images: Tensor,
    layers: Sequence[str],
    replaced: Mapping[str, Tensor] | None = None,
    create_graph: bool = False,
    tape: FactorTape | None = None,
    explanations_alone: bool = False,
) -> ForwardPass:
    """Run a model once and keep the activations at some layers, ready to be differentiated twice.

    Attention is computed by plain matrix products, because its fused kernels cannot be differentiated twice.

    Args:
        model: Maps images to logits.
        images: float [N, 3, H, W].
        layers: See :func:`guidance.attribution.find_layer`.
        replaced: Activations to put in place of what some of the layers hold.
        create_graph: With ``replaced``, whether what comes before the first layer is in the graph.
        tape: Records the dynamic factors.
        explanations_alone: Whether the activations are differentiated with respect to within
            :func:`guidance.models.explanation_backward` alone, so that no other backward pass needs to reach
            one that no parameter comes before, such as the image.

    Returns:
        The pass. Gradients are enabled from the first layer on, whatever the caller's setting, and before it
        too unless something is ``replaced``.

    Raises:
        InputError: If there is no such layer, it runs not exactly once, or it holds no feature map.
    """
    keepers = {
        layer: KeepActivation(model, layer, images, (replaced or {}).get(layer), explanations_alone)
        for layer in layers
    }
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
        recording = tape.record() if tape is not None else nullcontext()
        with recording, sdpa_kernel(SDPBackend.MATH), torch.set_grad_enabled(create_graph or not replaced):
            logits: Tensor = model(images)
    finally:
        for handle in handles:
            handle.remove()
    activations = {layer: keep.kept() for layer, keep in keepers.items()}
    return ForwardPass(logits, activations, model, images, tape)
