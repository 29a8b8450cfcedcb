"""B-cos ResNets: equal to ``bcos``, dynamic linear, and with the right gradients of a guided loss."""

from math import log

import bcos.models.resnet as reference
import pytest
import torch
from bcos.modules.norms import BatchNormUncentered2d, NoBias
from torch import Tensor, nn

from guidance.attribution import BcosContributions
from guidance.errors import InputError
from guidance.losses import EnergyLoss
from guidance.models import BcosConv2d, Classifier, UncenteredBatchNorm2d, bcos_resnet, bcos_small
from guidance.models.dynamic_factors import dynamic_scale


def with_statistics(model: nn.Module) -> None:
    """Give batch norms the statistics of some images, as if trained; all outputs keep a normal size."""
    model.train()
    generator = torch.Generator().manual_seed(3)
    parameter = next(model.parameters())
    with torch.no_grad():
        for _ in range(8):
            model(torch.rand(4, 3, 64, 64, generator=generator).to(parameter.dtype))
    model.eval()


@pytest.mark.parametrize("depth", [18, 50])
@pytest.mark.parametrize("training", [False, True])
def test_equals_the_package(depth: int, training: bool) -> None:
    torch.manual_seed(0)
    ours = bcos_resnet(depth, num_classes=20)
    with_statistics(ours)
    theirs = getattr(reference, f"resnet{depth}")(
        num_classes=20, norm_layer=NoBias(BatchNormUncentered2d), logit_bias=-log(19)
    )
    theirs.load_state_dict(ours.network.state_dict())
    ours.train(training)
    theirs.train(training)

    images = torch.rand(2, 3, 64, 64)
    if training:  # statistics of two images amplify float32 rounding through fifty layers
        ours, theirs, images = ours.double(), theirs.double(), images.double()
    classes = torch.tensor([3, 17])
    attributor = BcosContributions()
    forward = attributor.forward(ours, images)
    logits = forward.logits
    maps = attributor.attribute(forward, classes)

    x = torch.cat([images, 1 - images], 1).requires_grad_()
    with theirs.explanation_mode():
        expected = theirs(x)
        (gradient,) = torch.autograd.grad(expected.gather(1, classes[:, None]).sum(), x)
    torch.testing.assert_close(logits, expected, rtol=1e-5, atol=1e-5)
    expected_maps = (x * gradient).sum(1).detach()
    largest = expected_maps.abs().amax()
    torch.testing.assert_close(maps / largest, expected_maps / largest, rtol=0, atol=1e-5)


@pytest.mark.parametrize("model", ["small", "18"])
def test_contributions_sum_to_the_logit_minus_its_bias(model: str) -> None:
    torch.manual_seed(0)
    network = bcos_small(6, width=8) if model == "small" else bcos_resnet(18, 6)
    network = network.double()
    with_statistics(network)
    attributor = BcosContributions()
    forward = attributor.forward(network, torch.rand(3, 3, 64, 64, dtype=torch.float64))
    logits = forward.logits
    classes = torch.tensor([0, 5, 2])
    maps = attributor.attribute(forward, classes)
    expected = logits.detach().gather(1, classes[:, None])[:, 0] + log(5)
    torch.testing.assert_close(maps.sum((1, 2)), expected, rtol=1e-10, atol=1e-10)


class TwoPass:
    """A slow reference for guided gradients that needs no custom backward.

    A first pass records every dynamic factor, as a function of the parameters. A second pass applies the
    layers to a fresh leaf with these factors as given tensors: it is linear in the leaf, so its ordinary
    gradient is W(x), and W(x) depends on the parameters through weights and factors alike.
    """

    def __init__(self, model: Classifier) -> None:
        self.model = model
        self.factors: list[Tensor] = []
        self.replay = False

    def run(self, x: Tensor) -> Tensor:
        position = 0

        def scaled(value: Tensor, make: Tensor) -> Tensor:
            nonlocal position
            if self.replay:
                factor = self.factors[position]
            else:
                factor = make
                self.factors.append(factor)
            position += 1
            return value * factor

        def conv(module: BcosConv2d, args: tuple[Tensor], _: Tensor) -> Tensor:
            (value,) = args
            weight = module.linear.weight
            weight = weight / weight.flatten(1).norm(dim=1)[:, None, None, None]
            out: Tensor = nn.functional.conv2d(
                value, weight, None, module.linear.stride, module.linear.padding
            )
            squares = nn.functional.conv2d(
                value**2, torch.ones_like(weight[:1]), None, module.linear.stride, module.linear.padding
            )
            return scaled(out, out.abs() / (squares + 1e-6) ** 0.5)

        def norm(module: UncenteredBatchNorm2d, args: tuple[Tensor], _: Tensor) -> Tensor:
            (value,) = args
            mean = value.mean((0, 2, 3), keepdim=True)
            variance = ((value - mean) ** 2).mean((0, 2, 3)) if module.training else module.running_var
            return scaled(value, (module.weight / (variance + module.eps) ** 0.5)[:, None, None])

        handles = [
            module.register_forward_hook(conv if isinstance(module, BcosConv2d) else norm)
            for module in self.model.modules()
            if isinstance(module, BcosConv2d | UncenteredBatchNorm2d)
        ]
        try:
            logits: Tensor = self.model.network(x)
        finally:
            for handle in handles:
                handle.remove()
        return logits

    def maps(self, images: Tensor, classes: Tensor) -> tuple[Tensor, Tensor]:
        x = self.model.encoding(images)
        logits = self.run(x)
        self.replay = True
        leaf = x.clone().requires_grad_()
        linear = self.run(leaf).gather(1, classes[:, None]).sum()
        (w,) = torch.autograd.grad(linear, leaf, create_graph=True)
        return logits, (leaf * w).sum(1)


@pytest.mark.parametrize("model", ["small", "18", "50"])
@pytest.mark.parametrize("training", [True, False])
def test_gradients_of_a_guided_loss_equal_a_slow_reference(model: str, training: bool) -> None:
    torch.manual_seed(0)
    network = bcos_small(6, width=8) if model == "small" else bcos_resnet(int(model), 6)
    network = network.double()
    with_statistics(network)
    network.train(training)
    images = torch.rand(2, 3, 48, 48, dtype=torch.float64)
    labels = torch.rand(2, 6, dtype=torch.float64).round()
    classes = torch.tensor([4, 1])
    masks = torch.zeros(2, 48, 48, dtype=torch.bool)
    masks[:, 10:30, 5:25] = True

    def total(logits: Tensor, maps: Tensor) -> Tensor:
        classification = nn.functional.binary_cross_entropy_with_logits(logits, labels)
        localization: Tensor = EnergyLoss()(maps, masks)
        return classification + localization.sum() + maps.square().sum()

    parameters = list(network.parameters())
    attributor = BcosContributions()
    forward = attributor.forward(network, images)
    logits = forward.logits
    maps = attributor.attribute(forward, classes, create_graph=True)
    ours = torch.autograd.grad(total(logits, maps), parameters)
    expected_logits, expected_maps = TwoPass(network).maps(images, classes)
    expected = torch.autograd.grad(total(expected_logits, expected_maps), parameters)

    torch.testing.assert_close(maps, expected_maps, rtol=1e-9, atol=1e-9)
    for gradient, reference_gradient in zip(ours, expected, strict=True):
        torch.testing.assert_close(gradient, reference_gradient, rtol=1e-8, atol=1e-8)
    assert max(gradient.abs().max().item() for gradient in ours) > 1e-3


def test_detaching_the_factors_would_lose_gradients() -> None:
    """What the loss's way to the dynamic factors is worth: without it, the gradient is another."""
    torch.manual_seed(0)
    layer = BcosConv2d(2, 3, 3).double()
    x = torch.rand(1, 2, 5, 5, dtype=torch.float64)
    out = layer.linear(x)
    factor = out.abs() / layer.patch_norms(x)
    weight = layer.linear.weight
    (full,) = torch.autograd.grad(dynamic_scale(out, factor).sum(), weight, retain_graph=True)
    (cut,) = torch.autograd.grad(dynamic_scale(out, factor.detach()).sum(), weight)
    assert (full - cut).abs().max() > 0.1


def test_logit_bias_gives_an_untrained_class_the_probability_1_over_k() -> None:
    def bias(model: Classifier) -> float:
        value = model.network.get_submodule("logit_layer").logit_bias
        assert isinstance(value, float)
        return value

    assert torch.sigmoid(torch.tensor(bias(bcos_resnet(18, num_classes=20)))).item() == pytest.approx(1 / 20)
    assert bias(bcos_small(num_classes=2, width=8)) == 0


def test_named_layers_have_the_paper_s_resolutions() -> None:
    model = bcos_resnet(18, num_classes=3).eval()
    images = torch.rand(1, 3, 64, 64)
    sizes = {
        layer: tuple(BcosContributions(layer).forward(model, images).activations[layer].shape[1:])
        for layer in model.layers
    }
    assert sizes == {
        "input": (6, 64, 64),
        "mid1": (64, 16, 16),
        "mid2": (128, 8, 8),
        "mid3": (256, 4, 4),
        "final": (512, 2, 2),
    }


def test_map_at_final_is_the_classifier_s_output_over_its_area() -> None:
    model = bcos_resnet(18, num_classes=3).eval()
    with_statistics(model)
    attributor = BcosContributions("final")
    forward = attributor.forward(model, torch.rand(2, 3, 96, 96))
    maps = attributor.attribute(forward, torch.tensor([1, 2]))
    scores = model.network.get_submodule("fc")(forward.activations["final"]).detach()
    torch.testing.assert_close(maps, torch.stack([scores[0, 1], scores[1, 2]]) / 9)


def test_wrong_options_and_a_single_class_are_refused() -> None:
    with pytest.raises(InputError, match=r"unknown model.depth '19'. Did you mean '18'"):
        bcos_resnet(19, 20)
    with pytest.raises(InputError, match=r"unknown model.weights of resnet_18 'long'. Known: v2"):
        bcos_resnet(18, 20, weights="long")
    with pytest.raises(InputError, match=r"unknown model.weights of resnet_50 'lon'. Did you mean 'long'"):
        bcos_resnet(50, 20, weights="lon")
    with pytest.raises(InputError, match="at least 2 classes; the data set has 1"):
        bcos_small(1)
