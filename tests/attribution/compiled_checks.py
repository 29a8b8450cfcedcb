"""Compiled programs against the attributor itself, step by step and pair by pair, on a tiny network."""

import copy
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch._dynamo.utils import counters

from guidance.attribution import Attributor, BcosContributions, CompiledExplanations, attribute_pairs
from guidance.attribution.backend import Backend
from guidance.losses import EnergyLoss
from guidance.models import BcosConv2d, Classifier, UncenteredBatchNorm2d
from guidance.models.bcos_classifier import bcos_classifier

# Automatic differentiation and all shapes of a compiled program, without the code that takes so long to make.
UNCOMPILED = "aot_eager"

# Which of eight images are guided, in some batches.
SOME: list[list[int]] = [[5], [6, 1], [7, 0, 3, 2, 5, 1], [1, 3, 2], [0, 1, 2, 3, 4, 5, 6, 7]]


def tiny() -> Classifier:
    network = nn.Sequential(
        BcosConv2d(6, 8, 3, stride=2, padding=1),
        UncenteredBatchNorm2d(8),
        BcosConv2d(8, 3, b=1.5),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
    )
    return bcos_classifier(network, 3, {"mid1": "0", "final": "1"})


def images_of(count: int, size: int, dtype: torch.dtype) -> Tensor:
    return torch.rand(count, 3, size, size, dtype=dtype)


def loss_of(logits: Tensor, maps: list[Tensor]) -> Tensor:
    generator = torch.Generator().manual_seed(3)
    labels = (torch.rand(logits.shape, generator=generator) < 0.4).to(logits.dtype)
    loss = F.binary_cross_entropy_with_logits(logits, labels)
    for of_round in maps:
        masks = torch.rand(of_round.shape, generator=generator) < 0.3
        loss = loss + EnergyLoss()(of_round, masks).mean()
    return loss


def explain(attributor: Attributor, model: Classifier, images: Tensor, classes: list[Tensor]) -> Any:
    forward = attributor.forward(model, images)
    return forward.logits, [attributor.attribute(forward, each, create_graph=True) for each in classes]


def assert_near(actual: Tensor, expected: Tensor, tolerance: float) -> None:
    largest = float(expected.detach().abs().max())
    torch.testing.assert_close(actual, expected, rtol=tolerance, atol=tolerance * max(largest, 1e-6))


def check_training(
    model: Classifier,
    layer: str = "input",
    dtype: torch.dtype = torch.float64,
    rounds: int = 1,
    size: int = 32,
    backend: Backend = UNCOMPILED,
    explanation: str | None = None,
    guided: Sequence[list[int] | None] = (None,) * 3,
) -> None:
    """Steps on several batches are equal, by one program that is compiled once."""
    tolerance = 2e-4 if dtype == torch.float32 or explanation else 1e-9
    images_in_batch = 4 if None in guided else 8
    model = model.to(dtype).train()
    other = copy.deepcopy(model)
    attributor = BcosContributions(layer, explanation)
    compiled = CompiledExplanations(attributor, images_in_batch, backend)
    assert compiled.fits(model)
    counters.clear()
    for rows in guided:
        images = images_of(images_in_batch, size, dtype)
        classes = list(torch.randint(0, 3, (rounds, images_in_batch)))
        few = None if rows is None else torch.tensor(rows)
        logits, maps = compiled.explain(model, images, classes, few)
        expected_logits, expected_maps = explain(attributor, other, images, classes)
        if rows is not None:
            expected_maps = [of_round[rows] for of_round in expected_maps]
        loss, expected = loss_of(logits, maps), loss_of(expected_logits, expected_maps)
        assert len(maps) == rounds
        torch.testing.assert_close(loss, expected, rtol=tolerance, atol=0)
        for of_round, expected_map in zip(maps, expected_maps, strict=True):
            assert_near(of_round, expected_map, tolerance)
        parameters = list(model.parameters())
        gradients = torch.autograd.grad(loss, parameters, materialize_grads=True)
        theirs = torch.autograd.grad(expected, list(other.parameters()), materialize_grads=True)
        for gradient, expected_gradient in zip(gradients, theirs, strict=True):
            assert_near(gradient, expected_gradient, tolerance)
        for (name, buffer), expected_buffer in zip(model.named_buffers(), other.buffers(), strict=True):
            torch.testing.assert_close(buffer, expected_buffer, msg=name)
            assert not buffer.requires_grad, name
    assert counters["stats"]["unique_graphs"] == 1
    assert not counters["graph_break"]


def check_evaluation(
    model: Classifier, layers: list[str], size: int = 32, backend: Backend = UNCOMPILED
) -> None:
    """Maps of any number of pairs are equal, by two programs that are compiled once; no statistics change."""
    model = model.double().eval()
    before = {name: buffer.clone() for name, buffer in model.named_buffers()}
    attributor = BcosContributions(layers)
    compiled = CompiledExplanations(attributor, 8, backend)
    counters.clear()
    for count, pairs in ((8, 8), (8, 13), (3, 2), (3, 9), (1, 1)):
        images = images_of(count, size, torch.float64)
        of_images, of_classes = torch.randint(0, count, (pairs,)), torch.randint(0, 3, (pairs,))
        logits, maps = compiled.attribute_pairs(model, images, of_images, of_classes)
        expected_logits, expected = attribute_pairs(attributor, model, images, of_images, of_classes)
        assert_near(logits, expected_logits, 1e-9)
        assert logits.shape == (count, 3)
        assert list(maps) == layers
        for layer in layers:
            assert not maps[layer].requires_grad
            assert_near(maps[layer], expected[layer], 1e-9)
    assert counters["stats"]["unique_graphs"] == 2
    assert not counters["graph_break"]
    for name, buffer in model.named_buffers():
        assert torch.equal(buffer, before[name]), name
