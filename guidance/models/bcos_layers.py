"""Dynamic linear networks whose explanations can be trained, and the B-cos layers.

In a dynamic linear network every layer multiplies a linear map of its input by dynamic factors: powers of
cosines and inverse standard deviations in a B-cos network, whole weight vectors in a CoDA network. Its
explanation W(x) is the gradient of a logit with the factors held constant. To train on it, the loss must
still reach the factors, in the very same graph. So the factors are not detached in the forward pass:
:func:`dynamic_scale` and :func:`dynamic_matmul` leave their gradient out only while
:func:`explanation_backward` is active, that is, in the explanation's own backward pass. One forward pass
then serves the logits, the explanation, and the gradients of both.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from math import prod
from typing import Any, cast

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn
from torch.distributed.nn.functional import all_reduce

_explaining = False


@contextmanager
def explanation_backward() -> Iterator[None]:
    """Hold all dynamic factors constant in the backward passes that run inside this context.

    The setting belongs to the process, not to a thread: autograd runs CUDA backwards in threads of its own.
    """
    global _explaining
    previous, _explaining = _explaining, True
    try:
        yield
    finally:
        _explaining = previous


def explaining() -> bool:
    """Return whether :func:`explanation_backward` is active: for layers with a backward of their own."""
    return _explaining


class DynamicLinear:
    """Marks the layers that are linear but for dynamic factors, which :func:`explanation_backward` holds.

    A network with such layers can be explained by its dynamic linear map.
    """


class _DynamicScale(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, factor: Tensor) -> Tensor:
        ctx.save_for_backward(x, factor)
        return x * factor

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, Tensor | None]:
        x, factor = ctx.saved_tensors
        (gradient,) = gradients
        needs_x, needs_factor = ctx.needs_input_grad
        factor_gradient = None
        if needs_factor and not _explaining:
            factor_gradient = (gradient * x).sum_to_size(factor.shape)
        return (gradient * factor if needs_x else None), factor_gradient


def dynamic_scale(x: Tensor, factor: Tensor) -> Tensor:
    """Multiply by a dynamic factor, which :func:`explanation_backward` treats as a constant.

    Args:
        x: Of any shape, e.g. [N, C, H, W].
        factor: Broadcastable to ``x``.

    Returns:
        ``x * factor``, twice differentiable in both.
    """
    out: Tensor = _DynamicScale.apply(x, factor)
    return out


class _DynamicMatmul(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, factor: Tensor, x: Tensor) -> Tensor:
        ctx.save_for_backward(factor, x)
        return factor @ x

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, Tensor | None]:
        factor, x = ctx.saved_tensors
        (gradient,) = gradients
        needs_factor, needs_x = ctx.needs_input_grad
        factor_gradient = gradient @ x.mT if needs_factor and not _explaining else None
        return factor_gradient, (factor.mT @ gradient if needs_x else None)


def dynamic_matmul(factor: Tensor, x: Tensor) -> Tensor:
    """Multiply by a matrix that :func:`explanation_backward` treats as a constant.

    Args:
        factor: [..., T, S].
        x: [..., S, D], with the same leading dimensions.

    Returns:
        ``factor @ x``, [..., T, D] in the dtype of ``x``, twice differentiable in both.
    """
    out: Tensor = _DynamicMatmul.apply(factor.to(x.dtype), x)
    return out


def cosine_scale(out: Tensor, norm: Tensor, b: float) -> Tensor:
    """Turn the linear map ``out = w_hat . x`` into the B-cos transform ``|cos(x, w)|^(B-1) * out``.

    Böhle et al., CVPR 2022, equation 3; the power of the cosine is a dynamic factor.

    Args:
        out: What filters of norm 1 return.
        norm: Positive norms of the filters' inputs x, broadcastable to ``out``.
        b: The exponent B. With 1 the layer is linear.

    Returns:
        Of the shape of ``out``, twice differentiable.
    """
    if b == 1:
        return out
    if b == 2:
        return dynamic_scale(out, out.abs() / norm)
    return dynamic_scale(out, ((out / norm).abs() + 1e-6).pow(b - 1))


class _UnitNormConv2d(nn.Conv2d):
    """Convolution whose filters are divided by their norm. Holds the weight under the name ``bcos`` uses."""

    def forward(self, x: Tensor) -> Tensor:
        norm = torch.linalg.vector_norm(self.weight, dim=(1, 2, 3), keepdim=True)
        out: Tensor = self._conv_forward(x, self.weight / norm, None)
        return out


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
        out: Tensor = self.linear(x)
        return out if self.b == 1 else cosine_scale(out, self.patch_norms(x), self.b)

    def patch_norms(self, x: Tensor) -> Tensor:
        """Return the Euclidean norm of every patch, stabilised: ``sqrt(sum of squares + 1e-6)``.

        Args:
            x: [N, C, H, W].

        Returns:
            At least float32, [N, 1, H', W'], or [N, C', H', W'] if there are groups.
        """
        conv = self.linear
        squares = (x if x.dtype == torch.float64 else x.float()).square()
        squares = squares.unflatten(1, (conv.groups, -1)).sum(2)
        kernel, stride, padding = conv.kernel_size, conv.stride, cast("tuple[int, ...]", conv.padding)
        if kernel == (1, 1) and padding == (0, 0):
            sums = squares[:, :, :: stride[0], :: stride[1]]
        elif conv.dilation == (1, 1):
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
        if self.training:
            variance, _ = batch_moments(x)
            momentum = self.momentum if self.momentum is not None else 0.1
            with torch.no_grad():
                self.num_batches_tracked.add_(1)
                self.running_var.lerp_(variance.to(self.running_var.dtype), momentum)
        else:
            variance = self.running_var
        factor = self.weight.to(variance.dtype) * (variance + self.eps).rsqrt()
        return dynamic_scale(x, factor[:, None, None])


def batch_moments(x: Tensor) -> tuple[Tensor, Tensor]:
    """Return the biased variance and the mean per channel over the batch of all processes.

    Args:
        x: [N, C, H, W].

    Returns:
        Both [C], at least float32.
    """
    x = x if x.dtype == torch.float64 else x.float()
    variance, mean = torch.var_mean(x, dim=(0, 2, 3), unbiased=False)
    if not (dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1):
        return variance, mean
    count = torch.full_like(mean[:1], x.numel() / x.shape[1])
    # Per process: [count, sum, sum of squared deviations from its own mean]. Two rounds keep the global
    # variance free of the cancellation that E[x^2] - E[x]^2 would bring.
    sums: Tensor = all_reduce(torch.cat([count, mean * count]))
    total, global_mean = sums[:1], sums[1:] / sums[:1]
    deviations: Tensor = all_reduce((variance + (mean - global_mean).square()) * count)
    return deviations / total, global_mean
