"""Losses: ranges, scale, order, mirrors, and what unions and complements of masks do to them."""

import math

import torch
from hypothesis import strategies as st
from torch import Tensor, nn

from guidance.losses import (
    AbsentEvidenceLoss,
    EnergyLoss,
    L1Loss,
    MapSimilarityLoss,
    PPCELoss,
    RESLoss,
    RRRLoss,
    SoftMaskLoss,
)
from guidance.maps import energy_in_mask
from tests.properties import arrays
from tests.properties.for_all import for_all

LOSSES: dict[str, nn.Module] = {
    "energy": EnergyLoss(),
    "l1": L1Loss(),
    "ppce": PPCELoss(),
    "rrr": RRRLoss(),
    "res": RESLoss(),
    "res_without_slack": RESLoss(slack=0.0, band=0.0),
    "soft_energy": SoftMaskLoss(EnergyLoss(), 0.2),
    "soft_l1": SoftMaskLoss(L1Loss(), 0.2),
}
NAMES = st.sampled_from(sorted(LOSSES))
PAIRS = arrays.maps_and_masks()


def largest(name: str, masks: Tensor) -> float:
    """The upper end of a loss's range."""
    return {"ppce": 100.0, "rrr": float(masks[0].numel())}.get(name, 1.0)


def close(name: str, found: Tensor, expected: Tensor) -> None:
    """Equal but for rounding; soft masks are blurred in float32."""
    tolerance = 1e-6 if name.startswith("soft") else 1e-9
    torch.testing.assert_close(found, expected, rtol=tolerance, atol=tolerance)


def scored(name: str, maps: Tensor, masks: Tensor) -> Tensor:
    losses: Tensor = LOSSES[name](maps, masks)
    return losses


@for_all(quick=40, thorough=800, name=NAMES, pair=PAIRS)
def test_range_and_gradient(name: str, pair: tuple[Tensor, Tensor]) -> None:
    maps, masks = pair[0].clone().requires_grad_(), pair[1]
    losses = scored(name, maps, masks)
    assert losses.shape == (len(maps),)
    assert bool((losses >= -1e-9).all())
    assert bool((losses <= largest(name, masks) + 1e-6).all())
    (gradient,) = torch.autograd.grad(losses.sum(), maps)
    assert bool(gradient.isfinite().all())
    # Nothing changes along the map itself, since its scale does not matter (Euler).
    along = (gradient * maps.detach()).sum(dim=(1, 2))
    torch.testing.assert_close(along, torch.zeros_like(along), rtol=0, atol=1e-6 * largest(name, masks))


@for_all(quick=40, thorough=800, name=NAMES, pair=PAIRS, power=st.integers(-20, 20), factor=st.floats(0.1, 9))
def test_a_positive_scale_does_not_matter(
    name: str, pair: tuple[Tensor, Tensor], power: int, factor: float
) -> None:
    maps, masks = pair
    losses = scored(name, maps, masks)
    # A power of two changes no rounding: the result is the same bit for bit.
    assert torch.equal(scored(name, maps * 2.0**power, masks), losses)
    torch.testing.assert_close(scored(name, maps * factor, masks), losses, rtol=1e-6, atol=1e-9)


@for_all(quick=40, thorough=800, name=NAMES, pair=PAIRS, seed=arrays.SEEDS)
def test_each_map_is_scored_for_itself(name: str, pair: tuple[Tensor, Tensor], seed: int) -> None:
    maps, masks = pair
    losses = scored(name, maps, masks)
    order = arrays.order_of(len(maps), seed)
    close(name, scored(name, maps[order], masks[order]), losses[order])
    alone = torch.cat([scored(name, maps[i : i + 1], masks[i : i + 1]) for i in range(len(maps))])
    close(name, alone, losses)
    twice = scored(name, torch.cat([maps, maps]), torch.cat([masks, masks]))
    close(name, twice.mean(), losses.mean())


@for_all(quick=40, thorough=800, name=NAMES, pair=PAIRS, axes=st.sampled_from(((1,), (2,), (1, 2))))
def test_mirrors(name: str, pair: tuple[Tensor, Tensor], axes: tuple[int, ...]) -> None:
    maps, masks = pair
    expected = scored(name, maps, masks)
    close(name, scored(name, maps.flip(axes), masks.flip(axes)), expected)
    close(name, scored(name, maps.transpose(1, 2), masks.transpose(1, 2)), expected)


@for_all(quick=40, thorough=500, pair=PAIRS, seed=arrays.SEEDS)
def test_energy_adds_up_over_masks_that_share_nothing(pair: tuple[Tensor, Tensor], seed: int) -> None:
    maps, masks = pair
    part = torch.rand(masks.shape, generator=torch.Generator().manual_seed(seed)) < 0.5
    inside = energy_in_mask(maps, masks)
    torch.testing.assert_close(
        energy_in_mask(maps, masks & part) + energy_in_mask(maps, masks & ~part), inside
    )
    assert bool((energy_in_mask(maps, masks | part) >= inside - 1e-12).all()), "a larger mask has no less"
    everything = energy_in_mask(maps, torch.ones_like(masks))
    torch.testing.assert_close(inside + energy_in_mask(maps, ~masks), everything)
    assert set(everything.round(decimals=9).tolist()) <= {0.0, 1.0}
    torch.testing.assert_close(scored("energy", maps, masks), 1 - inside)


@for_all(quick=40, thorough=500, pair=PAIRS)
def test_a_map_that_is_its_mask_is_right_and_its_opposite_wrong(pair: tuple[Tensor, Tensor]) -> None:
    masks = pair[1]
    perfect, some = masks.double(), masks.flatten(1).any(dim=1)
    for name in ("energy", "l1", "res_without_slack", "rrr", "ppce"):
        assert bool((scored(name, perfect, masks)[some] <= 1e-9).all()), name
    assert bool((scored("energy", 1 - perfect, masks) == 1)[some].all())
    whole = masks.flatten(1).all(dim=1)
    assert bool((scored("l1", 1 - perfect, masks)[~whole] == 1).all())


@for_all(quick=40, thorough=500, pair=PAIRS)
def test_a_mask_of_zeros_and_ones_is_the_mask(pair: tuple[Tensor, Tensor]) -> None:
    maps, masks = pair
    for name in ("energy", "l1", "ppce", "rrr"):
        torch.testing.assert_close(
            scored(name, maps, masks.double()), scored(name, maps, masks), rtol=1e-12, atol=1e-12
        )
    softened = SoftMaskLoss(EnergyLoss(), 0.2).soften(masks)
    assert bool(((softened >= 0) & (softened <= 1 + 1e-6)).all())


@for_all(quick=40, thorough=450, maps=arrays.maps(st.just(2)), power=st.integers(-20, 20))
def test_similarity_of_maps(maps: Tensor, power: int) -> None:
    loss, (one, other) = MapSimilarityLoss(), maps.split(1)
    value = float(loss(one, other))
    assert -1e-9 <= value <= 2 + 1e-9
    assert math.isclose(float(loss(other, one)), value, abs_tol=1e-12)
    assert float(loss(one * 2.0**power, other)) == value
    empty = not one.any() or not other.any()
    assert math.isclose(float(loss(-one, other)), 1.0 if empty else 2 - value, abs_tol=1e-9)
    assert math.isclose(float(loss(one, one)), 0.0 if one.any() else 1.0, abs_tol=1e-9)


@for_all(quick=40, thorough=450, maps=arrays.maps(), power=st.integers(-20, 20))
def test_evidence_for_absent_classes(maps: Tensor, power: int) -> None:
    loss = AbsentEvidenceLoss()
    shares = loss(maps)
    assert bool(((shares >= 0) & (shares <= 1)).all())
    assert torch.equal(loss(maps * 2.0**power), shares)
    some = maps.flatten(1).any(dim=1)
    torch.testing.assert_close((shares + loss(-maps))[some], torch.ones(int(some.sum()), dtype=maps.dtype))
