"""Score-CAM against a loop over images and channels."""

from functools import partial

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from guidance.attribution.score_cam import ScoreCAM
from tests.attribution.small_networks import (
    NETWORKS,
    batch_sizes,
    run_one,
    small_bcos,
    small_images,
    small_resnet,
)

CLASSES = torch.tensor([2, 0, 1])


def score_cam(model: nn.Module, image: Tensor, layer: str, k: int) -> Tensor:
    """Return the map with the scores minus that of the all-zero input, as the paper writes them."""
    baseline = run_one(model, image, "input", torch.zeros_like)[0][k]
    _, activation = run_one(model, image, layer)
    varied = activation[activation.amax((1, 2)) > activation.amin((1, 2))]
    assert len(varied) > 0
    scores: list[Tensor] = []
    for channel in varied:
        mask = F.interpolate(channel[None, None], image.shape[1:], mode="bilinear", align_corners=False)[0]
        shown = partial(torch.mul, (mask - mask.min()) / (mask.max() - mask.min()))
        scores.append(run_one(model, image, "input", shown)[0][k] - baseline)
    exponentials = torch.stack(scores).exp()
    total = torch.zeros_like(activation[0])
    for weight, channel in zip(exponentials / exponentials.sum(), varied, strict=True):
        total += weight * channel
    return total.clamp(min=0)


@pytest.mark.parametrize("network", list(NETWORKS))
def test_equals_a_loop_over_channels(network: str) -> None:
    build, layers = NETWORKS[network]
    model, images = build(), small_images()
    for layer in layers:
        attributor = ScoreCAM(layer, chunk=7)
        maps = attributor.attribute(attributor.forward(model, images), CLASSES)
        expected = [score_cam(model, x, layer, k) for x, k in zip(images, CLASSES.tolist(), strict=True)]
        torch.testing.assert_close(maps, torch.stack(expected))


def test_masks_what_the_network_reads() -> None:
    """A masked position of a B-cos network is no colour in all six channels, not black."""
    model, images = small_bcos(), small_images(1)
    attributor = ScoreCAM("mid1")
    forward = attributor.forward(model, images)
    read: list[Tensor] = []
    model.network.register_forward_pre_hook(lambda _, args: read.append(args[0]))
    attributor.attribute(forward, CLASSES[:1])
    # [x, 1 - x] adds up to 1; a mask m in [0, 1] makes it m, and each mask reaches both its bounds.
    masks = torch.cat(read).unflatten(1, (2, 3)).sum(1)
    torch.testing.assert_close(masks, masks[:, :1].expand_as(masks))
    torch.testing.assert_close(masks.amin(dim=(1, 2, 3)), masks.new_zeros(len(masks)))
    torch.testing.assert_close(masks.amax(dim=(1, 2, 3)), masks.new_ones(len(masks)))


def constant_channels(model: nn.Module, channels: slice, value: float) -> None:
    for name, bias in (("conv2", value), ("shortcut", 0.0)):
        conv = model.get_submodule(f"network.3.{name}")
        conv.get_parameter("weight").data[channels] = 0
        conv.get_parameter("bias").data[channels] = bias


@pytest.mark.parametrize("value", [0.0, 0.3])
def test_constant_channels_take_no_part(value: float) -> None:
    model, images = small_resnet(), small_images()
    constant_channels(model, slice(3, None), value)
    attributor = ScoreCAM("final")
    maps = attributor.attribute(attributor.forward(model, images), CLASSES)
    for image, k, own in zip(images, CLASSES.tolist(), maps, strict=True):
        _, activation = run_one(model, image, "final")
        assert bool((activation[3:] == value).all())
        torch.testing.assert_close(own, score_cam(model, image, "final", k))


def test_all_channels_constant_give_no_map() -> None:
    model, images = small_resnet(), small_images()
    constant_channels(model, slice(None), 0.3)
    attributor = ScoreCAM("final")
    assert attributor.attribute(attributor.forward(model, images), CLASSES).abs().sum() == 0


def test_a_channel_that_varies_below_the_inputs_resolution_shows_nothing() -> None:
    """Half of 0 and half of 1 is the same 0.5 all over the input, which min-max has no answer for."""
    grow = nn.ConvTranspose2d(1, 2, 2, stride=2, bias=False)
    grow.weight.data = torch.tensor([[[[0.0, 1.0], [1.0, 0.0]], [[1.0, 1.0], [1.0, 1.0]]]])
    model = nn.Sequential(grow, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(2, 1)).double()
    images = small_images(1, 4, 4)[:, :1]
    images[:] = 2.0
    attributor = ScoreCAM("0")
    forward = attributor.forward(model, images)
    maps = attributor.attribute(forward, torch.tensor([0]))
    # The second channel is constant itself; so the first, though it shows nothing, has all the weight.
    torch.testing.assert_close(maps, forward.activations["0"][:, 0].detach())


def test_one_pass_per_channel() -> None:
    model, images = small_resnet(), small_images()
    attributor = ScoreCAM("final", chunk=8)
    forward = attributor.forward(model, images)
    sizes = batch_sizes(model)
    attributor.attribute(forward, CLASSES)
    assert sizes == [8, 8, 8]
