"""Layers of standard networks as B-cos layers, with the weights they have."""

import torch.nn.functional as F
from torch import Tensor, nn

from guidance.errors import InputError
from guidance.models.bcos_layers import BcosConv2d, DynamicLinear, cosine_scale, dynamic_scale


class BcosifiedConv2d(BcosConv2d):
    """B-cos convolution whose filters keep their norm: ``|cos(x, w)|^(B-1) * (w . x)`` at every patch x.

    Arya et al., "B-cosification", NeurIPS 2024 (arXiv 2411.00715): with B = 1 it is the given convolution
    without its bias. It is :class:`guidance.models.BcosConv2d` times ``||w||``; the power is one of the
    cosine itself, so that raising B turns outputs down and never up, with or without a norm behind.

    State dicts hold one tensor ``linear.weight``. A filter of zeros returns zeros.

    Args:
        convolution: Its weight is copied, its bias left out. Padded with zeros, by numbers.
        b: The exponent B >= 1.

    Raises:
        ValueError: If ``b`` < 1 or the convolution pads otherwise.
    """

    def __init__(self, convolution: nn.Conv2d, b: float = 2) -> None:
        old = convolution
        if old.padding_mode != "zeros" or isinstance(old.padding, str):
            raise ValueError(f"a B-cos convolution pads with zeros, by numbers of pixels; got {old}")
        geometry = (old.kernel_size, old.stride, old.padding, old.dilation, old.groups)
        # torch's types are wider than what a Conv2d holds.
        super().__init__(old.in_channels, old.out_channels, *geometry, b=b)  # type: ignore[arg-type]
        self.linear = nn.Conv2d(old.in_channels, old.out_channels, *geometry, bias=False)  # type: ignore[arg-type,assignment]
        self.linear.weight = nn.Parameter(old.weight.detach().clone())

    def forward(self, x: Tensor) -> Tensor:
        """Map [N, C, H, W] to [N, C', H', W']."""
        out: Tensor = self.linear(x)
        if self.b == 1:
            return out
        # Stabilised under the root: a filter of zeros has a cosine of 0, and finite derivatives.
        filters = (self.linear.weight.square().sum((1, 2, 3)) + 1e-24).sqrt()
        return cosine_scale(out, self.patch_norms(x) * filters[:, None, None], self.b)


class DynamicReLU6(DynamicLinear, nn.Module):
    """``min(max(x, 0), 6)`` as ``x`` times a dynamic factor: 0 below 0, 1 up to 6, ``6 / x`` above.

    The derivative of ``torch.nn.ReLU6`` is 0 above 6, as if the output were a bias; the explanation has to
    account for it. Outputs and true derivatives are those of ``torch.nn.ReLU6``.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Map any shape to the same shape, in [0, 6]."""
        positive = F.relu(x)
        return dynamic_scale(positive, 6 / positive.clamp(min=6))


def set_exponent(module: nn.Module, b: float) -> None:
    """Give all B-cos convolutions within a module the exponent B.

    Args:
        module: Changed in place.
        b: B >= 1.

    Raises:
        InputError: If ``b`` < 1.
    """
    if not b >= 1:
        raise InputError(f"the exponent B (model.b) must be at least 1; got {b}")
    for child in module.modules():
        if isinstance(child, BcosConv2d):
            child.b = b
