"""The hard sigmoid: torch's values and first derivative, and a second one."""

import torch
from torch import nn

from guidance.models.classifier import Classifier
from guidance.models.hard_sigmoid import HardSigmoid


def test_equals_torch_and_is_twice_differentiable() -> None:
    x = torch.tensor([-9.0, -3.0, -2.9, 0.0, 1.5, 3.0, 4.0], dtype=torch.float64, requires_grad=True)
    torch.testing.assert_close(HardSigmoid()(x), nn.Hardsigmoid()(x))
    (gradient,) = torch.autograd.grad(HardSigmoid()(x).sum(), x)
    (expected,) = torch.autograd.grad(nn.Hardsigmoid()(x).sum(), x)
    torch.testing.assert_close(gradient, expected)
    assert torch.autograd.gradgradcheck(HardSigmoid(), x.detach()[[0, 2, 3, 4, 6]].requires_grad_())


def test_classifier_replaces_it_wherever_it_is() -> None:
    network = nn.Sequential(nn.Hardsigmoid(), nn.Sequential(nn.Conv2d(3, 2, 1), nn.Hardsigmoid()))
    images = torch.rand(1, 3, 4, 4)
    expected = network(images)
    model = Classifier(network, nn.Identity(), 2, {})
    assert not [m for m in model.modules() if isinstance(m, nn.Hardsigmoid)]
    torch.testing.assert_close(model(images), expected)
