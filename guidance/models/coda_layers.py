"""Dynamic alignment units, the layers of CoDA networks."""

from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from guidance.errors import unknown_name
from guidance.models.dynamic_factors import DynamicLinear, dynamic_matmul, dynamic_scale

Nonlinearity = Literal["l2", "squash"]


class DynamicAlignmentConv2d(DynamicLinear, nn.Module):
    """Convolution of dynamic alignment units: ``g(A B x + b) . x`` at every patch x, for every unit (A, b).

    Böhle, Fritz and Schiele, "Convolutional Dynamic Alignment Networks", CVPR 2021 (arXiv 2104.00032). The
    weights ``w(x) = A B x + b`` are computed from the patch itself through a bottleneck of R dimensions,
    whose matrix B all units share. g bounds their norm by 1,

    * ``l2``: ``g(w) = w / ||w||``,
    * ``squash``: ``g(w) = ||w||^2 / (1 + ||w||^2) * w / ||w||``,

    so a unit's output is at most ``||x||``, which it approaches only if its weights align with the patch. The
    weights are a dynamic factor: explanations hold them constant, a loss on explanations trains them.

    The weights are never formed: with ``h = [B x, 1]`` and the columns ``A_b = [A, b]``, ``w . x`` is
    ``h . (A_b^T x)``, and ``||w||^2`` is ``h^T (A_b^T A_b) h``. So the largest tensors hold R + 1 numbers per
    unit and position, not one per weight of the patch (C * height * width); those of ``||w||`` are not kept
    but computed again in the backward pass.

    Where A B x and b cancel, rounding could break the bound; so ``||w||^2`` has the rounding error of its
    summands added. A patch of zeros returns zeros, and so do units whose parameters are all zero.

    Args:
        in_channels: Channels C of the input.
        out_channels: Number of units.
        kernel_size: Height and width of the square patch.
        stride: Stride.
        padding: Zero padding; zeros add nothing to a patch, but their weights count in ``||w||``.
        rank: R, the dimensions of the bottleneck.
        nonlinearity: g.

    Raises:
        InputError: If there is no such nonlinearity.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int = 1,
        stride: int = 1,
        padding: int = 0,
        rank: int = 32,
        nonlinearity: Nonlinearity = "squash",
    ) -> None:
        super().__init__()
        if nonlinearity not in get_args(Nonlinearity):
            raise unknown_name("model.nonlinearity", nonlinearity, get_args(Nonlinearity))
        self.nonlinearity = nonlinearity
        self.projection = nn.Conv2d(in_channels, rank, kernel_size, stride, padding, bias=False)
        sides = (kernel_size, kernel_size)
        self.expansion = nn.Parameter(torch.empty(out_channels, rank * in_channels, *sides))
        self.offset = nn.Parameter(torch.empty(out_channels, in_channels, *sides))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw A, B and b uniformly, each within 1 / sqrt(number of inputs), as for linear maps in torch."""
        self.projection.reset_parameters()
        bound = self.projection.out_channels**-0.5
        nn.init.uniform_(self.expansion, -bound, bound)
        nn.init.uniform_(self.offset, -bound, bound)

    def forward(self, x: Tensor) -> Tensor:
        """Map [N, C, H, W] to [N, C', H', W']."""
        conv = self.projection
        h = F.pad(conv(x).permute(0, 2, 3, 1), (0, 1), value=1.0)  # [N, H', W', R + 1]
        columns = torch.cat([self.expansion.unflatten(1, (-1, x.shape[1])), self.offset.unsqueeze(1)], dim=1)
        filters = columns.transpose(0, 1).flatten(0, 1)  # [(R + 1) * C', C, height, width]
        aligned = F.conv2d(x, filters, None, conv.stride, conv.padding).permute(0, 2, 3, 1)
        aligned = aligned.unflatten(-1, (h.shape[-1], -1))  # [N, H', W', R + 1, C']
        out = dynamic_matmul(h.unsqueeze(-2), aligned).squeeze(-2)
        # What this takes is as large as `aligned`, and cheaper: computed again, not kept.
        rescaling: Tensor = checkpoint(
            self._rescaling, h, columns.flatten(2), use_reentrant=False, preserve_rng_state=False
        )
        return dynamic_scale(out, rescaling).permute(0, 3, 1, 2)

    def _rescaling(self, h: Tensor, columns: Tensor) -> Tensor:
        """Return ``||g(w)|| / ||w||`` at least float32, [N, H', W', C'].

        Args:
            h: [N, H', W', R + 1].
            columns: [C', R + 1, D], D being the number of weights of a patch.
        """
        with torch.autocast(h.device.type, enabled=False):
            h = h if h.dtype == torch.float64 else h.float()
            columns = columns.to(h.dtype)
            gram = columns @ columns.mT
            rounding = 4 * torch.finfo(h.dtype).eps * gram.diagonal(dim1=1, dim2=2).sum(1)
            gram = gram + rounding[:, None, None] * torch.eye(h.shape[-1], dtype=h.dtype, device=h.device)
            product = (h @ gram.permute(1, 2, 0).flatten(1)).unflatten(-1, (h.shape[-1], -1))
            # The constant keeps all derivatives finite where the weights are zero.
            squares: Tensor = (h.unsqueeze(-2) @ product).squeeze(-2).clamp(min=0) + 1e-12
            if self.nonlinearity == "l2":
                return squares.rsqrt()
            return squares.sqrt() / (1 + squares)

    def extra_repr(self) -> str:
        """Return the shape of the units and g."""
        return f"units={len(self.offset)}, nonlinearity={self.nonlinearity}"
