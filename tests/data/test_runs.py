import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from guidance.data.runs import encode_runs, resize_masks, union_runs


def random_masks(seed: int, count: int, height: int, width: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(count, height, width, generator=generator) > torch.rand(
        count, 1, 1, generator=generator
    )


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 2**31), st.integers(0, 4), st.integers(1, 9), st.integers(1, 9))
def test_drawing_the_runs_gives_the_masks_back(seed: int, count: int, height: int, width: int) -> None:
    masks = random_masks(seed, count, height, width)
    runs, owners = encode_runs(masks)
    assert runs.dtype == owners.dtype == torch.int64
    assert (runs[:, 0] < runs[:, 1]).all()
    assert torch.equal(union_runs(runs, owners, count, (height, width)), masks)


def test_runs_go_on_from_row_to_row() -> None:
    masks = torch.tensor([[[0, 1, 1], [1, 0, 0]], [[0, 0, 0], [0, 0, 0]], [[1, 1, 1], [1, 1, 1]]]).bool()
    runs, owners = encode_runs(masks)
    assert runs.tolist() == [[1, 4], [0, 6]]
    assert owners.tolist() == [0, 2]


def test_overlapping_runs_are_united_and_empty_ones_draw_nothing() -> None:
    runs = torch.tensor([[0, 3], [2, 4], [0, 0], [5, 6]])
    drawn = union_runs(runs, torch.tensor([0, 0, 1, 2]), 3, (2, 3))
    expected = torch.tensor([[[1, 1, 1], [1, 0, 0]], [[0, 0, 0], [0, 0, 0]], [[0, 0, 0], [0, 0, 1]]]).bool()
    assert torch.equal(drawn, expected)
    none = torch.zeros(0, 2, dtype=torch.int64)
    assert not union_runs(none, none[:, 0], 2, (4, 4)).any()


@pytest.mark.parametrize("factor", [1, 2, 3])
def test_masks_made_of_whole_cells_are_resized_exactly(factor: int) -> None:
    small = random_masks(3, 2, 6, 5)
    large = small.repeat_interleave(factor, 1).repeat_interleave(factor, 2)
    assert torch.equal(resize_masks(small, (6, 5)), small)
    assert torch.equal(resize_masks(large, (6, 5)), small)


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 39), st.integers(0, 29), st.integers(1, 12), st.integers(1, 12))
def test_a_single_pixel_never_vanishes(x: int, y: int, height: int, width: int) -> None:
    masks = torch.zeros(2, 30, 40, dtype=torch.bool)
    masks[0, y, x] = True
    resized = resize_masks(masks, (height, width))
    assert resized[0].any()
    assert not resized[1].any()
    rows, columns = resized[0].nonzero(as_tuple=True)
    assert ((columns - (x + 0.5) * width / 40 + 0.5).abs() <= 1).all()
    assert ((rows - (y + 0.5) * height / 30 + 0.5).abs() <= 1).all()


def test_everything_and_nothing_stay_so() -> None:
    masks = torch.stack([torch.ones(13, 17), torch.zeros(13, 17)]).bool()
    assert resize_masks(masks, (5, 7))[0].all()
    assert not resize_masks(masks, (5, 7))[1].any()
    assert resize_masks(masks[:0], (5, 7)).shape == (0, 5, 7)
