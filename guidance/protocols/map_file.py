"""Maps that outlive the process: one array file per layer, a slot for each grid."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.lib.format import open_memmap
from torch import Tensor

from guidance.files import replacing
from guidance.maps import positive_evidence


class MapFile:
    """The positive evidence of the maps of one cell, smaller than the grids, on the disk.

    ``LAYER.npy`` is float32 [G, n * side, n * side], zero where a grid has not been explained yet. No more
    than what is read or written is in memory.

    Args:
        folder: Of the files, named after everything that decides the maps.
        grids: Number of grids G.
        n: Cells along each side.
        side: Positions along each side of a cell. A position holds the mean over its pixels, and no
            position reaches from one cell into another, so that sums over a cell keep their proportions.
    """

    def __init__(self, folder: Path, grids: int, n: int, side: int) -> None:
        self.folder = folder
        self._shape = (grids, n * side, n * side)

    def has(self, layers: Sequence[str]) -> bool:
        """Return whether there is a file for each of the layers."""
        return all(self.path(layer).is_file() for layer in layers)

    def path(self, layer: str) -> Path:
        """Return where the maps of a layer are."""
        return self.folder / f"{layer.replace('/', '-').replace(':', '-')}.npy"

    def write(self, numbers: Sequence[int], maps: Mapping[str, Tensor], size: tuple[int, int]) -> None:
        """Write the maps of some grids, on the disk when this returns.

        Args:
            numbers: Of the M grids.
            maps: Signed, [M, h, w] of each layer.
            size: (H, W) of the grids in pixels.
        """
        for layer, of_layer in maps.items():
            positive = positive_evidence(of_layer.float(), size)
            small = F.adaptive_avg_pool2d(positive[:, None], self._shape[1:])[:, 0]
            array = self._open(layer)
            array[list(numbers)] = small.cpu().numpy()
            array.flush()

    def read(self, layer: str, numbers: Sequence[int]) -> Tensor:
        """Return the maps of some grids, float32 [M, n * side, n * side]."""
        array = np.load(self.path(layer), mmap_mode="r")
        return torch.from_numpy(array[list(numbers)])

    def _open(self, layer: str) -> "np.memmap[tuple[int, ...], np.dtype[np.float32]]":
        path = self.path(layer)
        if not path.is_file():
            with replacing(path) as temporary:
                open_memmap(temporary, mode="w+", dtype=np.float32, shape=self._shape).flush()
        return open_memmap(path, mode="r+")
