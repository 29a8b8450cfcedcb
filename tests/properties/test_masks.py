"""Masks as runs of pixels, in the project's form and in COCO's."""

from typing import Any

import numpy as np
import torch
from hypothesis import strategies as st
from pycocotools import mask as coco_mask
from torch import Tensor

from guidance.data.coco_segmentation import Segmentations, parse_segmentation
from guidance.data.runs import encode_runs, resize_masks, union_runs
from tests.properties import arrays
from tests.properties.for_all import for_all

SIZES = st.tuples(st.integers(1, 9), st.integers(1, 9))


def drawn(*values: Any, size: tuple[int, int]) -> Tensor:
    parsed = [parse_segmentation(value) for value in values]
    assert not any(one.problems for one in parsed)
    return Segmentations(parsed).draw(range(len(parsed)), size)


@for_all(quick=20, thorough=350, masks=arrays.masks(3), seed=arrays.SEEDS)
def test_runs_in_any_order_and_with_copies(masks: Tensor, seed: int) -> None:
    runs, owners = encode_runs(masks)
    size = (masks.shape[1], masks.shape[2])
    order = arrays.order_of(len(runs), seed)
    assert torch.equal(union_runs(runs[order], owners[order], 3, size), masks)
    doubled = union_runs(torch.cat([runs, runs]), torch.cat([owners, owners]), 3, size)
    assert torch.equal(doubled, masks)
    together = union_runs(runs, torch.zeros_like(owners), 1, size)[0]
    assert torch.equal(together, masks.any(dim=0))


@for_all(quick=20, thorough=350, masks=arrays.masks(2), size=SIZES)
def test_resizing_mirrors_and_never_loses_a_mask(masks: Tensor, size: tuple[int, int]) -> None:
    resized = resize_masks(masks, size)
    assert resized.shape == (2, *size)
    assert torch.equal(resized.flatten(1).any(1), masks.flatten(1).any(1))
    assert torch.equal(resize_masks(masks.flip(2), size), resized.flip(2))
    assert torch.equal(resize_masks(masks.flip(1), size), resized.flip(1))
    assert torch.equal(resize_masks(masks.flip(0), size), resized.flip(0))
    assert torch.equal(resize_masks(masks, (masks.shape[1], masks.shape[2])), masks)


@for_all(quick=20, thorough=400, masks=arrays.masks(2))
def test_run_lengths_of_pycocotools_draw_the_mask(masks: Tensor) -> None:
    size = (masks.shape[1], masks.shape[2])
    packed = coco_mask.encode(np.asfortranarray(masks.permute(1, 2, 0).numpy().astype(np.uint8)))
    texts = [{"size": list(size), "counts": one["counts"].decode()} for one in packed]
    for text, mask in zip(texts, masks, strict=True):
        assert torch.equal(drawn(text, size=size), mask)
        down_the_columns = mask.T.flatten().int()
        change = torch.diff(down_the_columns, prepend=torch.zeros(1, dtype=torch.int32)).nonzero()[:, 0]
        ends = torch.cat([change, torch.tensor([mask.numel()])])
        lengths = torch.diff(ends, prepend=torch.zeros(1, dtype=torch.int64)).tolist()
        assert torch.equal(drawn({"size": list(size), "counts": lengths}, size=size), mask)
    assert torch.equal(drawn(*texts, size=size), masks.any(dim=0))


CORNERS = st.integers(-40, 400).map(lambda tenths: tenths / 10)


@for_all(
    quick=20,
    thorough=400,
    polygons=st.lists(
        st.integers(3, 6).flatmap(lambda n: st.lists(CORNERS, min_size=2 * n, max_size=2 * n)),
        min_size=1,
        max_size=3,
    ),
)
def test_polygons_are_filled_as_pycocotools_does(polygons: list[list[float]]) -> None:
    size = (25, 30)
    expected = coco_mask.decode(coco_mask.merge(coco_mask.frPyObjects(polygons, *size))).astype(bool)
    assert torch.equal(drawn(polygons, size=size), torch.from_numpy(expected))
    assert torch.equal(drawn(*([polygon] for polygon in polygons), size=size), torch.from_numpy(expected))
