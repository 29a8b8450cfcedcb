"""What every attribution that guides must do: train all parameters through its maps, and nothing else."""

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from guidance.attribution.attributor import Attributor


def lively(model: nn.Module) -> nn.Module:
    """Draw a transformer's parameters so large that patches matter to each other."""
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator), alpha=0.4)
    return model


def check_maps_train_parameters(
    attributor: Attributor, model: nn.Module, images: Tensor, classes: Tensor, rel: float = 1e-4
) -> None:
    """Compare the gradient of a loss on the maps with central differences, for every parameter of a model."""
    generator = torch.Generator().manual_seed(0)
    parameters = dict(model.named_parameters())
    maps = attributor.attribute_layers(attributor.forward(model, images), classes)
    scales = {layer: 1 / of_layer.abs().mean() for layer, of_layer in maps.items()}

    def score() -> Tensor:
        maps = attributor.attribute_layers(attributor.forward(model, images), classes, create_graph=True)
        return torch.stack([(of * scales[layer]).sin().sum() for layer, of in maps.items()]).sum()

    gradients = torch.autograd.grad(score(), list(parameters.values()), materialize_grads=True)
    moved = 0
    for (name, parameter), gradient in zip(parameters.items(), gradients, strict=True):
        direction = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
        start, scores = parameter.detach().clone(), []
        for step in (1e-6, -1e-6):
            with torch.no_grad():
                parameter.copy_(start + step * direction)
            scores.append(score().item())
        with torch.no_grad():
            parameter.copy_(start)
        expected = (scores[0] - scores[1]) / 2e-6
        assert float((gradient * direction).sum()) == pytest.approx(expected, rel=rel, abs=1e-6), name
        moved += abs(expected) > 1e-3
    assert moved > len(parameters) / 3


def check_classification_is_untouched(
    attributor: Attributor, model: nn.Module, images: Tensor, classes: Tensor
) -> None:
    """Compare logits, gradients and buffers with those of a model that is not explained, in both modes."""
    for training in (False, True):
        plain, explained = (copy.deepcopy(model).train(training) for _ in range(2))
        logits = plain(images)
        expected = torch.autograd.grad(_loss(logits, classes), list(plain.parameters()))
        forward = attributor.forward(explained, images)
        maps = attributor.attribute_layers(forward, classes, create_graph=True)
        assert all(of_layer.requires_grad for of_layer in maps.values())
        torch.testing.assert_close(forward.logits, logits)
        loss = _loss(forward.logits, classes)
        # As in training: the maps' loss in the same backward pass, here with a weight of zero.
        loss = loss + 0 * sum(of_layer.square().sum() for of_layer in maps.values())
        gradients = torch.autograd.grad(loss, list(explained.parameters()))
        for gradient, other in zip(gradients, expected, strict=True):
            torch.testing.assert_close(gradient, other)
        for buffer, other in zip(explained.buffers(), plain.buffers(), strict=True):
            torch.testing.assert_close(buffer, other)
        assert all(module.training == training for module in explained.modules())
        assert not any(module._forward_hooks or module._forward_pre_hooks for module in explained.modules())


def check_zero_and_empty_maps(attributor: Attributor, model: nn.Module, images: Tensor) -> None:
    """Explain logits that depend on nothing, then no image: maps of zeros with zero gradients, and none."""
    silent = copy.deepcopy(model)
    head = [module for module in silent.modules() if isinstance(module, nn.Linear)][-1]
    with torch.no_grad():
        head.weight.zero_()
    classes = torch.zeros(len(images), dtype=torch.int64)
    forward = attributor.forward(silent, images)
    for of_layer in attributor.attribute_layers(forward, classes, create_graph=True).values():
        assert not of_layer.any()
        gradients = torch.autograd.grad(
            of_layer.square().sum(), list(silent.parameters()), retain_graph=True, materialize_grads=True
        )
        assert not any(gradient.any() for gradient in gradients)
    none = attributor.attribute_layers(attributor.forward(model, images[:0]), classes[:0])
    for layer, of_layer in attributor.attribute_layers(attributor.forward(model, images), classes).items():
        assert of_layer.shape == (len(images), *none[layer].shape[1:])
        assert len(none[layer]) == 0


def _loss(logits: Tensor, classes: Tensor) -> Tensor:
    labels = F.one_hot(classes, logits.shape[1]).to(logits)
    return F.binary_cross_entropy_with_logits(logits, labels)
