import pytest
import torch
from torch import Tensor

from guidance.data.boxes import dilate_boxes, rescale_boxes, union_masks


def slow_union(boxes: Tensor, owners: Tensor, count: int, size: tuple[int, int]) -> Tensor:
    masks = torch.zeros(count, *size, dtype=torch.bool)
    for (x0, y0, x1, y1), owner in zip(boxes.tolist(), owners.tolist(), strict=True):
        for y in range(size[0]):
            for x in range(size[1]):
                if x0 <= x < x1 and y0 <= y < y1:
                    masks[owner, y, x] = True
    return masks


def random_boxes(count: int, size: tuple[int, int], seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    height, width = size
    x = torch.stack([torch.randperm(width + 1, generator=generator)[:2].sort().values for _ in range(count)])
    y = torch.stack([torch.randperm(height + 1, generator=generator)[:2].sort().values for _ in range(count)])
    return torch.stack([x[:, 0], y[:, 0], x[:, 1], y[:, 1]], dim=1)


@pytest.mark.parametrize("seed", range(5))
def test_union_masks_equal_a_loop_over_pixels(seed: int) -> None:
    size = (7, 11)
    boxes = random_boxes(9, size, seed)
    owners = torch.tensor([0, 0, 0, 1, 1, 3, 3, 3, 3])
    assert torch.equal(union_masks(boxes, owners, 4, size), slow_union(boxes, owners, 4, size))


def test_union_masks_of_no_box_are_empty() -> None:
    none = torch.zeros(0, 4, dtype=torch.int64)
    masks = union_masks(none, torch.zeros(0, dtype=torch.int64), 2, (3, 5))
    assert masks.shape == (2, 3, 5)
    assert not masks.any()
    assert union_masks(none, torch.zeros(0, dtype=torch.int64), 0, (3, 5)).shape == (0, 3, 5)


def test_union_masks_cover_the_last_row_and_column() -> None:
    whole, corner = union_masks(torch.tensor([[0, 0, 5, 3], [4, 2, 5, 3]]), torch.tensor([0, 1]), 2, (3, 5))
    assert whole.all()
    assert corner[2, 4]
    assert corner.sum() == 1


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("sizes", [((7, 11), (5, 5)), ((6, 9), (20, 13)), ((499, 500), (224, 224))])
def test_rescaled_boxes_cover_every_pixel_they_touch(
    sizes: tuple[tuple[int, int], tuple[int, int]], seed: int
) -> None:
    (old_height, old_width), (height, width) = sizes
    boxes = random_boxes(4, sizes[0], seed)
    for box, rescaled in zip(boxes.tolist(), rescale_boxes(boxes, *sizes).tolist(), strict=True):
        for low, old, new in ((0, old_width, width), (1, old_height, height)):
            # Pixel p of the new image spans [p, p + 1); in integers, scaled by the old size.
            touched = [
                p for p in range(new) if (p + 1) * old > box[low] * new and p * old < box[low + 2] * new
            ]
            assert (rescaled[low], rescaled[low + 2]) == (touched[0], touched[-1] + 1)


def test_rescaling_to_the_same_size_changes_nothing() -> None:
    boxes = random_boxes(20, (13, 17), 0)
    assert torch.equal(rescale_boxes(boxes.float(), (13, 17), (13, 17)), boxes)


def test_a_whole_image_stays_whole_at_any_size() -> None:
    for old in range(1, 600, 7):
        assert rescale_boxes(torch.tensor([[0, 0, old, old]]), (old, old), (224, 224)).tolist() == [
            [0, 0, 224, 224]
        ]


def test_rescaled_boxes_keep_a_pixel_each() -> None:
    boxes = torch.tensor([[10, 10, 11, 11], [999, 999, 1000, 1000], [0, 0, 1, 1]])
    rescaled = rescale_boxes(boxes, (1000, 1000), (4, 4))
    assert rescaled.tolist() == [[0, 0, 1, 1], [3, 3, 4, 4], [0, 0, 1, 1]]
    assert rescaled.dtype == torch.int64


def test_dilation_adds_to_each_side_and_stops_at_the_image() -> None:
    boxes = torch.tensor([[10.0, 20.0, 20.0, 40.0], [0.0, 0.0, 10.0, 10.0], [90.0, 40.0, 100.0, 50.0]])
    dilated = dilate_boxes(boxes, 0.5, (50, 100))
    assert dilated.tolist() == [[5, 10, 25, 50], [0, 0, 15, 15], [85, 35, 100, 50]]


def test_no_dilation_and_no_boxes() -> None:
    boxes = random_boxes(5, (13, 17), 0)
    assert torch.equal(dilate_boxes(boxes, 0.0, (13, 17)), boxes.double())
    assert rescale_boxes(dilate_boxes(torch.zeros(0, 4), 0.5, (3, 4)), (3, 4), (5, 5)).shape == (0, 4)


def test_boxes_of_several_images_at_once() -> None:
    boxes = torch.tensor([[10.0, 0.0, 20.0, 10.0], [0.0, 9.0, 1.0, 10.0], [3.0, 4.0, 30.0, 7.5]])
    sizes = torch.tensor([[10, 20], [11, 13], [40, 30]])
    dilated, rescaled = dilate_boxes(boxes, 0.3, sizes), rescale_boxes(boxes, sizes, (8, 9))
    for number, (height, width) in enumerate(sizes.tolist()):
        own = boxes[number : number + 1]
        assert torch.equal(dilated[number : number + 1], dilate_boxes(own, 0.3, (height, width)))
        expected = rescale_boxes(own, (height, width), (8, 9))
        assert torch.equal(rescaled[number : number + 1], expected)
