"""Converted layers against torch's own, slow loops, and finite differences."""

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from guidance.errors import InputError
from guidance.models.bcos_layers import BcosConv2d, UncenteredBatchNorm2d
from guidance.models.bcosified_layers import (
    BcosifiedBatchNorm2d,
    BcosifiedConv2d,
    DynamicReLU6,
    set_bias_scale,
    set_exponent,
)
from guidance.models.dynamic_factors import explanation_backward
from tests.two_ranks import on_two_ranks

GEOMETRIES = [
    {"kernel_size": 1},
    {"kernel_size": 3, "stride": 2, "padding": 1},
    {"kernel_size": 3, "padding": 2, "dilation": 2},
    {"kernel_size": 3, "padding": 1, "groups": 4},
    {"kernel_size": (3, 1), "padding": (1, 0), "groups": 2, "bias": False},
]


def convolution(**geometry: object) -> nn.Conv2d:
    torch.manual_seed(0)
    return nn.Conv2d(4, 8, **geometry).double()  # type: ignore[arg-type]


def image() -> Tensor:
    return torch.randn(2, 4, 5, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("scale", [0, 0.3, 1])
@pytest.mark.parametrize("geometry", GEOMETRIES)
def test_with_exponent_1_it_is_the_convolution_with_a_part_of_its_bias(
    geometry: dict[str, object], scale: float
) -> None:
    conv = convolution(**geometry)
    ours = BcosifiedConv2d(conv, b=1, bias_scale=scale)
    old = conv.weight.clone()
    if conv.bias is not None:
        conv.bias.data.mul_(scale)
    torch.testing.assert_close(ours(image()), conv(image()), rtol=1e-12, atol=1e-14)
    with torch.no_grad():
        ours.linear.weight.add_(1)
    torch.testing.assert_close(conv.weight, old, rtol=0, atol=0)  # a copy


@pytest.mark.parametrize("b", [1.5, 2, 3])
@pytest.mark.parametrize("geometry", GEOMETRIES)
def test_higher_exponents_are_powers_of_the_cosine(geometry: dict[str, object], b: float) -> None:
    conv = convolution(**geometry)
    x = image()
    out = BcosifiedConv2d(conv, b)(x)
    columns = F.unfold(x, conv.kernel_size, conv.dilation, conv.padding, conv.stride)  # type: ignore[arg-type]
    patches = columns.unflatten(1, (conv.groups, -1))
    expected = torch.empty_like(out).flatten(2)
    for k, weight in enumerate(conv.weight):
        group = k * conv.groups // conv.out_channels
        for n in range(2):
            for position in range(expected.shape[2]):
                patch = patches[n, group, :, position]
                cosine = F.cosine_similarity(patch, weight.flatten(), dim=0)
                expected[n, k, position] = cosine.abs() ** (b - 1) * (patch @ weight.flatten())
    torch.testing.assert_close(out.flatten(2), expected, rtol=1e-5, atol=1e-5)  # the stabilisers
    if conv.bias is not None:  # the bias is no part of the cosine
        biased = BcosifiedConv2d(conv, b, bias_scale=0.5)(x)
        torch.testing.assert_close(biased, out + 0.5 * conv.bias[:, None, None])
    # The norm of the filters, on top of the other kind of layer.
    unit = BcosConv2d(4, 8, **geometry | {"bias": False}, b=b).double()  # type: ignore[arg-type]
    unit.linear.weight = conv.weight
    norms = conv.weight.flatten(1).norm(dim=1)[:, None, None]
    torch.testing.assert_close(out, unit(x) * norms, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("b", [1, 1.5, 2])
def test_gradients(b: float) -> None:
    ours = BcosifiedConv2d(convolution(kernel_size=2, groups=4), b)
    x = image()[:1, :, :3, :2].requires_grad_()

    def run(x: Tensor, weight: Tensor) -> Tensor:
        out: Tensor = torch.func.functional_call(ours, {"linear.weight": weight}, (x,))
        return out

    weight = ours.linear.weight.detach().requires_grad_()
    assert torch.autograd.gradcheck(run, (x, weight))
    assert torch.autograd.gradgradcheck(run, (x, weight))


@pytest.mark.parametrize("b", [1, 1.5, 2])
def test_a_filter_of_zeros_has_finite_gradients(b: float) -> None:
    ours = BcosifiedConv2d(convolution(kernel_size=3), b).float()
    nn.init.zeros_(ours.linear.weight)
    x = image().float().requires_grad_()
    out = ours(x)
    assert (out == 0).all()
    (gradient,) = torch.autograd.grad(out.sum(), x, create_graph=True)
    (gradient.sum() + out.sum()).backward()
    assert ours.linear.weight.grad is not None
    assert ours.linear.weight.grad.isfinite().all()


@pytest.mark.parametrize("options", [{"padding": "same"}, {"padding": 1, "padding_mode": "reflect"}])
def test_other_padding_is_refused(options: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="pads with zeros"):
        BcosifiedConv2d(convolution(kernel_size=3, **options))


def test_relu6_and_its_derivatives() -> None:
    x = torch.tensor([-1.0, 0.0, 2.0, 6.0, 7.0, 60.0], dtype=torch.float64, requires_grad=True)
    ours, theirs = DynamicReLU6()(x), F.relu6(x)
    torch.testing.assert_close(ours, theirs)
    (a,) = torch.autograd.grad(ours.square().sum(), x, create_graph=True)
    (b,) = torch.autograd.grad(theirs.square().sum(), x)
    torch.testing.assert_close(a[[0, 1, 2, 4, 5]], b[[0, 1, 2, 4, 5]])  # at the kink any will do
    smooth = torch.tensor([-1.0, 2.0, 7.0, 60.0], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradgradcheck(DynamicReLU6(), smooth)


def test_relu6_explained() -> None:
    """The explanation accounts for all of the output, and a loss on it reaches the factor."""
    x = torch.tensor([-1.0, 2.0, 7.0, 60.0], dtype=torch.float64, requires_grad=True)
    out = DynamicReLU6()(x)
    with explanation_backward():
        (w,) = torch.autograd.grad(out.sum(), x, create_graph=True)
    torch.testing.assert_close(w, torch.tensor([0, 1, 6 / 7, 0.1], dtype=torch.float64))
    torch.testing.assert_close(w * x, out)
    (slope,) = torch.autograd.grad(w.sum(), x)
    torch.testing.assert_close(slope, torch.tensor([0, 0, -6 / 49, -6 / 3600], dtype=torch.float64))


def norms(scale: float, training: bool) -> tuple[BcosifiedBatchNorm2d, nn.BatchNorm2d]:
    """Return a converted batch norm and the given one, both as in training or as in evaluation."""
    generator = torch.Generator().manual_seed(2)
    given = nn.BatchNorm2d(4, eps=1e-3).double()
    for tensor in (given.weight.data, given.bias.data, given.running_mean, given.running_var):
        assert tensor is not None
        tensor.uniform_(0.5, 2, generator=generator)
    return BcosifiedBatchNorm2d(given, scale).double().train(training), given.train(training)


@pytest.mark.parametrize("training", [False, True])
def test_batch_norm_with_all_its_biases_is_the_given_one(training: bool) -> None:
    ours, given = norms(1, training)
    torch.testing.assert_close(ours(image()), given(image()), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(ours.running_mean, given.running_mean, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("training", [False, True])
def test_batch_norm_without_biases_is_the_uncentered_one(training: bool) -> None:
    ours, given = norms(0, training)
    uncentered = UncenteredBatchNorm2d(4, given.eps).double().train(training)
    uncentered.load_state_dict(given.state_dict(), strict=False)
    assert given.running_var is not None
    assert uncentered.running_var.equal(given.running_var)
    torch.testing.assert_close(ours(image()), uncentered(image()), rtol=0, atol=0)
    torch.testing.assert_close(ours.running_var, uncentered.running_var, rtol=0, atol=0)


@pytest.mark.parametrize("training", [False, True])
def test_batch_norm_between(training: bool) -> None:
    """A part of what lies between the one with all and the one without; gradients of both kinds."""
    ours, given = norms(0.3, training)
    none, _ = norms(0, training)
    expected = 0.3 * given(image()) + 0.7 * none(image())
    torch.testing.assert_close(ours(image()), expected, rtol=1e-12, atol=1e-12)
    x = image()[:, :, :2, :2].requires_grad_()
    assert torch.autograd.gradcheck(ours, x)
    assert torch.autograd.gradgradcheck(ours, x)


@pytest.mark.parametrize("training", [False, True])
def test_batch_norm_explained(training: bool) -> None:
    """The explanation is the factor alone: mean and shift are constants, the batch's mean too."""
    ours, _ = norms(0.3, training)
    x = image().requires_grad_()
    with explanation_backward():
        (w,) = torch.autograd.grad(ours(x).square().sum() / 2, x)  # w = factor * output
    out = ours(x).detach()
    variance = image().var((0, 2, 3), unbiased=False) if training else ours.running_var
    # The second call has other running statistics only in training, where they are not used.
    factor = (ours.weight.detach() / (variance + ours.eps).sqrt())[:, None, None]
    torch.testing.assert_close(w, factor * out, rtol=1e-10, atol=1e-10)


def halves(rank: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return the outputs and gradients of one image of two, and the running mean."""
    ours, _ = norms(0.3, training=True)
    x = image()[rank : rank + 1].requires_grad_()
    out = ours(x)
    (gradient,) = torch.autograd.grad(out.pow(3).sum(), x)
    return out.detach(), gradient, ours.running_mean


def test_batch_norm_on_two_ranks_is_that_of_the_global_batch(tmp_path: Path) -> None:
    ours, _ = norms(0.3, training=True)
    x = image().requires_grad_()
    out = ours(x)
    (gradient,) = torch.autograd.grad(out.pow(3).sum(), x)
    for rank, results in enumerate(on_two_ranks(halves, tmp_path)):
        expected = (out[rank : rank + 1].detach(), gradient[rank : rank + 1], ours.running_mean)
        for value, one in zip(results, expected, strict=True):
            torch.testing.assert_close(value, one, rtol=1e-10, atol=1e-10)


def test_batch_norm_without_parameters_and_statistics() -> None:
    given = nn.BatchNorm2d(4, affine=False, track_running_stats=False).double()
    ours = BcosifiedBatchNorm2d(given, 1).double()
    torch.testing.assert_close(ours(image()), given(image()), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(ours.running_var, 0.9 + 0.1 * image().var((0, 2, 3), unbiased=False))


def test_set_exponent() -> None:
    network = nn.Sequential(BcosConv2d(1, 1), nn.Sequential(BcosifiedConv2d(nn.Conv2d(1, 1, 1))))
    set_exponent(network, 1.25)
    assert [module.b for module in network.modules() if isinstance(module, BcosConv2d)] == [1.25, 1.25]
    for wrong in (0.9, float("nan")):
        with pytest.raises(InputError, match="must be at least 1"):
            set_exponent(network, wrong)


def test_set_bias_scale() -> None:
    network = nn.Sequential(
        BcosifiedConv2d(nn.Conv2d(1, 1, 1)), nn.Sequential(BcosifiedBatchNorm2d(nn.BatchNorm2d(1)))
    )
    set_bias_scale(network, 0.25)
    kinds = (BcosifiedConv2d, BcosifiedBatchNorm2d)
    assert [module.bias_scale for module in network.modules() if isinstance(module, kinds)] == [0.25, 0.25]
    for wrong in (-0.1, 1.1, float("nan")):
        with pytest.raises(InputError, match="must be from 0 to 1"):
            set_bias_scale(network, wrong)
