"""B-cos layers against the formula, against ``bcos``, and their second derivatives against two references."""

from typing import Any

import pytest
import torch
from bcos.modules import BcosConv2d as ReferenceConv
from bcos.modules.norms import BatchNormUncentered2d, NoBias
from torch import Tensor, nn
from torch.fx.experimental.proxy_tensor import make_fx

from guidance.models.bcos_layers import BcosConv2d, UncenteredBatchNorm2d
from guidance.models.dynamic_factors import explanation_backward
from guidance.models.plain_formulas import plain_formulas


def slow_bcos(x: Tensor, weight: Tensor, b: float, stride: int, padding: int) -> Tensor:
    """|cos|^(B-1) * (w_hat . patch), one patch and one filter at a time."""
    x = nn.functional.pad(x, [padding] * 4)
    k = weight.shape[-1]
    rows, columns = (x.shape[2] - k) // stride + 1, (x.shape[3] - k) // stride + 1
    out = torch.zeros(len(x), len(weight), rows, columns, dtype=x.dtype)
    for n in range(len(x)):
        for o, w in enumerate(weight):
            w_hat = w / w.norm()
            for i in range(rows):
                for j in range(columns):
                    patch = x[n, :, i * stride : i * stride + k, j * stride : j * stride + k]
                    linear = (w_hat * patch).sum()
                    out[n, o, i, j] = (linear / patch.norm()).abs() ** (b - 1) * linear
    return out


@pytest.mark.parametrize("b", [1.0, 1.5, 2.0, 3.0])
@pytest.mark.parametrize(("kernel", "stride", "padding"), [(1, 1, 0), (1, 2, 0), (3, 2, 1)])
def test_equals_the_formula(b: float, kernel: int, stride: int, padding: int) -> None:
    torch.manual_seed(0)
    layer = BcosConv2d(3, 4, kernel, stride, padding, b=b).double()
    x = torch.rand(2, 3, 6, 5, dtype=torch.float64) + 0.5
    expected = slow_bcos(x, layer.linear.weight.detach(), b, stride, padding)
    torch.testing.assert_close(layer(x).detach(), expected, rtol=3e-6, atol=3e-6)


@pytest.mark.parametrize("b", [1.0, 1.25, 2.0])
@pytest.mark.parametrize(("groups", "dilation"), [(1, 1), (2, 1), (1, 2), (2, 2)])
def test_equals_the_package(b: float, groups: int, dilation: int) -> None:
    torch.manual_seed(0)
    arguments: dict[str, Any] = {"stride": 2, "padding": 1, "groups": groups, "dilation": dilation}
    if dilation > 1:
        # The package's dilated norms broadcast per output channel only without groups; compare with a
        # kernel that has been dilated by hand instead.
        layer = BcosConv2d(4, 6, 3, b=b, **arguments)
        plain = BcosConv2d(4, 6, 5, stride=2, padding=1, groups=groups, b=b)
        with torch.no_grad():
            plain.linear.weight.zero_()
            plain.linear.weight[..., ::2, ::2] = layer.linear.weight
        x = torch.rand(2, 4, 9, 9)
        expected = plain.linear(x)
        torch.testing.assert_close(layer.linear(x), expected)
        # Norms differ, as the 5x5 patch has more pixels: check them pixel by pixel.
        norm = layer.patch_norms(x)
        padded = nn.functional.pad(x, [1] * 4)
        patch = padded[1, : 4 // groups, 2:7:2, 4:9:2]
        torch.testing.assert_close(norm[1, 0, 1, 2], (patch.square().sum() + 1e-6).sqrt())
        return
    layer, reference = BcosConv2d(4, 6, 3, b=b, **arguments), ReferenceConv(4, 6, 3, b=b, **arguments)
    reference.load_state_dict(layer.state_dict())
    x = torch.randn(2, 4, 9, 9)
    torch.testing.assert_close(layer(x), reference(x))


@pytest.mark.parametrize("kernel", [1, 3])
def test_compiler_sees_no_view_of_what_norms_are_of(kernel: int) -> None:
    """Of a view torch's compiler would make a copy with channels first, and read that ever after."""
    layer = BcosConv2d(3, 4, kernel, padding=kernel // 2)
    with plain_formulas():
        graph = make_fx(lambda x: layer.patch_norms(x))(torch.rand(2, 3, 4, 4)).graph
    (x,) = (node for node in graph.nodes if node.op == "placeholder")
    assert {node.target for node in x.users} == {torch.ops.aten.pow.Tensor_Scalar}


def test_zero_patch_is_finite_twice() -> None:
    layer = BcosConv2d(3, 4, 3, padding=1)
    x = torch.zeros(1, 3, 5, 5, requires_grad=True)
    with explanation_backward():
        (gradient,) = torch.autograd.grad(layer(x).sum(), x, create_graph=True)
    gradient.sum().backward()
    assert torch.isfinite(gradient).all()
    assert x.grad is not None
    assert torch.isfinite(x.grad).all()


@pytest.mark.parametrize("b", [1.0, 2.0, 2.5])
def test_gradcheck(b: float) -> None:
    torch.manual_seed(0)
    layer = BcosConv2d(2, 3, 3, padding=1, b=b).double()
    x = (torch.rand(1, 2, 4, 4, dtype=torch.float64) + 0.2).requires_grad_()
    assert torch.autograd.gradcheck(layer, (x,))
    assert torch.autograd.gradgradcheck(layer, (x,))


@pytest.mark.parametrize("training", [True, False])
def test_batch_norm_equals_the_package(training: bool) -> None:
    torch.manual_seed(0)
    ours, theirs = UncenteredBatchNorm2d(4), NoBias(BatchNormUncentered2d)(4)
    with torch.no_grad():
        ours.weight.uniform_(0.5, 1.5)
        ours.running_var.uniform_(0.5, 1.5)
    theirs.load_state_dict(ours.state_dict())
    ours.train(training)
    theirs.train(training)
    for _ in range(3):
        x = torch.randn(3, 4, 5, 5) * 2 + 1
        torch.testing.assert_close(ours(x), theirs(x))
    for name, value in theirs.state_dict().items():
        torch.testing.assert_close(ours.state_dict()[name], value)


def test_batch_norm_gradcheck() -> None:
    layer = UncenteredBatchNorm2d(2).double()
    x = torch.randn(2, 2, 3, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(layer, (x,))
    assert torch.autograd.gradgradcheck(layer, (x,))


def test_wrong_options_are_refused() -> None:
    with pytest.raises(ValueError, match="B must be at least 1"):
        BcosConv2d(3, 4, b=0.5)
    with pytest.raises(ValueError, match="no bias"):
        BcosConv2d(3, 4, bias=True)
