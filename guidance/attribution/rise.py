"""RISE."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from guidance.attribution.attributor import at_least_float32
from guidance.attribution.forward_pass import ForwardPass
from guidance.attribution.perturbed import PerturbationAttributor
from guidance.errors import InputError


class RISE(PerturbationAttributor):
    """The mean probability of the class over random masks that show the position.

    Petsiuk et al., "RISE", BMVC 2018 (arXiv 1806.07421): ``1 / (p M) * sum_m f(a * m) * m`` over M masks
    whose every position has the expectation p. A mask is a grid of ones (with probability p) and zeros,
    upsampled bilinearly and cropped at a random offset of less than a cell, as in the paper's released code:
    cells are ``ceil(size / grid)`` wide, the upsampled grid is one cell larger than the map.

    f is the sigmoid of the class logit, as networks here answer for each class by itself (the paper: the
    softmax). Maps are never negative; masked positions are 0, at ``input`` in what the network reads after
    the encoding. Masks depend on ``seed`` and the map's size alone: all images and devices get the same.

    Costs M forward passes per map.

    Args:
        layer: Where the map is taken.
        masks: Number of masks M; the paper has 4000 for VGG-16 and 8000 for ResNet-50.
        grid: Cells along a side.
        probability: The expectation p of a mask.
        seed: Of the masks.
        chunk: The most images in one forward pass.

    Raises:
        InputError: If there is no mask or no cell, or p is not between 0 and 1.
    """

    def __init__(
        self,
        layer: str | Sequence[str] = "input",
        masks: int = 4000,
        grid: int = 7,
        probability: float = 0.5,
        seed: int = 0,
        chunk: int = 64,
    ) -> None:
        super().__init__(layer, chunk)
        for name, value in (("masks", masks), ("grid", grid)):
            if value < 1:
                raise InputError(f"attributor.{name} must be at least 1; got {value}")
        if not 0 < probability < 1:
            raise InputError(f"attributor.probability must lie between 0 and 1; got {probability}")
        self.masks = masks
        self.grid = grid
        self.probability = probability
        self.seed = seed

    def explain_layer(self, forward: ForwardPass, layer: str, classes: Tensor) -> Tensor:
        """Return [N, h, w]."""
        activation = forward.activations[layer]
        size = (activation.shape[-2], activation.shape[-1])
        # Drawn on the CPU, whose generator gives the same numbers whatever the device of the model.
        grids, offsets = self.draw()
        grids = grids.to(activation.device, at_least_float32(activation[:0]).dtype)
        offsets = offsets.to(activation.device)

        def mask(a: Tensor, _: Tensor, index: Tensor) -> Tensor:
            return a * random_masks(grids[index], offsets[index], size)[:, None].to(a.dtype)

        scores = self.changed_logits(forward, layer, classes, self.masks, mask).sigmoid()
        maps = scores.new_zeros(len(scores), *size)
        # The masks are made once more: all of them at once would take M maps of memory.
        for index in torch.arange(self.masks, device=scores.device).split(self.chunk):
            masks = random_masks(grids[index], offsets[index], size).to(scores.dtype)
            maps += torch.einsum("nm,mhw->nhw", scores[:, index], masks)
        return maps / (self.masks * self.probability)

    def draw(self) -> tuple[Tensor, Tensor]:
        """Draw the masks on the CPU: their grids, float32 [M, grid, grid], and offsets, float64 [M, 2].

        Offsets are fractions of a cell, in [0, 1), down and to the right.
        """
        generator = torch.Generator().manual_seed(self.seed)
        values = torch.rand(self.masks, self.grid, self.grid, generator=generator)
        offsets = torch.rand(self.masks, 2, generator=generator, dtype=torch.float64)
        return (values < self.probability).float(), offsets


def random_masks(grids: Tensor, offsets: Tensor, size: tuple[int, int]) -> Tensor:
    """Upsample grids bilinearly by whole cells and crop them to a map.

    Args:
        grids: Floating point, [M, g, g].
        offsets: Where to crop, in fractions of a cell, [M, 2].
        size: (h, w) of the map. A cell has ``ceil(h / g)`` x ``ceil(w / g)`` positions, and the upsampled
            grid, g + 1 cells, is cropped at the offset rounded down to a whole position.

    Returns:
        [M, h, w], of the dtype of ``grids``.
    """
    # Bilinear interpolation is one matrix per side; cropping takes some of its rows.
    rows, columns = (_interpolation(grids, offsets[:, side], size[side]) for side in (0, 1))
    return rows @ grids @ columns.transpose(1, 2)


def _interpolation(grids: Tensor, offset: Tensor, length: int) -> Tensor:
    """Return for each of M grids how its g cells make up the positions along a side, [M, length, g]."""
    cells = grids.shape[-1]
    cell = -(-length // cells)
    identity = torch.eye(cells, dtype=grids.dtype, device=grids.device)
    matrix = F.interpolate(identity[None], size=(cells + 1) * cell, mode="linear")[0].T
    first = (offset * cell).floor().long()
    return matrix[first[:, None] + torch.arange(length, device=grids.device)]
