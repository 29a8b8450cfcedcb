"""A hard sigmoid that can be differentiated twice."""

import torch.nn.functional as F
from torch import Tensor, nn


class HardSigmoid(nn.Module):
    """``min(max(x + 3, 0), 6) / 6``: what ``torch.nn.Hardsigmoid`` is, which has no second derivative.

    It is the gate of the squeeze-and-excitation blocks of MobileNetV3 (arXiv 1905.02244).
    """

    def forward(self, x: Tensor) -> Tensor:
        """Map any shape to the same shape, in [0, 1]."""
        return F.relu6(x + 3) / 6


def replace_hard_sigmoids(network: nn.Module) -> None:
    """Put a :class:`HardSigmoid` in the place of every ``torch.nn.Hardsigmoid``, changing no output."""
    for module in list(network.modules()):
        for name, child in module.named_children():
            if isinstance(child, nn.Hardsigmoid):
                setattr(module, name, HardSigmoid())
