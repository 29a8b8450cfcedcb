"""Changes of the graph of a program and its gradients: what changes, what stays, and equal results."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch._higher_order_ops.auto_functionalize import auto_functionalized
from torch._inductor.utils import fresh_cache, run_and_get_code
from torch.fx import GraphModule
from torch.fx.experimental.proxy_tensor import make_fx

from guidance.attribution.backend import change, inductor
from guidance.models import kernels
from guidance.models.channel_sums import MOMENTS, PRODUCTS

_aten = torch.ops.aten


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)
    torch.compiler.reset()


def last(*shape: int, dtype: torch.dtype = torch.float64) -> Tensor:
    """Return a map with channels last."""
    return torch.randn(shape, dtype=dtype).to(memory_format=torch.channels_last)


def trace(function: Callable[..., Any], *inputs: Tensor) -> GraphModule:
    graph: GraphModule = make_fx(function, tracing_mode="fake")(*inputs)
    return graph


def changed(function: Callable[..., Any], *inputs: Tensor) -> list[Any]:
    """Change the graph of a function, check that it returns what it did, and return its operators."""
    graph = trace(function, *inputs)
    before = graph(*inputs)
    change(graph.graph)
    graph.graph.lint()
    graph.recompile()
    torch.testing.assert_close(graph(*inputs), before)
    return [node.target for node in graph.graph.nodes if node.op == "call_function"]


def scale(out: Tensor, norm: Tensor) -> Tensor:
    return out.abs() / norm


def norm_and_gradient(out: Tensor, norm: Tensor, weight: Tensor, gradient: Tensor) -> tuple[Tensor, ...]:
    """Return a batch norm of a B-cos transform and its gradients."""
    leaves = [each.detach().requires_grad_() for each in (out, norm, weight)]
    x = leaves[0] * scale(leaves[0], leaves[1])
    variance, _ = torch.var_mean(x, dim=(0, 2, 3), correction=0)
    scaled = x * (leaves[2] * (variance + 1e-5).rsqrt())[:, None, None]
    return scaled, *torch.autograd.grad(scaled, leaves, gradient)


def positive(*shape: int) -> Tensor:
    return torch.rand(shape, dtype=torch.float64) + 0.5


def test_batch_norm_of_a_transform() -> None:
    """One kernel for the moments, of which the mean is used again, and one for the gradient of the factor."""
    found = changed(norm_and_gradient, last(2, 4, 3, 5), positive(2, 1, 3, 5), positive(4), last(2, 4, 3, 5))
    assert found.count(MOMENTS) == found.count(PRODUCTS) == 1
    assert not {_aten.var_mean.correction, _aten.mean.dim} & set(found)
    # That of the norm is over channels.
    assert [each for each in found if each == _aten.sum.dim_IntList] == [_aten.sum.dim_IntList]


def test_kernels_read_what_is_scaled() -> None:
    """And not what the scale gives, wherever it is a factor."""

    def sums(x: Tensor, y: Tensor, norm: Tensor) -> tuple[Tensor, ...]:
        dims, of_transform = (0, 2, 3), y * scale(y, norm)
        products = (x * of_transform, of_transform * x, scale(y, norm) * x * y)
        return *(each.sum(dims, keepdim=True) for each in products), *torch.var_mean(
            of_transform, dims, correction=0
        )

    graph = trace(sums, last(2, 4, 3, 5), last(2, 4, 3, 5), positive(2, 1, 3, 5))
    change(graph.graph)
    calls = [node for node in graph.graph.nodes if node.target in (MOMENTS, PRODUCTS)]
    x, y, norm = (node for node in graph.graph.nodes if node.op == "placeholder")
    assert [call.args for call in calls[-1:]] == [(y, norm)]
    assert all(set(call.args[2:]) == {y, norm} for call in calls[:-1])
    assert [set(call.args[:2]) for call in calls[:2]] == [{x, y}] * 2
    changed(sums, last(2, 4, 3, 5), last(2, 4, 3, 5), positive(2, 1, 3, 5))


def test_casts_there_and_back() -> None:
    cast = torch.ops.prims.convert_element_type.default

    def casts(x: Tensor) -> tuple[Tensor, ...]:
        """Of which all but the first make other numbers, and stay."""
        there = cast(x, torch.bfloat16)
        whole, some = cast(x, torch.int64), cast(x, torch.bool)
        back = [cast(each, torch.float32).sin() for each in (there, whole, some)]
        return *back, there.sin(), cast(there, torch.float64).sin()

    x = last(2, 4, 3, 5, dtype=torch.float32)
    graph = trace(casts, x)
    change(graph.graph)
    graph.recompile()
    assert [node.target for node in graph.graph.nodes].count(cast) == 6
    exact, *others = graph(x)
    torch.testing.assert_close(exact, x.sin())
    torch.testing.assert_close(others, list(casts(x)[1:]), rtol=0, atol=0)


def test_bfloat16_by_tiles_beside_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    """What passes from layer to layer is not rounded, and both have the same values of the filters."""
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX512")
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"amx_bf16": False})

    def layers(x: Tensor, weight: Tensor) -> Tensor:
        once = F.conv2d(x, weight, padding=1)
        return F.conv2d(once.bfloat16(), weight.bfloat16(), padding=1).float().sin()

    x, weight = last(16, 32, 16, 16, dtype=torch.float32), torch.randn(32, 32, 3, 3, requires_grad=True)
    compiled = torch.compile(layers, backend=inductor)
    with fresh_cache():
        found, code = run_and_get_code(lambda: compiled(x, weight))
    twice = F.conv2d(F.conv2d(x, weight, padding=1), weight, padding=1)
    torch.testing.assert_close(found, twice.sin(), rtol=0, atol=1e-2)
    assert code[0].count("guidance.winograd_filters.default(") == 1


def test_what_is_known_of_memory_is_renewed() -> None:
    """By what is known of operands: what was noted with channels first is summed by a kernel."""

    def sums(x: Tensor, y: Tensor) -> Tensor:
        return (x.sin() * y).sum((0, 2, 3), keepdim=True)

    inputs = last(2, 4, 3, 5), last(2, 4, 3, 5)
    graph = trace(sums, *inputs)
    for node in graph.graph.nodes:
        if node.op == "call_function":
            node.meta["val"] = node.meta["val"].contiguous()
    change(graph.graph)
    graph.recompile()
    assert PRODUCTS in {node.target for node in graph.graph.nodes}
    torch.testing.assert_close(graph(*inputs), sums(*inputs))


def test_sums_of_positions_first() -> None:
    def sums(x: Tensor, y: Tensor) -> Tensor:
        return (x * y).sum((2, 3), keepdim=True).sum(0, keepdim=True)

    assert changed(sums, last(2, 4, 3, 5), last(2, 4, 3, 5)).count(PRODUCTS) == 1


def test_float32() -> None:
    def sums(x: Tensor, y: Tensor) -> Tensor:
        return (x * y).sum((0, 2, 3), keepdim=True)

    maps = (last(2, 4, 3, 5, dtype=torch.float32) for _ in range(2))
    assert PRODUCTS in changed(sums, *maps)


POSITIONS = (0, 2, 3)
LEFT: dict[str, tuple[Callable[..., Any], tuple[Tensor, ...]]] = {
    "channels first": (lambda x: torch.var_mean(x, POSITIONS, correction=0), (torch.randn(2, 4, 3, 5),)),
    "one channel": (lambda x: torch.var_mean(x, POSITIONS, correction=0), (last(2, 1, 3, 5),)),
    "unbiased": (lambda x: torch.var_mean(x, POSITIONS, correction=1), (last(2, 4, 3, 5),)),
    "dimensions kept": (
        lambda x: torch.var_mean(x, POSITIONS, correction=0, keepdim=True),
        (last(2, 4, 3, 5),),
    ),
    "of each image": (lambda x: torch.var_mean(x, (2, 3), correction=0), (last(2, 4, 3, 5),)),
    "bfloat16": (
        lambda x: torch.var_mean(x, POSITIONS, correction=0),
        (last(2, 4, 3, 5, dtype=torch.bfloat16),),
    ),
    "a mean alone": (lambda x: x.mean(POSITIONS, keepdim=True), (last(2, 4, 3, 5),)),
    "no product": (lambda x: x.sum(POSITIONS, keepdim=True), (last(2, 4, 3, 5),)),
    "channels of a product": (
        lambda x, y: (x * y).sum(1, keepdim=True),
        (last(2, 4, 3, 5), last(2, 4, 3, 5)),
    ),
    "factors of each position": (
        lambda x, y: (x * y).sum(POSITIONS, keepdim=True),
        (last(2, 4, 3, 5), positive(2, 1, 3, 5)),
    ),
    "images of sums of rows": (
        lambda x, y: (x * y).sum(3, keepdim=True).sum(0, keepdim=True),
        (last(2, 4, 3, 5), last(2, 4, 3, 5)),
    ),
}


@pytest.mark.parametrize("name", LEFT)
def test_sums_that_are_left(name: str) -> None:
    function, inputs = LEFT[name]
    assert not {MOMENTS, PRODUCTS} & set(changed(function, *inputs))


def test_other_scales_are_in_memory() -> None:
    """Roots of a number, or of each channel."""

    def sums(x: Tensor, y: Tensor, of_channel: Tensor) -> tuple[Tensor, ...]:
        scales = (y.abs() / 2, y.abs() / of_channel[:, None, None], y.square() / 2, y.abs() / x)
        return tuple((x * (y * each)).sum(POSITIONS, keepdim=True) for each in scales)

    graph = trace(sums, last(2, 4, 3, 5), last(2, 4, 3, 5), positive(4))
    change(graph.graph)
    calls = [node for node in graph.graph.nodes if node.target == PRODUCTS]
    assert [call.args[2:] for call in calls] == [(None, None)] * 4
    changed(sums, last(2, 4, 3, 5), last(2, 4, 3, 5), positive(4))


def test_without_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernels, "AVAILABLE", False)
    assert MOMENTS not in changed(lambda x: torch.var_mean(x, POSITIONS, correction=0), last(2, 4, 3, 5))


def full(like: Tensor, value: float) -> Tensor:
    return torch.full(like.shape, value, dtype=like.dtype)


def spread(rows: Tensor, like: Tensor) -> Tensor:
    """As torch does with the gradient of a slice."""
    return torch.slice_scatter(full(like, 0.0), rows, 0, 0, len(rows))


def test_first_images_are_added_in_place() -> None:
    """As the last of all, whatever else is added."""

    def total(rows: Tensor, x: Tensor, y: Tensor, z: Tensor) -> Tensor:
        return (z.sin() + ((spread(rows, x) + x.sin()) + y.cos())).exp()

    inputs = (last(2, 4, 3, 5), *(last(3, 4, 3, 5) for _ in range(3)))
    found = changed(total, *inputs)
    end = found.index(auto_functionalized)
    assert found[:end].count(_aten.add.Tensor) == 2
    assert _aten.slice_scatter.default not in found
    assert found[end + 2 :] == [_aten.exp.default]


def test_what_others_need_is_not_changed() -> None:
    def total(rows: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
        both = x.sin()
        return spread(rows, x) + both, both

    def again(rows: Tensor, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        both = x.sin() + spread(rows, x)
        return both + y, both

    assert auto_functionalized in changed(total, last(2, 4, 3, 5), last(3, 4, 3, 5))
    assert auto_functionalized in changed(again, last(2, 4, 3, 5), last(3, 4, 3, 5), last(3, 4, 3, 5))


SPREAD: dict[str, tuple[Callable[..., Any], tuple[Tensor, ...]]] = {
    "not the first": (
        lambda rows, x: torch.slice_scatter(full(x, 0.0), rows, 0, 1, 3) + x.sin(),
        (last(2, 4, 3, 5), last(3, 4, 3, 5)),
    ),
    "rows of an image": (
        lambda rows, x: torch.slice_scatter(full(x, 0.0), rows, 2, 0, 2) + x.sin(),
        (last(3, 4, 2, 5), last(3, 4, 3, 5)),
    ),
    "every second image": (
        lambda rows, x: torch.slice_scatter(full(x, 0.0), rows, 0, 0, 3, 2) + x.sin(),
        (last(2, 4, 3, 5), last(3, 4, 3, 5)),
    ),
    "over ones": (
        lambda rows, x: torch.slice_scatter(full(x, 1.0), rows, 0, 0, 2) + x.sin(),
        (last(2, 4, 3, 5), last(3, 4, 3, 5)),
    ),
    "over a map": (
        lambda rows, x: torch.slice_scatter(x, rows, 0, 0, 2) + x.sin(),
        (last(2, 4, 3, 5), last(3, 4, 3, 5)),
    ),
    "twice the others": (
        lambda rows, x: torch.add(x.sin(), spread(rows, x), alpha=2),
        (last(2, 4, 3, 5), last(3, 4, 3, 5)),
    ),
    "vectors": (lambda rows, x: spread(rows, x) + x.sin(), (positive(2, 4), positive(3, 4))),
    "another type": (
        lambda rows, x: spread(rows, x.float()) + x.sin(),
        (last(2, 4, 3, 5).float(), last(3, 4, 3, 5)),
    ),
}


@pytest.mark.parametrize("name", SPREAD)
def test_gradients_that_stay_spread(name: str) -> None:
    function, inputs = SPREAD[name]
    assert auto_functionalized not in changed(function, *inputs)


def test_spread_gradients_that_others_need() -> None:
    def total(rows: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
        spreaded = spread(rows, x)
        return spreaded + x.sin(), spreaded

    assert auto_functionalized not in changed(total, last(2, 4, 3, 5), last(3, 4, 3, 5))


def test_compiled_code_adds_in_place() -> None:
    """Without a copy of the batch."""

    def loss(x: Tensor, y: Tensor) -> Tensor:
        total: Tensor = F.conv2d(x, y).sum() + x[:2].pow(3).sum() + x.sin().sum()
        return total

    x, y = last(3, 4, 3, 5, dtype=torch.float32).requires_grad_(), torch.randn(2, 4, 1, 1)
    compiled = torch.compile(loss, backend=inductor)
    with fresh_cache():
        (gradient,), code = run_and_get_code(lambda: torch.autograd.grad(compiled(x, y), x))
    torch.testing.assert_close(gradient, torch.autograd.grad(loss(x, y), x)[0])
    assert "guidance.add_to_first.default(" in code[1]
    assert "empty_strided_cpu((2, 4, 3, 5)" in code[1]
    assert "empty_strided_cpu((3," not in code[1]
