"""Ablation-CAM against a loop over images and channels."""

import pytest
import torch
from torch import Tensor, nn

from guidance.attribution.ablation_cam import AblationCAM
from tests.attribution.small_networks import NETWORKS, run_one, small_images, small_resnet

CLASSES = torch.tensor([2, 0, 1])


def ablation_cam(model: nn.Module, image: Tensor, layer: str, k: int) -> tuple[Tensor, float]:
    """Return the map before its ReLU and the logit."""
    logits, activation = run_one(model, image, layer)
    total = torch.zeros_like(activation[0])
    for channel in range(len(activation)):

        def ablate(a: Tensor, channel: int = channel) -> Tensor:
            a[channel] = 0
            return a

        without = run_one(model, image, layer, ablate)[0]
        total += (logits[k] - without[k]) / logits[k] * activation[channel]
    return total, logits[k].item()


@pytest.mark.parametrize("network", list(NETWORKS))
@pytest.mark.parametrize("relu", [True, False])
def test_equals_a_loop_over_channels(network: str, relu: bool) -> None:
    build, layers = NETWORKS[network]
    model, images = build(), small_images()
    for layer in layers:
        attributor = AblationCAM(layer, relu=relu, chunk=7)
        maps = attributor.attribute(attributor.forward(model, images), CLASSES)
        for image, k, own in zip(images, CLASSES.tolist(), maps, strict=True):
            expected, logit = ablation_cam(model, image, layer, k)
            expected = expected * (1 if logit > 0 else -1)
            torch.testing.assert_close(own, expected.relu() if relu else expected)


def test_evidence_keeps_its_sign_when_the_logit_is_negative() -> None:
    """A bias moves the logit, not what the channels say about it."""
    model, images = small_resnet(), small_images()
    bias = model.get_parameter("network.6.bias")
    attributor = AblationCAM("final", relu=False)
    maps = []
    for value in (-40.0, 40.0):
        bias.data.fill_(value)
        forward = attributor.forward(model, images)
        logit = forward.logits.detach()[range(3), CLASSES]
        assert bool((logit.sign() == value / 40).all())
        maps.append(attributor.attribute(forward, CLASSES) * logit.abs()[:, None, None])
    torch.testing.assert_close(maps[0], maps[1])


@pytest.mark.parametrize("logit", [0.0, 1e-20])
def test_zero_logit_divides_nothing(logit: float) -> None:
    torch.manual_seed(0)
    head = nn.Linear(2, 1, bias=False)
    model = nn.Sequential(nn.Identity(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), head).double()
    head.weight.data = torch.tensor([[1.0, -1.0]], dtype=torch.float64)
    images = small_images(1, 4, 4)[:, :2]
    # Both channels have the same mean: what the first says for the class, the second says against it.
    images[0, 1] = images[0, 0].flip(0)
    images = images / images.mean(dim=(2, 3), keepdim=True)
    head.weight.data[0, 0] += logit
    attributor = AblationCAM("0", relu=False)
    maps = attributor.attribute(attributor.forward(model, images), torch.tensor([0]))
    torch.testing.assert_close(maps, images[:, 0] - images[:, 1])


def test_a_dead_channel_has_no_say() -> None:
    model, images = small_resnet(), small_images()
    for conv in ("conv2", "shortcut"):
        for name in ("weight", "bias"):
            model.get_parameter(f"network.3.{conv}.{name}").data[2:] = 0
    attributor = AblationCAM("final", relu=False)
    forward = attributor.forward(model, images)
    assert forward.activations["final"][:, 2:].abs().sum() == 0
    maps = attributor.attribute(forward, CLASSES)
    expected = [
        ablation_cam(model, image, "final", k)[0] for image, k in zip(images, CLASSES.tolist(), strict=True)
    ]
    signs = forward.logits.detach()[range(3), CLASSES].sign()[:, None, None]
    torch.testing.assert_close(maps, torch.stack(expected) * signs)
