"""Gaussian-smoothed maps of another attribution."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from guidance.attribution.attributor import Attributor
from guidance.attribution.forward_pass import ForwardPass
from guidance.errors import InputError


class Smoothed(Attributor):
    """Maps of another attribution, convolved with a Gaussian.

    Rao et al., "Better Understanding Differences in Attribution Methods via Systematic Evaluations"
    (arXiv 2303.11884): S-IxG and S-IntGrad are smoothed Input x Gradient and Integrated Gradients, with
    kernels of up to 129 positions on images of 224 pixels. It is the signed map that is smoothed, so that
    what speaks for and against the class cancels out within the reach of the kernel.

    The kernel is truncated to its size and sums up to 1; beyond the map there are zeros, so that a map may be
    smaller than the kernel and evidence at the border partly leaves it.

    Args:
        attributor: Makes the maps; each of its layers is smoothed by the same kernel.
        kernel_size: The kernel's side K in positions of the map, odd. With 1 the maps stay as they are.
        sigma: The Gaussian's standard deviation in positions; K / 4 if None.
        layer: Where the maps are taken, the other attribution's too; it need not be said twice.

    Raises:
        InputError: If the kernel has no centre, sigma is not positive, or the layers differ.
    """

    def __init__(
        self,
        attributor: Attributor,
        kernel_size: int,
        sigma: float | None = None,
        layer: str | Sequence[str] | None = None,
    ) -> None:
        super().__init__(attributor.layers if layer is None else layer)
        if self.layers != attributor.layers:
            raise InputError(
                f"attributor.layer={list(self.layers)}, but the maps to be smoothed are taken at "
                f"{list(attributor.layers)}: name the same"
            )
        if kernel_size < 1 or kernel_size % 2 == 0:
            raise InputError(f"attributor.kernel_size must be odd and positive; got {kernel_size}")
        if sigma is not None and not sigma > 0:
            raise InputError(f"attributor.sigma must be positive, or null for K / 4; got {sigma}")
        self.attributor = attributor
        self.kernel_size = kernel_size
        self.sigma = kernel_size / 4 if sigma is None else sigma
        self.guides = attributor.guides  # type: ignore[misc]  # here it is the other's, not the class's

    def check(self, model: nn.Module) -> None:
        """Refuse a model that the other attribution does not fit."""
        self.attributor.check(model)

    def forward(self, model: nn.Module, images: Tensor) -> ForwardPass:
        """Run the model once as the other attribution does."""
        return self.attributor.forward(model, images)

    def explain(self, forward: ForwardPass, classes: Tensor, create_graph: bool) -> list[Tensor]:
        """Smooth the maps of the other attribution."""
        return [self._smooth(maps) for maps in self.attributor.explain(forward, classes, create_graph)]

    def _smooth(self, maps: Tensor) -> Tensor:
        """Convolve maps [N, h, w] with the Gaussian, which is separable: one product per side."""
        height, width = maps.shape[1:]
        return self._convolution(height, maps) @ maps @ self._convolution(width, maps)

    def _convolution(self, size: int, like: Tensor) -> Tensor:
        """Return the symmetric matrix [size, size] that convolves columns with the Gaussian."""
        reach = self.kernel_size // 2
        offsets = torch.arange(max(size, reach + 1), dtype=like.dtype, device=like.device)
        weights = (-0.5 * (offsets / self.sigma).square()).exp() * (offsets <= reach)
        weights = weights / (2 * weights.sum() - weights[0])
        positions = torch.arange(size, device=like.device)
        return weights[(positions[:, None] - positions).abs()]
