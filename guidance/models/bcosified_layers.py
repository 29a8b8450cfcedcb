"""Layers of standard networks as B-cos layers, with the weights they have, and biases to be faded out."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from guidance.errors import InputError
from guidance.models.batch_moments import batch_moments
from guidance.models.bcos_layers import BcosConv2d, LinearConv2d, UncenteredBatchNorm2d
from guidance.models.cosine_scale import cosine_scale
from guidance.models.dynamic_factors import DynamicLinear, dynamic_scale


class BcosifiedConv2d(BcosConv2d):
    """B-cos convolution whose filters keep their norm: ``|cos(x, w)|^(B-1) * (w . x)`` at every patch x.

    Arya et al., "B-cosification", NeurIPS 2024 (arXiv 2411.00715). It is :class:`guidance.models.BcosConv2d`
    times ``||w||``; the power is one of the cosine itself, so that raising B turns outputs down and never
    up, with or without a norm behind. ``bias_scale`` times the bias of the given convolution is added.

    With B = 1 and ``bias_scale`` 1 it is the given convolution; with ``bias_scale`` 0 it is a B-cos layer.
    The bias is a constant (a buffer ``bias``, None if there is none), which training does not change.

    State dicts hold ``linear.weight``, and ``bias`` if there is one. A filter of zeros returns the scaled
    bias.

    Args:
        convolution: Its weight and bias are copied. Padded with zeros, by numbers.
        b: The exponent B >= 1.
        bias_scale: What the bias is multiplied by, in [0, 1].

    Raises:
        ValueError: If ``b`` < 1 or the convolution pads otherwise.
    """

    bias: Tensor | None

    def __init__(self, convolution: nn.Conv2d, b: float = 2, bias_scale: float = 0) -> None:
        old = convolution
        if old.padding_mode != "zeros" or isinstance(old.padding, str):
            raise ValueError(f"a B-cos convolution pads with zeros, by numbers of pixels; got {old}")
        geometry = (old.kernel_size, old.stride, old.padding, old.dilation, old.groups)
        # torch's types are wider than what a Conv2d holds.
        super().__init__(old.in_channels, old.out_channels, *geometry, b=b)  # type: ignore[arg-type]
        self.linear = LinearConv2d(old.in_channels, old.out_channels, *geometry, bias=False)  # type: ignore[arg-type,assignment]
        self.linear.weight = nn.Parameter(old.weight.detach().clone())
        self.register_buffer("bias", None if old.bias is None else old.bias.detach().clone())
        self.bias_scale = bias_scale

    def forward(self, x: Tensor) -> Tensor:
        """Map [N, C, H, W] to [N, C', H', W']."""
        out = cosine_scale(self.linear(x), lambda: self.patch_norms(x) * self._filter_norms(), self.b)
        if self.bias is None or self.bias_scale == 0:
            return out
        return out + self.bias_scale * self.bias[:, None, None]

    def _filter_norms(self) -> Tensor:
        """Return the norms of the filters, [C', 1, 1]."""
        # Stabilised under the root: a filter of zeros has a cosine of 0, and finite derivatives.
        squares = self.linear.weight.square().sum((1, 2, 3))
        return (squares + 1e-24).sqrt()[:, None, None]


class BcosifiedBatchNorm2d(UncenteredBatchNorm2d):
    """Batch norm whose mean and shift can be faded out: ``(x - s mean) / sqrt(var + eps) * weight + s bias``.

    With the ``bias_scale`` s = 1 it is the given batch norm, with 0 it is
    :class:`guidance.models.UncenteredBatchNorm2d`. Only the weight is trained: the shift is a constant (a
    buffer ``bias``), and the mean is one of the batch in training and a running one in evaluation. In an
    explanation both are constants, like the variance, also where the mean is the batch's.

    Args:
        norm: Its weight, bias and running statistics are copied; missing ones are 1, 0, 0 and 1.
        bias_scale: s, in [0, 1].
        momentum: Share of the newest batch in the running statistics.
    """

    bias: Tensor  # type: ignore[assignment]
    running_mean: Tensor
    momentum: float

    def __init__(self, norm: nn.BatchNorm2d, bias_scale: float = 0, momentum: float = 0.1) -> None:
        super().__init__(norm.num_features, norm.eps, momentum)
        shift = torch.zeros(norm.num_features)
        del self._parameters["bias"]
        self.register_buffer("bias", shift if norm.bias is None else norm.bias.detach().clone())
        if norm.weight is not None:
            self.weight = nn.Parameter(norm.weight.detach().clone())
        if norm.running_mean is not None and norm.running_var is not None:
            self.running_mean = norm.running_mean.clone()
            self.running_var = norm.running_var.clone()
        self.bias_scale = bias_scale

    def forward(self, x: Tensor) -> Tensor:
        """Map [N, C, H, W] to the same shape."""
        self._check_input_dim(x)
        if self.training:
            variance, mean, _ = batch_moments(x)
            self._note(variance)
            with torch.no_grad():
                self.running_mean.lerp_(mean.to(self.running_mean.dtype), self.momentum)
        else:
            variance, mean = self.running_var, self.running_mean
        factor = self.weight.to(variance.dtype) * (variance + self.eps).rsqrt()
        out = dynamic_scale(x, factor[:, None, None])
        if self.bias_scale == 0:
            return out
        offset = self.bias_scale * (self.bias - mean * factor)
        return out + dynamic_scale(torch.ones_like(offset), offset)[:, None, None]


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


def set_bias_scale(module: nn.Module, scale: float) -> None:
    """Multiply the biases, shifts and means of all converted layers within a module.

    Args:
        module: Changed in place.
        scale: From 1, as the standard network has them, to 0, none.

    Raises:
        InputError: If ``scale`` is not within [0, 1].
    """
    if not 0 <= scale <= 1:
        raise InputError(f"the scale of the biases (model.bias_scale) must be from 0 to 1; got {scale}")
    for child in module.modules():
        if isinstance(child, BcosifiedConv2d | BcosifiedBatchNorm2d):
            child.bias_scale = scale
