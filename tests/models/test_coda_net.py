"""CoDA networks: dynamic linear at every layer, with the right gradients of a guided loss."""

from math import log
from pathlib import Path
from typing import get_args

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from guidance.attribution.bcos import BcosContributions
from guidance.errors import InputError
from guidance.losses import EnergyLoss
from guidance.models import Classifier, CodaNet, added_bias, coda_net, coda_small, load_start_weights
from guidance.models.coda_layers import Nonlinearity
from tests.models.bcos_family import assert_close_on_scale
from tests.models.slow_alignment import TwoPass

NONLINEARITIES = get_args(Nonlinearity)
CLASSES = torch.tensor([2, 0])
# The layer after each of the names.
NEXT = {"input": 0, "mid1": 2, "mid2": 4, "mid3": 5, "final": 6}


def small(nonlinearity: Nonlinearity = "squash") -> Classifier:
    """Build a network whose logits differ from their bias, in double precision."""
    torch.manual_seed(0)
    return coda_small(3, width=4, rank=3, nonlinearity=nonlinearity, temperature=2).double()


def network_of(model: Classifier) -> CodaNet:
    assert isinstance(model.network, CodaNet)
    return model.network


def some_images(side: int = 16) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.rand(2, 3, side, side - 2, dtype=torch.float64, generator=generator)


@pytest.mark.parametrize("nonlinearity", NONLINEARITIES)
def test_every_layer_explains_the_logit_minus_its_bias(nonlinearity: Nonlinearity) -> None:
    model, images = small(nonlinearity), some_images()
    attributor = BcosContributions(list(model.layers))
    attributor.check(model)
    forward = attributor.forward(model, images)
    maps = attributor.attribute_layers(forward, CLASSES)
    evidence = (forward.logits.detach() + log(2)).gather(1, CLASSES[:, None])[:, 0]
    assert evidence.abs().max() > 0.01
    assert added_bias(model) == -log(2)
    for name, of_layer in maps.items():
        expected_logits, expected = TwoPass(network_of(model), temperature=2).maps(
            model.encoding(images), CLASSES, NEXT[name]
        )
        assert_close_on_scale(forward.logits.detach(), expected_logits.detach())
        assert_close_on_scale(of_layer, expected.detach())
        torch.testing.assert_close(of_layer.sum((1, 2)), evidence, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("nonlinearity", NONLINEARITIES)
@pytest.mark.parametrize("layer", ["input", "mid2", "final"])
def test_gradients_of_a_guided_loss_equal_a_slow_reference(nonlinearity: Nonlinearity, layer: str) -> None:
    model, images = small(nonlinearity), some_images()
    labels = torch.tensor([[0.0, 1, 1], [1, 0, 0]], dtype=torch.float64)
    masks = torch.zeros(2, 16, 14, dtype=torch.bool)
    masks[:, 3:10, 2:9] = True

    def total(logits: Tensor, maps: Tensor) -> Tensor:
        classification = F.binary_cross_entropy_with_logits(logits, labels)
        localization: Tensor = EnergyLoss()(maps, masks)
        return classification + localization.sum() + maps.square().sum()

    parameters = list(model.parameters())
    attributor = BcosContributions(layer)
    forward = attributor.forward(model, images)
    maps = attributor.attribute(forward, CLASSES, create_graph=True)
    ours = torch.autograd.grad(total(forward.logits, maps), parameters)
    reference = TwoPass(network_of(model), temperature=2).maps(model.encoding(images), CLASSES, NEXT[layer])
    expected = torch.autograd.grad(total(*reference), parameters)
    for gradient, other in zip(ours, expected, strict=True):
        torch.testing.assert_close(gradient, other, rtol=1e-8, atol=1e-9)
    assert all(gradient.abs().max() > 1e-6 for gradient in ours)


def test_image_without_a_nonzero_channel_has_no_evidence() -> None:
    """[x, 1 - x] is never 0, so the network itself is asked."""
    network = network_of(small())
    x = torch.zeros(1, 6, 16, 16, dtype=torch.float64, requires_grad=True)
    logits = network(x)
    assert torch.equal(logits, torch.full((1, 3), -log(2), dtype=torch.float64))
    gradients = torch.autograd.grad(logits.sum(), [x, *network.parameters()])
    assert all(gradient.isfinite().all() for gradient in gradients)
    model = small()
    for image in (torch.zeros(1, 3, 16, 16).double(), torch.ones(1, 3, 16, 16).double()):
        forward = BcosContributions().forward(model, image)
        maps = BcosContributions().attribute(forward, torch.tensor([1]), create_graph=True)
        gradients = torch.autograd.grad(maps.square().sum(), list(model.parameters()))
        assert maps.any()
        assert all(gradient.isfinite().all() for gradient in gradients)


def test_temperature_divides_the_evidence() -> None:
    cold, images = small(), some_images()
    hot = coda_small(3, width=4, rank=3, temperature=20).double()
    hot.load_state_dict(cold.state_dict())
    torch.testing.assert_close((hot(images) + log(2)) * 10, cold(images) + log(2))


def test_untrained_classes_have_the_probability_1_over_k() -> None:
    torch.manual_seed(0)
    probabilities = coda_small(8)(torch.rand(2, 3, 64, 64)).sigmoid()
    torch.testing.assert_close(probabilities, torch.full((2, 8), 1 / 8), rtol=0, atol=0.02)


def test_classification_trains_every_layer() -> None:
    """Twenty steps tell two kinds of images apart, at the default temperature."""
    torch.manual_seed(0)
    model = coda_small(2, width=4)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    start = [parameter.detach().clone() for parameter in model.parameters()]
    images = torch.rand(8, 3, 32, 32) * torch.tensor([0.3, 1.0]).repeat(4)[:, None, None, None]
    labels = torch.eye(2).repeat(4, 1)
    losses = []
    for _ in range(20):
        loss = F.binary_cross_entropy_with_logits(model(images), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.5 * losses[0]
    assert all(not torch.equal(old, new) for old, new in zip(start, model.parameters(), strict=True))


def test_named_layers_have_their_resolutions_and_sizes() -> None:
    small_sizes = {
        "input": (6, 64, 64),
        "mid1": (16, 32, 32),
        "mid2": (32, 16, 16),
        "mid3": (64, 8, 8),
        "final": (64, 8, 8),
    }
    medium_sizes = {
        "input": (6, 72, 72),
        "mid1": (32, 24, 24),
        "mid2": (64, 12, 12),
        "mid3": (64, 6, 6),
        "final": (64, 6, 6),
    }
    for build, sizes in ((coda_small, small_sizes), (coda_net, medium_sizes)):
        with torch.device("meta"):  # no time for random numbers
            model = build(3)
        model = model.to_empty(device="cpu")
        images = torch.rand(1, 3, *sizes["input"][1:])
        with torch.no_grad():
            activations = BcosContributions(list(model.layers)).forward(model, images).activations
        assert {name: tuple(value.shape[1:]) for name, value in activations.items()} == sizes


def test_state_dict_is_a_start(tmp_path: Path) -> None:
    first, second = small(), coda_small(3, width=4, rank=3, temperature=2).double()
    torch.save(first.state_dict(), tmp_path / "weights.pt")
    load_start_weights(second, tmp_path / "weights.pt")
    images = some_images()
    assert torch.equal(first(images), second(images))
    with pytest.raises(InputError, match="belongs to another model"):
        load_start_weights(coda_net(3), tmp_path / "weights.pt")
    other = coda_small(5, width=4, rank=3).double()
    with pytest.warns(UserWarning, match=r"for 3 classes, not 5: network.layers.6.expansion"):
        load_start_weights(other, tmp_path / "weights.pt")


def test_wrong_options_and_a_single_class_are_refused() -> None:
    with pytest.raises(InputError, match=r"model.temperature\) must be positive; got 0"):
        coda_small(3, temperature=0)
    with pytest.raises(InputError, match="at least 2 classes; the data set has 1"):
        coda_net(1)
    with pytest.raises(InputError, match=r"unknown model.nonlinearity 'squashing'. Did you mean 'squash'"):
        coda_net(3, nonlinearity="squashing")  # type: ignore[arg-type]
