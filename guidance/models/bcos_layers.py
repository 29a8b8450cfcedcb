"""B-cos convolution and batch norm, whose explanations can be trained; see the module dynamic_factors."""

from math import prod
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.utils import _pair

from guidance.models.batch_moments import batch_moments
from guidance.models.closed_forms import squared_norm, unit_norm
from guidance.models.cosine_scale import cosine_scale
from guidance.models.dynamic_factors import DynamicLinear, dynamic_scale, is_explained_input
from guidance.models.factor_tape import playing, recorded
from guidance.models.linear_maps import average_pool, convolve
from guidance.models.plain_formulas import for_compiler
from guidance.models.transposed_convolution import Pair
from guidance.models.variance_scale import variance_scale


class LinearConv2d(nn.Conv2d):
    """Convolution without a bias that is fast to differentiate twice."""

    def forward(self, x: Tensor) -> Tensor:
        """Map [N, C, H, W] to [N, C', H', W']."""
        return self.apply_filters(x, self.weight)

    def apply_filters(self, x: Tensor, weight: Tensor) -> Tensor:
        """Convolve with a weight in the place of its own."""
        stride, padding, dilation = (cast(Pair, each) for each in (self.stride, self.padding, self.dilation))
        return convolve(x, weight, stride, padding, dilation, self.groups)


class LinearAvgPool2d(nn.AvgPool2d):
    """Average pooling whose explanations are fast to differentiate."""

    def forward(self, x: Tensor) -> Tensor:
        """Map [N, C, H, W] to [N, C, H', W']."""
        kernel, stride, padding = (_pair(each) for each in (self.kernel_size, self.stride, self.padding))
        return average_pool(
            x, kernel, stride, padding, self.ceil_mode, self.count_include_pad, self.divisor_override
        )


class _UnitNormConv2d(LinearConv2d):
    """Convolution whose filters are divided by their norm. Holds the weight under the name ``bcos`` uses."""

    def forward(self, x: Tensor) -> Tensor:
        return self.apply_filters(x, recorded(lambda: unit_norm(self.weight), of_batch=True))


class BcosConv2d(DynamicLinear, nn.Module):
    """B-cos convolution: ``|cos(x, w)|^(B-1) * (w_hat . x)`` at every patch x, for every filter w.

    Böhle et al., "B-cos Networks", CVPR 2022 (arXiv 2205.10268), without MaxOut and output scale (version
    2). State dicts are those of the package ``bcos``: one tensor ``linear.weight``.

    Args:
        in_channels: Channels of the input.
        out_channels: Channels of the output.
        kernel_size: Height and width of the patch, as in ``torch.nn.Conv2d``; so are the next four.
        stride: Stride.
        padding: Zero padding, which takes part in no norm.
        dilation: Dilation.
        groups: Groups; each group's patch has its own norm.
        b: The exponent B >= 1. With 1 the layer is linear.
        bias: Only False is possible; there for builders that pass it.

    Raises:
        ValueError: If ``b`` < 1 or a bias is asked for.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | tuple[int, int] = 1,
        stride: int | tuple[int, int] = 1,
        padding: int | tuple[int, int] = 0,
        dilation: int | tuple[int, int] = 1,
        groups: int = 1,
        b: float = 2,
        bias: bool = False,
    ) -> None:
        super().__init__()
        if b < 1:
            raise ValueError(f"B must be at least 1; got {b}")
        if bias:
            raise ValueError("a B-cos convolution has no bias")
        self.b = b
        self.linear = _UnitNormConv2d(
            in_channels, out_channels, kernel_size, stride, padding, dilation, groups, bias=False
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map [N, C, H, W] to [N, C', H', W']."""
        return cosine_scale(self.linear(x), lambda: self.patch_norms(x), self.b)

    def patch_norms(self, x: Tensor) -> Tensor:
        """Return the Euclidean norm of every patch, stabilised: ``sqrt(sum of squares + 1e-6)``.

        Args:
            x: [N, C, H, W].

        Returns:
            At least float32, [N, 1, H', W'], or [N, C', H', W'] if there are groups.
        """
        conv = self.linear
        if is_explained_input(x):  # no explanation goes through norms
            x = x.detach()
        # Of a view with a dimension of groups torch's compiler would make a copy with channels first.
        if conv.groups == 1:
            squares = squared_norm(x, dim=1)
        else:
            squares = squared_norm(x.unflatten(1, (conv.groups, -1)), dim=2)[:, :, 0]
        kernel, stride, padding = conv.kernel_size, conv.stride, cast("tuple[int, ...]", conv.padding)
        if kernel == (1, 1) and padding == (0, 0):
            sums = squares[:, :, :: stride[0], :: stride[1]]
        elif conv.dilation == (1, 1) and not for_compiler():
            sums = F.avg_pool2d(squares, kernel, stride, padding) * prod(kernel)
        else:
            ones = squares.new_ones(conv.groups, 1, *kernel)
            sums = F.conv2d(squares, ones, None, stride, padding, conv.dilation, conv.groups)
        norm: Tensor = (sums + 1e-6).sqrt()
        of_group = conv.out_channels // conv.groups
        return norm if conv.groups == 1 or of_group == 1 else norm.repeat_interleave(of_group, dim=1)

    def extra_repr(self) -> str:
        """Return B."""
        return f"B={self.b:g}"


class UncenteredBatchNorm2d(DynamicLinear, nn.BatchNorm2d):
    """Batch norm that neither centres nor shifts: ``x / sqrt(var + eps) * weight``.

    Böhle et al., "B-cos Alignment for Inherently Interpretable CNNs and Vision Transformers"
    (arXiv 2306.10898). The variance is the usual one, around the mean; ``1 / sqrt(var + eps)`` is a dynamic
    factor. Without a shift the network stays dynamic linear.

    In training under ``torch.distributed`` the statistics are those of the global batch, so that several
    processes train the same network as one; unlike ``torch.nn.SyncBatchNorm`` it is twice differentiable.

    Buffers (``running_mean`` unused, ``running_var``, biased) are those of the package ``bcos``.

    Args:
        num_features: Channels C.
        eps: Added to the variance.
        momentum: Share of the newest batch in ``running_var``.
    """

    running_var: Tensor
    num_batches_tracked: Tensor

    def __init__(self, num_features: int, eps: float = 1e-5, momentum: float = 0.1) -> None:
        super().__init__(num_features, eps, momentum)
        self.register_parameter("bias", None)

    def forward(self, x: Tensor) -> Tensor:
        """Map [N, C, H, W] to the same shape."""
        self._check_input_dim(x)
        if not self.training or playing() or for_compiler():
            return dynamic_scale(x, recorded(lambda: self._factor(x), of_batch=True))
        scaled, factor, variance = variance_scale(x, self.weight, self.eps)
        self._note(variance)
        recorded(lambda: factor, of_batch=True)
        return scaled

    def _factor(self, x: Tensor) -> Tensor:
        """Return what each channel is multiplied by, [C, 1, 1]; in training, note the batch's variance."""
        variance = self.running_var
        if self.training:
            variance = batch_moments(x).variance
            self._note(variance)
        factor = self.weight.to(variance.dtype) * (variance + self.eps).rsqrt()
        return factor[:, None, None]

    @torch.no_grad()
    def _note(self, variance: Tensor) -> None:
        momentum = self.momentum if self.momentum is not None else 0.1
        self.num_batches_tracked.add_(1)
        self.running_var.lerp_(variance.to(self.running_var.dtype), momentum)
