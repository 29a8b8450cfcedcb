"""Every localization loss against a slow, obvious version of its formula, pixel by pixel."""

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from guidance.losses import EnergyLoss, L1Loss, PPCELoss, RESLoss, RRRLoss, SoftMaskLoss

PAPER: list[nn.Module] = [EnergyLoss(), L1Loss(), PPCELoss(), RRRLoss()]
LOSSES = [*PAPER, RESLoss(slack=0.05, band=0.3), SoftMaskLoss(EnergyLoss(), sigma=0.1)]


def slow_upsample(values: list[list[float]], height: int, width: int) -> list[list[float]]:
    """Bilinear interpolation with half-pixel centres, one pixel at a time."""
    h, w = len(values), len(values[0])

    def source(position: int, size: int, old: int) -> tuple[int, int, float]:
        x = max((position + 0.5) * old / size - 0.5, 0.0)
        low = min(int(x), old - 1)
        return low, min(low + 1, old - 1), x - low

    out = []
    for i in range(height):
        i0, i1, fi = source(i, height, h)
        row = []
        for j in range(width):
            j0, j1, fj = source(j, width, w)
            top = values[i0][j0] * (1 - fj) + values[i0][j1] * fj
            bottom = values[i1][j0] * (1 - fj) + values[i1][j1] * fj
            row.append(top * (1 - fi) + bottom * fi)
        out.append(row)
    return out


def slow_energy(a: list[list[float]], mask: list[list[bool]]) -> float:
    a = slow_upsample(a, len(mask), len(mask[0]))
    total = sum(max(v, 0.0) for row in a for v in row)
    inside = sum(
        max(v, 0.0) for ra, rm in zip(a, mask, strict=True) for v, m in zip(ra, rm, strict=True) if m
    )
    return 1 - inside / total if total else 1.0


def _divided(a: list[list[float]]) -> list[list[float]]:
    largest = max(abs(v) for row in a for v in row)
    return [[v / largest if largest else 0.0 for v in row] for row in a]


def slow_l1(a: list[list[float]], mask: list[list[bool]]) -> float:
    a = slow_upsample(_divided([[max(v, 0.0) for v in row] for row in a]), len(mask), len(mask[0]))
    errors = [abs(v - m) for ra, rm in zip(a, mask, strict=True) for v, m in zip(ra, rm, strict=True)]
    return sum(errors) / len(errors)


def slow_ppce(a: list[list[float]], mask: list[list[bool]]) -> float:
    a = slow_upsample(_divided([[max(v, 0.0) for v in row] for row in a]), len(mask), len(mask[0]))
    inside = [v for ra, rm in zip(a, mask, strict=True) for v, m in zip(ra, rm, strict=True) if m]
    return -sum(max(math.log(v), -100) if v > 0 else -100 for v in inside) / len(inside) if inside else 0.0


def slow_rrr(a: list[list[float]], mask: list[list[bool]]) -> float:
    a = slow_upsample(_divided(a), len(mask), len(mask[0]))
    return sum(v * v for ra, rm in zip(a, mask, strict=True) for v, m in zip(ra, rm, strict=True) if not m)


Slow = Callable[[list[list[float]], list[list[bool]]], float]
PAIRS: list[tuple[nn.Module, Slow]] = [
    (EnergyLoss(), slow_energy),
    (L1Loss(), slow_l1),
    (PPCELoss(), slow_ppce),
    (RRRLoss(), slow_rrr),
]


def random_maps(n: int, h: int, w: int, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(n * 100 + h)
    maps = torch.randn(n, h, w, generator=generator, dtype=torch.float64)
    masks = torch.zeros(n, *size, dtype=torch.bool)
    for i in range(n):
        masks[i, i % 3 : size[0] // 2 + i % 4, 1 : size[1] - i % 3] = True
    return maps, masks


@pytest.mark.parametrize(("loss", "slow"), PAIRS)
@pytest.mark.parametrize(("h", "w", "size"), [(7, 5, (7, 5)), (3, 4, (9, 11)), (2, 2, (8, 8))])
def test_equals_the_slow_formula(loss: nn.Module, slow: Slow, h: int, w: int, size: tuple[int, int]) -> None:
    maps, masks = random_maps(6, h, w, size)
    expected = [slow(a.tolist(), m.tolist()) for a, m in zip(maps, masks, strict=True)]
    assert loss(maps, masks).tolist() == pytest.approx(expected, rel=1e-9)

    # In float32 too; but not at a zero crossing, where rounding alone moves a logarithm from -100 to -20.
    maps = maps.abs() + 0.1
    expected = [slow(a.tolist(), m.tolist()) for a, m in zip(maps, masks, strict=True)]
    assert loss(maps.float(), masks).tolist() == pytest.approx(expected, rel=2e-5)


def test_hand_computed() -> None:
    maps = torch.tensor([[[4.0, -2.0], [1.0, 0.0]]])
    masks = torch.tensor([[[True, False], [False, False]]])
    assert EnergyLoss()(maps, masks).item() == pytest.approx(1 - 4 / 5)
    assert L1Loss()(maps, masks).item() == pytest.approx(0.25 / 4)
    assert PPCELoss()(maps, masks).item() == 0
    assert RRRLoss()(maps, masks).item() == pytest.approx(0.5**2 + 0.25**2)
    assert PPCELoss()(maps, ~masks).item() == pytest.approx((100 + 100 - math.log(0.25)) / 3)


def test_ppce_is_the_cross_entropy_of_the_published_code() -> None:
    maps, masks = random_maps(4, 6, 6, (6, 6))
    positive = maps.clamp(min=0)
    normalised = positive / positive.amax((1, 2), keepdim=True)
    expected = [
        nn.functional.binary_cross_entropy(n[m], torch.ones_like(n[m])).item()
        for n, m in zip(normalised, masks, strict=True)
    ]
    assert PPCELoss()(maps, masks).tolist() == pytest.approx(expected)


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("size", [(4, 4), (7, 6)])
def test_gradcheck(loss: nn.Module, size: tuple[int, int]) -> None:
    maps, masks = random_maps(3, 4, 4, size)
    maps = maps.abs() + 0.1  # off the kinks of clamp and log
    maps[:, 0, 1] = 5.0  # one clear maximum
    maps.requires_grad_()
    assert torch.autograd.gradcheck(loss, (maps, masks))
    assert torch.autograd.gradgradcheck(loss, (maps, masks))


@pytest.mark.parametrize("loss", PAPER)
@pytest.mark.parametrize("value", [0.0, -1.0, 1e-20])
def test_map_without_evidence_is_finite_and_has_no_gradient(loss: nn.Module, value: float) -> None:
    maps = torch.full((2, 4, 4), value, requires_grad=True)
    masks = torch.zeros(2, 8, 8, dtype=torch.bool)
    masks[0, 2:4, 2:4] = True
    out = loss(maps, masks)
    assert torch.isfinite(out).all()
    if isinstance(loss, RRRLoss) and value == -1.0:
        return  # negative evidence counts for RRR*
    out.sum().backward()
    assert maps.grad is not None
    assert maps.grad.abs().max() == 0
    expected = {EnergyLoss: 1.0, L1Loss: 4 / 64, PPCELoss: 100.0, RRRLoss: 0.0}[type(loss)]
    assert out[0].item() == pytest.approx(expected)


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("kind", ["none", "all", "one pixel", "last corner"])
def test_degenerate_masks_are_finite(loss: nn.Module, kind: str) -> None:
    maps, _ = random_maps(2, 4, 4, (8, 8))
    maps.requires_grad_()
    masks = torch.zeros(2, 8, 8, dtype=torch.bool)
    if kind == "all":
        masks[:] = True
    elif kind == "one pixel":
        masks[:, 3, 3] = True
    elif kind == "last corner":
        masks[:, 7, 7] = True
    out = loss(maps, masks)
    out.sum().backward()
    assert torch.isfinite(out).all()
    assert maps.grad is not None
    assert torch.isfinite(maps.grad).all()
    if kind == "all" and isinstance(loss, EnergyLoss | RRRLoss):
        assert out.abs().max() < 1e-12
    if kind == "none" and isinstance(loss, PPCELoss):
        assert out.abs().max() == 0


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("factor", [1e-6, 1e6])
def test_scale_of_the_map_does_not_matter(loss: nn.Module, factor: float) -> None:
    maps, masks = random_maps(4, 5, 5, (9, 9))
    torch.testing.assert_close(loss(maps * factor, masks), loss(maps, masks))


@pytest.mark.parametrize("loss", LOSSES)
def test_maps_are_scored_one_by_one(loss: nn.Module) -> None:
    maps, masks = random_maps(5, 4, 4, (8, 8))
    together = loss(maps, masks)
    alone = torch.cat([loss(maps[i : i + 1], masks[i : i + 1]) for i in range(5)])
    torch.testing.assert_close(together, alone)
    assert loss(maps[:0], masks[:0]).shape == (0,)


@pytest.mark.parametrize("loss", LOSSES)
def test_half_precision_maps_are_finite(loss: nn.Module) -> None:
    maps, masks = random_maps(3, 4, 4, (8, 8))
    out = loss(maps.bfloat16(), masks)
    torch.testing.assert_close(out.double(), loss(maps, masks), rtol=0.05, atol=0.05)


@pytest.mark.parametrize("loss", LOSSES)
def test_wrong_shapes_and_types_are_refused(loss: nn.Module) -> None:
    maps, masks = random_maps(2, 4, 4, (4, 4))
    with pytest.raises(ValueError, match="2 attributions but 1 masks"):
        loss(maps, masks[:1])
    with pytest.raises(ValueError, match="masks must be bool"):
        loss(maps, masks.long())
    with pytest.raises(ValueError, match=r"attributions must be floating point \[N, h, w\]"):
        loss(maps[None], masks)


@pytest.mark.parametrize("loss", PAPER)
def test_a_soft_mask_of_zeros_and_ones_is_the_mask(loss: nn.Module) -> None:
    maps, masks = random_maps(4, 5, 5, (9, 9))
    torch.testing.assert_close(loss(maps, masks.double()), loss(maps, masks))


def test_soft_masks_weigh_the_pixels() -> None:
    maps = torch.tensor([[[4.0, 2.0], [1.0, 1.0]]])
    masks = torch.tensor([[[0.5, 1.0], [0.0, 0.25]]])
    assert EnergyLoss()(maps, masks).item() == pytest.approx(1 - (2 + 2 + 0.25) / 8)
    assert L1Loss()(maps, masks).item() == pytest.approx((0.5 + 0.5 + 0.25 + 0) / 4)
    assert PPCELoss()(maps, masks).item() == pytest.approx(-(math.log(0.5) + 0.25 * math.log(0.25)) / 1.75)
    assert RRRLoss()(maps, masks).item() == pytest.approx(0.5 + 0 + 0.25**2 + 0.75 * 0.25**2)


def test_ppce_floor_must_be_negative() -> None:
    with pytest.raises(ValueError, match="floor must be negative"):
        PPCELoss(floor=1.0)
