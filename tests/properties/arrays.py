"""Maps, masks and boxes that hypothesis draws: ties, zeros, tiny and huge values are as likely as others."""

import numpy as np
import torch
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from torch import Tensor

SIDES = st.integers(1, 6)
SEEDS = st.integers(0, 2**31 - 1)

# Scaled by up to 2^20 either way, these neither overflow float32 nor count as empty maps.
_VALUES = st.sampled_from((0.0, 1.0, -1.0, 0.5, 1e-3, -1e3)) | st.floats(-1e3, 1e3, width=32).map(
    lambda value: 0.0 if abs(value) < 1e-4 else value
)


@st.composite
def maps(draw: st.DrawFn, count: st.SearchStrategy[int] | None = None) -> Tensor:
    """Signed maps, float64 [N, h, w], N >= 1 unless ``count`` says otherwise."""
    shape = (draw(st.integers(1, 3) if count is None else count), draw(SIDES), draw(SIDES))
    array = draw(hnp.arrays(np.float64, shape, elements=_VALUES, fill=st.nothing()))
    return torch.from_numpy(array)


@st.composite
def masks(draw: st.DrawFn, count: int, size: tuple[int, int] | None = None) -> Tensor:
    """Masks, bool [count, H, W]; empty and full ones among them."""
    height, width = size or (draw(SIDES), draw(SIDES))
    array = draw(hnp.arrays(np.bool_, (count, height, width), fill=st.nothing()))
    return torch.from_numpy(array)


@st.composite
def maps_and_masks(draw: st.DrawFn) -> tuple[Tensor, Tensor]:
    """As many maps as masks, at sizes of their own."""
    drawn = draw(maps())
    return drawn, draw(masks(len(drawn)))


@st.composite
def boxes(draw: st.DrawFn, size: tuple[int, int], most: int = 5, least: int = 0) -> Tensor:
    """Boxes within an image of ``size`` that hold at least one pixel, int64 [M, 4]."""
    height, width = size
    found = []
    for _ in range(draw(st.integers(least, most))):
        x0, y0 = draw(st.integers(0, width - 1)), draw(st.integers(0, height - 1))
        found.append((x0, y0, draw(st.integers(x0 + 1, width)), draw(st.integers(y0 + 1, height))))
    return torch.tensor(found, dtype=torch.int64).reshape(-1, 4)


def order_of(count: int, seed: int) -> Tensor:
    """A permutation of ``range(count)``."""
    return torch.randperm(count, generator=torch.Generator().manual_seed(seed))
