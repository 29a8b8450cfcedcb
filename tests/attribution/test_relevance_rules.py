"""The rules of relevance propagation against loops over single contributions."""

from collections.abc import Sequence
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from guidance.attribution.lrp import LRP
from tests.attribution.plain_network import Plain, plain_images
from tests.attribution.small_networks import small_images

CLASSES = torch.tensor([2, 0, 1])
Affine = tuple[Tensor, Tensor]
"""A matrix [outputs, inputs] and a bias [outputs]."""


def affine_of(function: Any, shape: Sequence[int]) -> Affine:
    """Return the matrix and bias of an affine function of a tensor of this shape."""
    zero = torch.zeros(1, *shape, dtype=torch.float64)
    matrix = torch.autograd.functional.jacobian(function, zero).flatten(0, -2 - len(shape))
    return matrix.reshape(-1, zero.numel()), function(zero).detach().flatten()


def hand_back(affine: Affine, a: Tensor, relevance: Tensor, gamma: float, epsilon: float) -> Tensor:
    """Hand the relevance [outputs] of an affine layer back to its inputs a, contribution by contribution."""
    matrix, bias = affine
    inputs = torch.zeros_like(a)
    for row, b, r in zip(matrix, bias, relevance, strict=True):
        contributions = torch.cat([row * a, b[None]])
        z = contributions.sum()
        favoured = contributions.clamp(min=0) if z > 0 else contributions.clamp(max=0)
        contributions = contributions + gamma * favoured
        z = contributions.sum()
        inputs += (contributions / (z + epsilon * (1 if z >= 0 else -1)) * r)[:-1]
    return inputs


def slow_relevance(model: Plain, image: Tensor, k: int, gamma: float, epsilon: float) -> dict[str, Tensor]:
    """Return the relevance [h, w] of the input, of conv1's, conv2's and pool2's places."""
    x = image[None]
    first, second = nn.Sequential(model.conv1, model.norm1), nn.Sequential(model.conv2, model.norm2)
    with torch.no_grad():
        z1 = first(x)
        pooled, winners = F.max_pool2d(z1.relu(), 2, return_indices=True)
        z2 = second(pooled)
        averaged = model.pool2(z2.relu())
        hidden = model.linear1(averaged.flatten(1))
        logits = model.linear2(hidden.relu())[0]
    relevance = torch.zeros(3, dtype=torch.float64)
    relevance[k] = logits[k]
    relevance = hand_back(affine_of(model.linear2, (5,)), hidden[0].relu(), relevance, 0, epsilon)
    relevance = hand_back(affine_of(model.linear1, (12,)), averaged.flatten(), relevance, 0, epsilon)
    of_pooled = relevance.reshape(averaged.shape[1:])
    relevance = hand_back(affine_of(model.pool2, z2.shape[1:]), z2.relu().flatten(), relevance, 0, 1e-30)
    relevance = hand_back(affine_of(second, pooled.shape[1:]), pooled.flatten(), relevance, gamma, epsilon)
    of_first = torch.zeros(z1.shape[1], z1[0, 0].numel(), dtype=torch.float64)
    of_first.scatter_(1, winners.flatten(2)[0], relevance.reshape(len(of_first), -1))
    relevance = hand_back(affine_of(first, x.shape[1:]), x.flatten(), of_first.flatten(), gamma, epsilon)
    return {
        "input": relevance.reshape(x.shape[1:]).sum(0),
        "relu1": of_first.reshape(z1.shape[1:]).sum(0),
        "pool2": of_pooled.sum(0),
    }


@pytest.mark.parametrize("norm", [True, False])
@pytest.mark.parametrize("shift", [0.0, 0.5])
@pytest.mark.parametrize(("rule", "epsilon"), [("epsilon", 0.2), ("gamma", 1e-9), ("gamma", 0.1)])
def test_equals_single_contributions(norm: bool, shift: float, rule: str, epsilon: float) -> None:
    """With biases, batch norms of both signs, negative logits and (with a shift) negative inputs."""
    model, images = Plain(norm=norm), plain_images() - shift
    attributor = LRP(["input", "relu1", "pool2"], rule, epsilon, gamma=0.5)
    forward = attributor.forward(model, images)
    maps = attributor.attribute_layers(forward, CLASSES)
    assert (forward.logits.gather(1, CLASSES[:, None]) < 0).any()
    for n, k in enumerate(CLASSES.tolist()):
        expected = slow_relevance(model, images[n], k, 0.5 if rule == "gamma" else 0.0, epsilon)
        for layer, of_layer in expected.items():
            torch.testing.assert_close(maps[layer][n], of_layer, rtol=1e-6, atol=1e-9)
            assert of_layer.abs().max() > 1e-4


class Residual(nn.Module):
    """A sum of two branches, both of both signs."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.left, self.right = (nn.Conv2d(3, 8, 2, bias=False) for _ in range(2))
        self.linear = nn.Linear(8, 3, bias=False)
        self.double()

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.linear((self.left(x) + self.right(x)).relu().mean((2, 3)))
        return out


def test_sums_share_in_proportion() -> None:
    model, images = Residual(), small_images(height=2, width=2)
    attributor = LRP(["input", "left"], "gamma", 1e-12, gamma=0.5)
    maps = attributor.attribute_layers(attributor.forward(model, images), CLASSES)
    for n, k in enumerate(CLASSES.tolist()):
        a = images[n].flatten()
        left, right = (module.weight.detach().flatten(1) for module in (model.left, model.right))
        total = (left @ a + right @ a).relu()
        relevance = model.linear.weight[k].detach() * total
        shares = [torch.where(total > 0, weight @ a / total * relevance, 0) for weight in (left, right)]
        assert ((total > 0) & (torch.minimum(left @ a, right @ a) < 0)).any()
        expected = sum(
            hand_back((weight, torch.zeros(8).double()), a, share, 0.5, 1e-12)
            for weight, share in zip((left, right), shares, strict=True)
        )
        assert isinstance(expected, Tensor)
        torch.testing.assert_close(maps["input"][n], expected.reshape(3, 2, 2).sum(0))
        torch.testing.assert_close(maps["left"][n].squeeze(), shares[0].sum())


@pytest.mark.parametrize("rule", ["epsilon", "gamma"])
def test_in_training_the_batch_norm_is_the_affine_map_of_its_batch(rule: str) -> None:
    model, images = Plain(norm=True), plain_images()
    attributor = LRP(["input", "relu1"], rule, 1e-9)
    maps = attributor.attribute_layers(attributor.forward(model.train(), images), CLASSES)
    # The same network with the statistics of this batch as its running statistics.
    z1 = model.conv1(images)
    y1 = model.norm1(z1)
    z2 = model.conv2(model.pool1(y1.relu()))
    for norm, z in ((model.norm1, z1), (model.norm2, z2)):
        assert isinstance(norm, nn.BatchNorm2d)
        norm.running_mean = z.mean((0, 2, 3)).detach()
        norm.running_var = z.var((0, 2, 3), unbiased=False).detach()
    expected = attributor.attribute_layers(attributor.forward(model.eval(), images), CLASSES)
    for layer, of_layer in maps.items():
        torch.testing.assert_close(of_layer, expected[layer], rtol=1e-6, atol=1e-9)


def test_the_share_that_epsilon_takes_is_no_target_of_training() -> None:
    torch.manual_seed(0)
    conv, linear = nn.Conv2d(3, 5, 3), nn.Linear(20, 3)
    model = nn.Sequential(conv, nn.ReLU(inplace=True), nn.Flatten(), linear).double()
    images, parameters = small_images(height=4, width=4), list(model.parameters())
    attributor = LRP(epsilon=0.3)
    maps = attributor.attribute(attributor.forward(model, images), CLASSES, create_graph=True)
    gradients = torch.autograd.grad(maps.sin().sum(), parameters, materialize_grads=True)
    hidden = conv(images)
    logits = linear(hidden.relu().flatten(1)).gather(1, CLASSES[:, None])
    of_logit, of_hidden = ((z.abs() / (z.abs() + 0.3)).detach() for z in (logits, hidden))
    traced = (of_logit * linear.weight[CLASSES]).view_as(hidden) * (hidden > 0) * of_hidden
    expected = (images * F.conv_transpose2d(traced, conv.weight)).sum(1)
    torch.testing.assert_close(maps, expected)
    others = torch.autograd.grad(expected.sin().sum(), parameters, materialize_grads=True)
    for gradient, other in zip(gradients, others, strict=True):
        torch.testing.assert_close(gradient, other)


def test_a_layer_between_convolution_and_batch_norm_can_be_explained() -> None:
    """Then the two are layers of their own: what is explained stands between them."""
    model, images = Plain(norm=True), plain_images()
    between, together = LRP(["conv2", "relu2"], "gamma", 1e-12), LRP("relu2", "gamma", 1e-12)
    forward = between.forward(model, images)
    maps = between.attribute_layers(forward, CLASSES)
    of_output = together.attribute(together.forward(model, images), CLASSES)
    torch.testing.assert_close(maps["relu2"], of_output)
    # By the epsilon rule the batch norm gives its input this part of its output, the bias the other.
    z, y = forward.activations["conv2"].detach(), forward.activations["relu2"].detach()
    norm = model.norm2
    assert isinstance(norm, nn.BatchNorm2d)
    assert norm.running_var is not None
    scale = (norm.weight / (norm.running_var + norm.eps).sqrt())[:, None, None].detach()
    head = nn.Sequential(model.pool2, nn.Flatten(), model.linear1, model.relu3, model.linear2)
    a = y.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(head(a).gather(1, CLASSES[:, None]).sum(), a)
    torch.testing.assert_close(maps["conv2"], (z * scale * (y > 0) * gradient).sum(1))


def test_a_convolution_by_itself_goes_by_its_rule() -> None:
    model, images = Plain(norm=True), plain_images()
    norm = model.norm2
    assert isinstance(norm, nn.BatchNorm2d)
    # A batch norm that changes nothing: with it or without, the convolution is the same affine layer.
    norm.running_mean, norm.running_var = torch.zeros(6).double(), torch.ones(6).double() - norm.eps
    nn.init.ones_(norm.weight)
    nn.init.zeros_(norm.bias)
    together, alone = LRP("input", "gamma", 1e-12), LRP(["input", "conv2"], "gamma", 1e-12)
    torch.testing.assert_close(
        alone.attribute_layers(alone.forward(model, images), CLASSES)["input"],
        together.attribute(together.forward(model, images), CLASSES),
    )
