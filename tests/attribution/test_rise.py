"""RISE against a loop over images and masks, and its masks against plain upsampling and cropping."""

from functools import partial
from math import ceil, floor
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from guidance.attribution.rise import RISE, random_masks
from guidance.errors import InputError
from tests.attribution.small_networks import NETWORKS, batch_sizes, run_one, small_images, small_resnet

CLASSES = torch.tensor([2, 0, 1])


def upsampled_and_cropped(grid: Tensor, offset: Tensor, height: int, width: int) -> Tensor:
    cells = len(grid)
    cell = ceil(height / cells), ceil(width / cells)
    size = (cells + 1) * cell[0], (cells + 1) * cell[1]
    large = F.interpolate(grid[None, None].double(), size, mode="bilinear", align_corners=False)[0, 0]
    top, left = (floor(part * length) for part, length in zip(offset.tolist(), cell, strict=True))
    return large[top : top + height, left : left + width]


def rise(attributor: RISE, model: nn.Module, image: Tensor, layer: str, k: int) -> Tensor:
    _, activation = run_one(model, image, layer)
    total = torch.zeros_like(activation[0])
    grids, offsets = attributor.draw()
    for grid, offset in zip(grids, offsets, strict=True):
        mask = upsampled_and_cropped(grid, offset, *activation.shape[1:])
        logits, _ = run_one(model, image, layer, partial(torch.mul, mask))
        total += mask / (1 + (-logits[k]).exp())
    return total / (len(grids) * attributor.probability)


@pytest.mark.parametrize("network", list(NETWORKS))
def test_equals_a_loop_over_masks(network: str) -> None:
    build, layers = NETWORKS[network]
    model, images = build(), small_images(2)
    for layer in ["input", layers[0]]:
        attributor = RISE(layer, masks=10, grid=3, probability=0.3, seed=4, chunk=7)
        maps = attributor.attribute(attributor.forward(model, images), CLASSES[:2])
        for image, k, own in zip(images, CLASSES.tolist(), maps, strict=False):
            torch.testing.assert_close(own, rise(attributor, model, image, layer, k))


@pytest.mark.parametrize("size", [(32, 32), (30, 44), (7, 7), (4, 2), (1, 1)])
@pytest.mark.parametrize("grid", [1, 4, 7])
def test_masks_are_upsampled_and_cropped_grids(size: tuple[int, int], grid: int) -> None:
    grids, offsets = RISE(masks=20, grid=grid).draw()
    # The largest offset there is stays inside the upsampled grid.
    offsets[0] = 1 - 2**-53
    masks = random_masks(grids.double(), offsets, size)
    for mask, own_grid, offset in zip(masks, grids, offsets, strict=True):
        torch.testing.assert_close(mask, upsampled_and_cropped(own_grid, offset, *size))


def test_every_position_is_shown_with_the_probability() -> None:
    grids, offsets = RISE(masks=20000, grid=4, probability=0.3, seed=2).draw()
    masks = random_masks(grids, offsets, (10, 12))
    assert 0 <= masks.min() < 0.01
    assert 0.99 < masks.max() <= 1
    assert (masks.mean(0) - 0.3).abs().max() < 0.02
    assert 0 <= offsets.min() < 0.01
    assert 0.99 < offsets.max() < 1


def test_a_model_that_answers_always_alike_has_a_flat_map() -> None:
    """With f constant the map is f times the mean mask over its expectation: f, up to the sampling."""
    head = nn.Linear(3, 1)
    nn.init.zeros_(head.weight)
    nn.init.constant_(head.bias, 0.4)
    model = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), head).double()
    attributor = RISE(masks=3000, grid=3, probability=0.4, chunk=500)
    maps = attributor.attribute(attributor.forward(model, small_images(1, 9, 9)), torch.tensor([0]))
    expected = torch.tensor(0.4, dtype=torch.float64).sigmoid()
    torch.testing.assert_close(maps, expected.expand_as(maps), rtol=0.08, atol=0)


def test_a_class_seen_in_one_place_is_found_there() -> None:
    class Corner(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return 8 * x[:, :1, :4, 10:14].mean((2, 3)) - 4

    attributor = RISE(masks=500, grid=4, chunk=500)
    forward = attributor.forward(Corner(), torch.ones(1, 3, 16, 16, dtype=torch.float64))
    row, column = divmod(int(attributor.attribute(forward, torch.tensor([0])).argmax()), 16)
    assert row < 4
    assert 10 <= column < 14


def test_the_seed_makes_the_masks() -> None:
    model, images = small_resnet(), small_images(1, 16, 16)

    def maps(seed: int) -> Tensor:
        attributor = RISE(masks=5, seed=seed)
        return attributor.attribute(attributor.forward(model, images), CLASSES[:1])

    torch.manual_seed(3)
    before = torch.get_rng_state()
    first = maps(0)
    assert torch.equal(torch.get_rng_state(), before)
    torch.rand(1)
    assert torch.equal(maps(0), first)
    assert not torch.allclose(maps(1), first)


def test_one_pass_per_mask() -> None:
    model, images = small_resnet(), small_images(3, 16, 16)
    attributor = RISE(masks=5, chunk=4)
    forward = attributor.forward(model, images)
    sizes = batch_sizes(model)
    attributor.attribute(forward, CLASSES)
    assert sizes == [4, 4, 4, 3]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"masks": 0}, r"attributor\.masks must be at least 1; got 0"),
        ({"grid": 0}, r"attributor\.grid must be at least 1; got 0"),
        ({"probability": 0.0}, r"attributor\.probability must lie between 0 and 1; got 0.0"),
        ({"probability": 1.0}, r"attributor\.probability must lie between 0 and 1; got 1.0"),
    ],
)
def test_impossible_masks_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        RISE(**options)
