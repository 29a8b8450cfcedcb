"""Guided backpropagation."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from guidance.attribution.forward_pass import ForwardPass
from guidance.attribution.gradient import Gradient
from guidance.errors import InputError
from guidance.models.dynamic_factors import explaining, explanation_backward


class GuidedBackprop(Gradient):
    """The gradient summed over channels, where every ReLU lets only what is positive flow back.

    Springenberg et al., "Striving for Simplicity", ICLR 2015 workshop (arXiv 1412.6806), at any layer: the
    ReLUs after the layer are guided. The classification loss, in the same graph, has the true gradients, and
    so has the loss of the maps: only the backward pass that makes the maps is guided.

    Guided are ``torch.nn.ReLU`` and ``ReLU6`` and their functions in ``torch`` and ``torch.nn.functional``,
    in place or not. Other activations keep their gradient.

    Args:
        layer: Where the map is taken.
    """

    def __init__(self, layer: str | Sequence[str] = "input") -> None:
        super().__init__(layer)

    def check(self, model: nn.Module) -> None:
        """Refuse a model without ReLU modules.

        That a network calls ReLU as a function shows only when it runs, so one that does nothing else is
        refused too.

        Raises:
            InputError: If it has none, or has no such layer.
        """
        super().check(model)
        if not any(isinstance(module, nn.ReLU | nn.ReLU6) for module in model.modules()):
            raise InputError(
                "attributor=guided_backprop guides ReLUs, and this model has no module torch.nn.ReLU or "
                "ReLU6: use attributor=gradient or attributor=integrated_gradients"
            )

    def forward(self, model: nn.Module, images: Tensor) -> ForwardPass:
        """Run the model once, ready to be explained; see :meth:`Attributor.forward`."""
        with _GuideReLUs():
            return super().forward(model, images)

    def backward_context(self) -> AbstractContextManager[None]:
        """Guide the ReLUs."""
        return explanation_backward()


_RELUS = {F.relu, F.relu_, F.relu6, torch.relu, torch.relu_, Tensor.relu, Tensor.relu_}


class _GuideReLUs(TorchFunctionMode):
    """Makes the output of every ReLU clamp its gradient while an explanation is computed."""

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Call a function of torch."""
        output = func(*args, **(kwargs or {}))
        if func not in _RELUS and not (func is F.hardtanh and _is_relu6(*args[1:], **(kwargs or {}))):
            return output
        if not output.requires_grad:
            return output
        output.register_hook(lambda gradient: gradient.clamp(min=0) if explaining() else gradient)
        # A layer may be explained at this very output. Its gradient is that of what comes after the ReLU, not
        # yet clamped, so the hook must sit on another tensor than the one that is explained.
        return output.view_as(output)


def _is_relu6(min_val: float = -1.0, max_val: float = 1.0, inplace: bool = False) -> bool:
    """Return whether ``hardtanh`` with these arguments is a ReLU with an upper bound, as in nn.ReLU6."""
    return min_val == 0
