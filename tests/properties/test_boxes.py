"""Boxes: clipped, rescaled, dilated and united in whatever order, and mirrored with their image."""

import math
from typing import Any

import torch
from hypothesis import strategies as st
from torch import Tensor

from guidance.data.boxes import clip_box, dilate_boxes, rescale_boxes, union_masks
from tests.properties import arrays
from tests.properties.for_all import for_all

COORDINATES = st.sampled_from((0.0, -1.0, 5.0, 7.5, 1e9, math.nan, math.inf, -math.inf)) | st.floats(
    -10, 50, allow_nan=False
)
SIZES = st.tuples(st.integers(1, 40), st.integers(1, 40))


@st.composite
def boxes_and_size(draw: st.DrawFn) -> tuple[Tensor, tuple[int, int]]:
    size = draw(SIZES)
    return draw(arrays.boxes(size)), size


def drawn(boxes: Tensor, size: tuple[int, int]) -> Tensor:
    """The union of all boxes, bool [H, W]."""
    return union_masks(boxes, torch.zeros(len(boxes), dtype=torch.int64), 1, size)[0]


def mirrored(boxes: Tensor, width: int) -> Tensor:
    x0, y0, x1, y1 = boxes.unbind(1)
    return torch.stack([width - x1, y0, width - x0, y1], dim=1)


@for_all(quick=40, thorough=450, box=st.tuples(*[COORDINATES] * 4), size=SIZES)
def test_a_clipped_box_lies_in_the_image_and_in_the_box(
    box: tuple[float, float, float, float], size: tuple[int, int]
) -> None:
    inside, wrong = clip_box(box, size)
    if inside is None:
        assert wrong
        return
    assert bool(wrong) == (inside != box)
    x0, y0, x1, y1 = inside
    assert 0 <= x0 < x1 <= size[1]
    assert 0 <= y0 < y1 <= size[0]
    assert box[0] <= x0
    assert box[1] <= y0
    assert x1 <= box[2]
    assert y1 <= box[3]
    assert clip_box(inside, size) == (inside, "")


@for_all(quick=20, thorough=300, drawing=boxes_and_size(), seed=arrays.SEEDS)
def test_a_union_is_that_of_any_order_with_copies_and_with_boxes_in_pieces(
    drawing: tuple[Tensor, tuple[int, int]], seed: int
) -> None:
    boxes, size = drawing
    whole = drawn(boxes, size)
    expected = torch.zeros(size, dtype=torch.bool)
    for x0, y0, x1, y1 in boxes.tolist():
        expected[y0:y1, x0:x1] = True
    assert torch.equal(whole, expected)
    assert torch.equal(drawn(boxes[arrays.order_of(len(boxes), seed)], size), whole)
    assert torch.equal(drawn(torch.cat([boxes, boxes[:1]]), size), whole)
    left, right = boxes.clone(), boxes.clone()
    left[:, 2] = right[:, 0] = (boxes[:, 0] + boxes[:, 2]) // 2
    assert torch.equal(drawn(torch.cat([left, right]), size), whole)
    assert torch.equal(drawn(mirrored(boxes, size[1]), size), whole.flip(1))
    assert torch.equal(drawn(boxes[:, [1, 0, 3, 2]], (size[1], size[0])), whole.T)


@for_all(quick=20, thorough=300, drawing=boxes_and_size(), owners=st.integers(1, 4), seed=arrays.SEEDS)
def test_each_owner_has_the_union_of_its_own_boxes(
    drawing: tuple[Tensor, tuple[int, int]], owners: int, seed: int
) -> None:
    boxes, size = drawing
    owner = torch.randint(owners, (len(boxes),), generator=torch.Generator().manual_seed(seed))
    masks = union_masks(boxes, owner, owners, size)
    for number in range(owners):
        assert torch.equal(masks[number], drawn(boxes[owner == number], size))
    assert torch.equal(masks.any(dim=0), drawn(boxes, size))


@for_all(quick=20, thorough=350, drawing=boxes_and_size(), size=SIZES, seed=arrays.SEEDS)
def test_rescaled_boxes_cover_what_they_covered_and_no_whole_pixel_more(
    drawing: tuple[Tensor, tuple[int, int]], size: tuple[int, int], seed: int
) -> None:
    boxes, old = drawing
    scaled = rescale_boxes(boxes, old, size)
    scale = torch.tensor([size[1] / old[1], size[0] / old[0]] * 2, dtype=torch.float64)
    exact = boxes.double() * scale
    assert bool((scaled[:, :2] >= 0).all())
    assert bool((scaled[:, 2:] > scaled[:, :2]).all())
    assert bool((scaled[:, 2:] <= torch.tensor([size[1], size[0]])).all())
    assert bool((scaled[:, :2] <= exact[:, :2] + 2e-6).all())
    assert bool((scaled[:, 2:] >= exact[:, 2:] - 2e-6).all())
    assert bool((scaled[:, :2] > exact[:, :2] - 1).all())
    assert bool((scaled[:, 2:] < exact[:, 2:] + 1).all())
    order = arrays.order_of(len(boxes), seed)
    assert torch.equal(rescale_boxes(boxes[order], old, size), scaled[order])
    assert torch.equal(rescale_boxes(boxes, old, old), boxes)
    assert torch.equal(rescale_boxes(mirrored(boxes, old[1]), old, size), mirrored(scaled, size[1]))
    sizes = torch.tensor([old] * len(boxes)).reshape(-1, 2)
    assert torch.equal(rescale_boxes(boxes, sizes, size), scaled)


@for_all(quick=20, thorough=300, drawing=boxes_and_size(), size=SIZES, cuts=st.integers(0, 3))
def test_a_box_within_a_box_stays_within_it(
    drawing: tuple[Tensor, tuple[int, int]], size: tuple[int, int], cuts: int
) -> None:
    boxes, old = drawing
    inner = boxes.clone()
    inner[:, :2] = torch.minimum(boxes[:, :2] + cuts, boxes[:, 2:] - 1)
    outer, within = rescale_boxes(boxes, old, size), rescale_boxes(inner, old, size)
    assert bool((outer[:, :2] <= within[:, :2]).all())
    assert bool((outer[:, 2:] >= within[:, 2:]).all())


FRACTIONS = st.floats(0, 2, allow_nan=False)


@for_all(quick=20, thorough=350, drawing=boxes_and_size(), less=FRACTIONS, more=FRACTIONS)
def test_dilation_grows_with_its_fraction_on_every_side(
    drawing: tuple[Tensor, tuple[int, int]], less: float, more: float
) -> None:
    boxes, size = drawing
    less, more = sorted((less, more))
    small, large = dilate_boxes(boxes, less, size), dilate_boxes(boxes, more, size)
    limit = torch.tensor([size[1], size[0]])
    assert torch.equal(dilate_boxes(boxes, 0.0, size), boxes.double())
    for inner, outer in ((boxes.double(), small), (small, large)):
        assert bool((outer[:, :2] <= inner[:, :2]).all())
        assert bool((outer[:, 2:] >= inner[:, 2:]).all())
    assert bool((large[:, :2] >= 0).all())
    assert bool((large[:, 2:] <= limit).all())
    torch.testing.assert_close(
        dilate_boxes(mirrored(boxes, size[1]), less, size), mirrored(small, size[1]).double()
    )
    masks: list[Any] = [drawn(rescale_boxes(grown, size, size), size) for grown in (small, large)]
    assert bool((masks[1] | ~masks[0]).all())
