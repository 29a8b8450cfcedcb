"""Integrated Gradients."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from guidance.attribution.attributor import Attributor, at_least_float32
from guidance.attribution.forward_pass import ForwardPass
from guidance.errors import InputError


class IntegratedGradients(Attributor):
    """``sum_c a_c * integral_0^1 d logit / d a_c (t a) dt`` at every position of a layer's activation a.

    Sundararajan et al., "Axiomatic Attribution for Deep Networks", ICML 2017, equation 1, at any layer, with
    the baseline 0 *at the layer*. At ``input`` that is 0 in what the network reads after the encoding: the
    mean colour of a network that normalises, no colour at all of a B-cos network, where black would be
    [0, 1]. Of a network of tokens those that are not of the image stay as they are.

    The integral is a Gauss-Legendre quadrature. With enough steps the map sums up to ``f(a) - f(0)``
    (completeness), where f is the logit as a function of the layer.

    An activation that mostly layer norms read, as between the blocks of a vision transformer, is better
    explained after the norm (``....ln_1``): before it ``t a`` looks like ``a`` until t is almost 0, where no
    quadrature finds the difference.

    The model runs once more per step, in evaluation mode (see :meth:`ForwardPass.run_from`), even if it is
    being trained: normalised by the statistics of an interpolated batch, ``t a`` would look like ``a`` for
    every t, and the running statistics would be those of images that do not exist. A loss on the maps is
    differentiated through all steps, so training keeps the graph of ``steps`` passes at once.

    Args:
        layer: Where the map is taken. Each further layer costs as many passes again.
        steps: Points of the quadrature.
        chunk: The most steps in one pass, which bounds the memory of maps without a graph: a pass runs
            ``chunk`` times the batch.

    Raises:
        InputError: If ``steps`` or ``chunk`` is less than 1.
    """

    def __init__(self, layer: str | Sequence[str] = "input", steps: int = 20, chunk: int = 1) -> None:
        super().__init__(layer)
        for name, value in {"steps": steps, "chunk": chunk}.items():
            if value < 1:
                raise InputError(f"attributor.{name} must be at least 1; got {value}")
        self.steps = steps
        self.chunk = chunk

    def explain(self, forward: ForwardPass, classes: Tensor, create_graph: bool) -> list[Tensor]:
        """Explain all images, one layer after the other."""
        return [self._explain_layer(forward, layer, classes, create_graph) for layer in self.layers]

    def _explain_layer(self, forward: ForwardPass, layer: str, classes: Tensor, create_graph: bool) -> Tensor:
        kept = forward.activations[layer]
        activation = at_least_float32(kept if create_graph else kept.detach())
        points, weights = np.polynomial.legendre.leggauss(self.steps)
        total = torch.zeros_like(activation)
        for at in np.array_split(np.arange(self.steps), -(-self.steps // self.chunk)):
            gradients = _gradients(forward, layer, classes, activation, (points[at] + 1) / 2, create_graph)
            for weight, gradient in zip(weights[at] / 2, gradients, strict=True):
                total = total + float(weight) * gradient
        return (activation * total).sum(dim=1)


def _gradients(
    forward: ForwardPass,
    layer: str,
    classes: Tensor,
    activation: Tensor,
    fractions: np.ndarray,
    create_graph: bool,
) -> tuple[Tensor, ...]:
    """Return the logits' gradient [N, C, h, w] at each of R fractions of an activation [N, C, h, w]."""
    with torch.enable_grad():
        interpolated = torch.cat([float(t) * activation for t in fractions])
        if not interpolated.requires_grad:
            interpolated.requires_grad_()
        logits = forward.run_from(layer, interpolated, create_graph)
        target = logits.gather(1, classes.repeat(len(fractions))[:, None]).sum()
        (gradients,) = torch.autograd.grad(target, interpolated, create_graph=create_graph)
    return at_least_float32(gradients).chunk(len(fractions))
