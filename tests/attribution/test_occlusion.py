"""Occlusion against captum at the input, and against a loop over windows at layers."""

import captum.attr
import pytest
import torch
from torch import Tensor, nn

from guidance.attribution.occlusion import Occlusion
from guidance.errors import InputError
from guidance.models.torchvision_classifier import torchvision_classifier
from tests.attribution.small_networks import NETWORKS, batch_sizes, run_one, small_images, small_resnet

CLASSES = torch.tensor([2, 0, 1])


@pytest.mark.parametrize(
    ("window", "stride"), [(4, 4), (5, 3), (7, 7), (6, 1), (16, 5)], ids=lambda value: str(value)
)
def test_equals_captum_at_the_input(window: int, stride: int) -> None:
    """16 x 20 pixels: strides divide both sides, one or none."""
    model, images = small_resnet(), small_images(3, 16, 20)
    expected = captum.attr.Occlusion(model.network).attribute(
        model.encoding(images),
        sliding_window_shapes=(3, window, window),
        strides=(3, stride, stride),
        baselines=0,
        target=CLASSES,
        perturbations_per_eval=16,
    )
    attributor = Occlusion(window=window, stride=stride, chunk=7)
    maps = attributor.attribute(attributor.forward(model, images), CLASSES)
    # Captum returns float32 whatever it is given.
    torch.testing.assert_close(maps.float(), expected[:, 0].detach())


def test_equals_captum_on_a_resnet() -> None:
    torch.manual_seed(0)
    model = torchvision_classifier("resnet18", num_classes=3).double().eval()
    images = small_images(2, 32, 40)
    expected = captum.attr.Occlusion(model.network).attribute(
        model.encoding(images),
        sliding_window_shapes=(3, 16, 16),
        strides=(3, 8, 8),
        baselines=0,
        target=CLASSES[:2],
    )
    attributor = Occlusion()
    maps = attributor.attribute(attributor.forward(model, images), CLASSES[:2])
    # Captum returns float32 whatever it is given.
    torch.testing.assert_close(maps.float(), expected[:, 0].detach())


def occlusion(model: nn.Module, image: Tensor, layer: str, k: int, window: int, stride: int) -> Tensor:
    logits, activation = run_one(model, image, layer)
    height, width = activation.shape[1:]
    total, covered = torch.zeros_like(activation[0]), torch.zeros_like(activation[0])
    top = 0
    while True:
        left = 0
        while True:
            rows, columns = slice(top, top + window), slice(left, left + window)

            def occlude(a: Tensor, rows: slice = rows, columns: slice = columns) -> Tensor:
                a[:, rows, columns] = 0
                return a

            total[rows, columns] += logits[k] - run_one(model, image, layer, occlude)[0][k]
            covered[rows, columns] += 1
            if left + window >= width:
                break
            left += stride
        if top + window >= height:
            break
        top += stride
    return total / covered


@pytest.mark.parametrize("network", list(NETWORKS))
@pytest.mark.parametrize(("window", "stride"), [(2, 1), (3, 2)])
def test_equals_a_loop_over_windows_at_layers(network: str, window: int, stride: int) -> None:
    build, layers = NETWORKS[network]
    model, images = build(), small_images(2)
    for layer in layers:
        attributor = Occlusion(layer, window, stride, chunk=7)
        maps = attributor.attribute(attributor.forward(model, images), CLASSES[:2])
        for image, k, own in zip(images, CLASSES.tolist(), maps, strict=False):
            torch.testing.assert_close(own, occlusion(model, image, layer, k, window, stride))


def test_a_window_larger_than_the_map_hides_it_all() -> None:
    model, images = small_resnet(), small_images()
    attributor = Occlusion(["final", "mid1"], window=30, stride=5)
    forward = attributor.forward(model, images)
    sizes = batch_sizes(model)
    maps = attributor.attribute_layers(forward, CLASSES)
    assert sum(sizes) == 3 * 2 * 2
    for layer, own in maps.items():
        for image, k, of_image in zip(images, CLASSES.tolist(), own, strict=True):
            drop = run_one(model, image, layer)[0][k] - run_one(model, image, layer, torch.zeros_like)[0][k]
            torch.testing.assert_close(of_image, drop.expand_as(of_image))


def test_a_window_of_the_maps_size_hides_it_once() -> None:
    model, images = small_resnet(), small_images(1)
    attributor = Occlusion("final", window=8, stride=1)
    forward = attributor.forward(model, images)
    sizes = batch_sizes(model)
    attributor.attribute(forward, CLASSES[:1])
    assert sum(sizes) == 2


@pytest.mark.parametrize(
    ("window", "stride", "message"),
    [
        (0, 1, r"attributor\.window must be at least 1 position; got 0"),
        (4, 5, r"attributor\.stride must lie between 1 and attributor\.window \(4\).*got 5"),
        (4, 0, r"attributor\.stride must lie between 1 and attributor\.window \(4\).*got 0"),
    ],
)
def test_windows_that_cannot_cover_the_map_are_refused(window: int, stride: int, message: str) -> None:
    with pytest.raises(InputError, match=message):
        Occlusion(window=window, stride=stride)
