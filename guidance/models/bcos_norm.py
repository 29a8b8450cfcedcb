"""Norms of single images and tokens for B-cos networks: centred, without a bias.

Each computes ``(x - mean) / sqrt(var + eps) * weight``; they differ in what mean and variance are taken
over. Centring is linear, and ``1 / sqrt(var + eps)`` is a dynamic factor, so the network stays dynamic
linear; a bias would add to the logits what no input has contributed. See "B-cos Alignment for Inherently
Interpretable CNNs and Vision Transformers" (arXiv 2306.10898). For batch norm see
:class:`guidance.models.UncenteredBatchNorm2d`.
"""

import torch
from torch import Tensor, nn

from guidance.models.dynamic_factors import DynamicLinear, dynamic_scale, of_each_image
from guidance.models.factor_tape import recorded


class _BiasFreeNorm(DynamicLinear, nn.Module):
    """Norm with one weight per channel. The state dict is that of ``bcos``: one tensor ``weight``."""

    def __init__(self, num_features: int, eps: float = 1e-5) -> None:
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(num_features))

    def _normalize(self, x: Tensor, dimensions: tuple[int, ...], weight: Tensor) -> Tensor:
        x = x if x.dtype == torch.float64 else x.float()
        variance, mean = torch.var_mean(x, dim=dimensions, unbiased=False, keepdim=True)
        normalized = dynamic_scale(x - mean, recorded(lambda: (variance + self.eps).rsqrt()))
        return normalized * of_each_image(weight, x)

    def extra_repr(self) -> str:
        """Return the number of channels and eps."""
        return f"{len(self.weight)}, eps={self.eps:g}"


class BiasFreeLayerNorm(_BiasFreeNorm):
    """Layer norm of every token over its C channels (Ba et al., arXiv 1607.06450), without a bias.

    A token of equal channels becomes zeros.

    Args:
        num_features: Channels C.
        eps: Added to the variance.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Map [..., C] to the same shape, at least float32."""
        return self._normalize(x, (-1,), self.weight)


class BiasFreePositionNorm2d(_BiasFreeNorm):
    """Layer norm of every position of a feature map over its C channels, without a bias.

    The norm ``pn`` of the B-cos ConvNeXts; Li et al., "Positional Normalization", NeurIPS 2019, has the
    statistics. A position of equal channels becomes zeros.

    Args:
        num_features: Channels C.
        eps: Added to the variance.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Map [N, C, H, W] to the same shape, at least float32."""
        return self._normalize(x, (1,), self.weight[:, None, None])


class BiasFreeImageNorm2d(_BiasFreeNorm):
    """Layer norm of every image over channels and positions, without a bias.

    Group norm with a single group (Wu and He, ECCV 2018), in the stem of the B-cos ViT-C. Since it subtracts
    the mean of the whole image, every position takes part in the explanation of every other. An image of
    equal values becomes zeros.

    Args:
        num_features: Channels C.
        eps: Added to the variance.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Map [N, C, H, W] to the same shape, at least float32."""
        return self._normalize(x, (1, 2, 3), self.weight[:, None, None])
