"""B-cos explanations against the double backward of torch's own layers; rows against the whole batch."""

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.ops import StochasticDepth

import guidance.models.bcos_attention as attention
import guidance.models.bcos_layers as layers
import guidance.models.bcos_linear as linear
from guidance.attribution import BcosContributions, ForwardPass
from guidance.errors import InputError
from guidance.models import Classifier, bcos_convnext, bcos_densenet, bcos_resnet, bcos_small, bcos_vit
from guidance.models.bcosified import bcosified
from guidance.models.dynamic_factors import dynamic_scale
from guidance.models.factor_tape import recorded

CLASSES = torch.tensor([1, 0, 2, 1])
ROWS = torch.tensor([3, 1, 1])


def images(size: int = 32) -> Tensor:
    return torch.rand(4, 3, size, size, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def small() -> Classifier:
    torch.manual_seed(0)
    return bcos_small(3, width=8).double()


def loss_of(logits: Tensor, maps: dict[str, Tensor]) -> Tensor:
    scaled = [(of_layer / of_layer.detach().abs().mean()).sin().sum() for of_layer in maps.values()]
    return logits.square().mean() + torch.stack(scaled).sum()


def explained(
    model: Classifier, attributor: BcosContributions, restrict: bool = False, size: int = 32
) -> tuple[dict[str, Tensor], list[Tensor], dict[str, Tensor]]:
    """Return maps of ROWS, gradients of a loss, and buffers; explain these rows alone, or all images."""
    model = copy.deepcopy(model)
    forward = attributor.forward(model, images(size))
    if restrict:
        maps = attributor.attribute_layers(forward.restrict(ROWS), CLASSES[ROWS], create_graph=True)
    else:
        of_all = attributor.attribute_layers(forward, CLASSES, create_graph=True)
        maps = {layer: of_layer[ROWS] for layer, of_layer in of_all.items()}
    loss = loss_of(forward.logits, maps)
    return maps, list(torch.autograd.grad(loss, list(model.parameters()))), dict(model.named_buffers())


def compare(actual: Any, expected: Any, tolerance: float = 1e-9) -> None:
    for layer, of_layer in expected[0].items():
        torch.testing.assert_close(actual[0][layer], of_layer, rtol=tolerance, atol=tolerance)
    for gradient, other in zip(actual[1], expected[1], strict=True):
        largest = float(other.abs().max())
        torch.testing.assert_close(gradient, other, rtol=tolerance, atol=tolerance * largest)
    for name, buffer in expected[2].items():
        torch.testing.assert_close(actual[2][name], buffer)


def plain_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let layers compute everything by torch's own operations, with their own double backward."""

    def unit_norm(weight: Tensor) -> Tensor:
        return weight / weight.square().sum(tuple(range(1, weight.ndim)), keepdim=True).sqrt()

    def squared_norm(x: Tensor, dim: int) -> Tensor:
        return x.square().sum(dim, keepdim=True)

    def variance_and_mean(x: Tensor) -> tuple[Tensor, Tensor]:
        variance, mean = torch.var_mean(x, dim=(0, 2, 3), unbiased=False)
        return variance, mean

    def convolve(x: Tensor, weight: Tensor, *geometry: Any) -> Tensor:
        return F.conv2d(x, weight, None, *geometry)

    def cosine_scale(out: Tensor, norm: Callable[[], Tensor], b: float) -> Tensor:
        assert b == 2
        return dynamic_scale(out, recorded(lambda: out.abs() / norm()))

    def variance_scale(x: Tensor, weight: Tensor, eps: float) -> tuple[Tensor, Tensor, Tensor]:
        variance, _ = variance_and_mean(x)
        factor = (weight * (variance + eps).rsqrt())[:, None, None]
        return dynamic_scale(x, factor), factor, variance.detach()

    own = {
        "average_pool": F.avg_pool2d,
        "variance_scale": variance_scale,
        "cosine_scale": cosine_scale,
        "convolve": convolve,
        "multiply": F.linear,
        "unit_norm": unit_norm,
        "squared_norm": squared_norm,
        "variance_and_mean": variance_and_mean,
    }
    for module in (layers, linear, attention):
        for name, function in own.items():
            if hasattr(module, name):
                monkeypatch.setattr(module, name, function)


def small_vit() -> Classifier:
    torch.manual_seed(0)
    model = bcos_vit("ti", 3)
    transformer = model.network.get_submodule("0.transformer")
    assert isinstance(transformer, nn.Sequential)
    del transformer[3:]
    for number, layer in enumerate(("mid1", "mid2", "final")):
        model.layers[layer] = f"network.0.transformer.{number}"
    del model.layers["mid3"]
    return model.double()


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("build", [small, small_vit])
def test_guided_gradients_equal_torch_s_double_backward(
    build: Callable[[], Classifier], training: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, attributor = build().train(training), BcosContributions(["input", "final"])
    actual = explained(model, attributor)
    plain_torch(monkeypatch)
    compare(actual, explained(model, attributor))


@pytest.mark.parametrize("restrict", [False, True])
@pytest.mark.parametrize("build", [small, small_vit])
def test_explanations_in_bfloat16(build: Callable[[], Classifier], restrict: bool) -> None:
    """Maps and gradients are near the exact ones, in their type; the logits are the same."""
    model = build().train()
    exact, low = BcosContributions("input"), BcosContributions("input", dtype="bfloat16")
    torch.testing.assert_close(
        low.forward(model, images()).logits, exact.forward(model, images()).logits, rtol=0, atol=0
    )
    maps, gradients, _ = explained(model, low, restrict)
    expected_maps, expected, _ = explained(model, exact, restrict)
    assert maps["input"].dtype == torch.float64
    error = float((maps["input"] - expected_maps["input"]).norm() / expected_maps["input"].norm())
    assert 1e-5 < error < 2e-2
    actual, other = (torch.cat([one.flatten() for one in each]) for each in (gradients, expected))
    assert F.cosine_similarity(actual, other, dim=0) > 0.999


def test_explanations_in_another_type() -> None:
    with pytest.raises(InputError, match=r"attributor.dtype 'float16'.*bfloat16"):
        BcosContributions("input", dtype="float16")


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("layer", ["input", "mid2", "final", ["input", "mid1", "final"], "within a block"])
@pytest.mark.parametrize("build", [small, small_vit])
def test_rows_alone_equal_rows_of_the_whole_batch(
    build: Callable[[], Classifier], layer: str | list[str], training: bool
) -> None:
    if layer == "within a block":
        layer = "network.layer2.0.bn1" if build is small else "network.0.transformer.1.attn"
    model, attributor = build().train(training), BcosContributions(layer)
    compare(explained(model, attributor, restrict=True), explained(model, attributor))


def test_a_loss_on_the_maps_of_several_rows_reaches_all_factors() -> None:
    """Alone, and by several restricted passes of different rows, whose gradients meet at the same factors."""
    model, attributor = small().train(), BcosContributions("mid1")
    parameters = list(model.parameters())
    gradients = []
    for restrict in (False, True):
        forward = attributor.forward(model, images())
        losses = []
        for rows in (ROWS, torch.tensor([0]), torch.tensor([3, 2])):
            if restrict:
                maps = attributor.attribute(forward.restrict(rows), CLASSES[rows], create_graph=True)
            else:
                maps = attributor.attribute(forward, CLASSES, create_graph=True)[rows]
            losses.append(maps.sin().square().sum())
        total = torch.stack(losses).sum()
        gradients.append(torch.autograd.grad(total, parameters, allow_unused=True, retain_graph=True))
        gradients.append(torch.autograd.grad(total, parameters, allow_unused=True, create_graph=True))
    for one in gradients[1:]:
        for actual, expected in zip(one, gradients[0], strict=True):
            assert (actual is None) == (expected is None)
            if actual is not None and expected is not None:
                torch.testing.assert_close(actual, expected, rtol=1e-9, atol=1e-12)


@pytest.mark.slow
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("name", ["resnet", "densenet", "convnext", "vit", "vit_c"])
def test_rows_of_whole_networks(name: str, training: bool) -> None:
    torch.manual_seed(0)
    builders: dict[str, Callable[[], Classifier]] = {
        "resnet": lambda: bcos_resnet(50, 3),
        "densenet": lambda: bcos_densenet(121, 3),
        "convnext": lambda: bcos_convnext("tiny", 3),
        "vit": lambda: bcos_vit("ti", 3),
        "vit_c": lambda: bcos_vit("ti", 3, conv_stem=True),
    }
    model = builders[name]().double().train(training)
    for module in model.modules():
        if isinstance(module, StochasticDepth):
            module.p = 0.0
    attributor = BcosContributions(list(model.layers))
    whole, rows = (explained(model, attributor, restrict, size=64) for restrict in (False, True))
    compare(rows, whole, tolerance=1e-8)


def test_what_is_not_linear_but_for_its_factors_is_not_restricted() -> None:
    attributor = BcosContributions()
    relu = attributor.forward(bcosified("resnet18", 3).eval(), torch.rand(1, 3, 32, 32))
    assert relu.tape is None
    with pytest.raises(ValueError, match="only the pass of a B-cos network that was recorded"):
        relu.restrict(torch.tensor([0]))
    dropping = bcos_convnext("tiny", 3)
    assert attributor.forward(dropping.eval(), torch.rand(1, 3, 32, 32)).tape is not None
    assert attributor.forward(dropping.train(), torch.rand(1, 3, 32, 32)).tape is None


def test_explaining_a_row_costs_nothing_of_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []
    transposed = F.conv_transpose2d

    def spy(gradient: Tensor, *args: Any) -> Tensor:
        sizes.append(len(gradient))
        return transposed(gradient, *args)

    attributor = BcosContributions("mid2")
    forward: ForwardPass = attributor.forward(small(), images())
    monkeypatch.setattr(F, "conv_transpose2d", spy)
    attributor.attribute(forward.restrict(ROWS[:1]), CLASSES[ROWS[:1]], create_graph=True)
    after_mid2 = 2 * 3 + 1  # two blocks of two convolutions and a downsampling, and the classifier
    assert sizes == [1] * after_mid2


@pytest.mark.parametrize("restrict", [False, True])
def test_a_loss_is_not_differentiated_with_respect_to_the_image(restrict: bool) -> None:
    """It would take a transposed convolution of the whole batch, and nobody asked for it."""
    attributor = BcosContributions()
    forward = attributor.forward(small(), images())
    rows = torch.arange(4)
    maps = attributor.attribute(forward.restrict(rows) if restrict else forward, CLASSES, create_graph=True)
    (forward.logits.square().mean() + maps.square().sum()).backward()
    image = forward.activations["input"]
    assert image.is_leaf
    assert image.grad is None


@pytest.mark.parametrize("restrict", [False, True])
def test_an_image_with_a_gradient_of_its_own_has_it(restrict: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    attributor = BcosContributions()

    def gradient(restrict: bool) -> Tensor:
        of_image = images().requires_grad_()
        forward = attributor.forward(small(), of_image)
        some = forward.restrict(ROWS) if restrict else forward
        maps = attributor.attribute(some, CLASSES[ROWS] if restrict else CLASSES, create_graph=True)
        loss = loss_of(forward.logits, {"input": maps if restrict else maps[ROWS]})
        return torch.autograd.grad(loss, of_image)[0]

    actual = gradient(restrict)
    plain_torch(monkeypatch)
    torch.testing.assert_close(actual, gradient(restrict=False), rtol=1e-9, atol=1e-12)
