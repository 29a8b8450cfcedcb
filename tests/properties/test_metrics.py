"""Metrics: sums of states, split anywhere; independent of order, copies and scale; equal to slow counting."""

import math
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import torch
from hypothesis import strategies as st
from torch import Tensor
from torchmetrics import Metric

from guidance.metrics import AttributionIoU, ClassificationMetrics, EnergyPointingGame, GroupAccuracy
from guidance.metrics.cell_shares import cell_shares
from guidance.metrics.classification import average_precision
from guidance.metrics.on_object_energy import OnObjectEnergy
from guidance.metrics.pointing_game import pointing_game_hits
from guidance.metrics.rank_correlation import average_ranks, rank_correlation
from guidance.metrics.removal_curves import area_under, removal_ranks
from tests.properties import arrays
from tests.properties.for_all import for_all

CLASSES = 3
CUTS = st.lists(st.integers(0, 6), max_size=4)


def in_parts(count: int, cuts: Sequence[int]) -> list[slice]:
    """Cut ``range(count)`` at some places; parts may be empty."""
    edges = [0, *sorted(min(cut, count) for cut in cuts), count]
    return [slice(low, high) for low, high in pairwise(edges)]


def values(metric: Metric) -> Any:
    found = metric.compute()
    return {k: float(v) for k, v in found.items()} if isinstance(found, dict) else {"": float(found)}


def assert_same(one: Metric, other: Metric, tolerance: float = 1e-12) -> None:
    expected, found = values(one), values(other)
    assert expected.keys() == found.keys()
    for key, value in expected.items():
        assert math.isclose(value, found[key], abs_tol=tolerance) or (
            math.isnan(value) and math.isnan(found[key])
        ), key


def check_sums(
    make: Callable[[], Metric], inputs: Sequence[Tensor], cuts: Sequence[int], seed: int
) -> Metric:
    """In one piece, in pieces, in pieces on several ranks, in another order and twice: one result."""
    count = len(inputs[0])
    whole = make()
    whole.update(*inputs)
    pieces, ranks = make(), [make(), make()]
    for number, part in enumerate(in_parts(count, cuts)):
        for metric in (pieces, ranks[number % 2]):
            metric.update(*(tensor[part] for tensor in inputs))
    assert_same(whole, pieces)
    ranks[0].merge_state(ranks[1])
    assert_same(whole, ranks[0])
    order = arrays.order_of(count, seed)
    shuffled = make()
    shuffled.update(*(tensor[order] for tensor in inputs))
    assert_same(whole, shuffled)
    twice = make()
    for _ in range(2):
        twice.update(*inputs)
    assert_same(whole, twice)
    return whole


@st.composite
def pairs(draw: st.DrawFn) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Maps, two masks and classes of up to six (image, class) pairs."""
    maps = draw(arrays.maps(st.integers(1, 6)))
    size = (draw(arrays.SIDES), draw(arrays.SIDES))
    first, second = (draw(arrays.masks(len(maps), size)) for _ in range(2))
    classes = draw(st.lists(st.integers(0, CLASSES - 1), min_size=len(maps), max_size=len(maps)))
    return maps, first, second, torch.tensor(classes)


@for_all(quick=20, thorough=400, given=pairs(), cuts=CUTS, seed=arrays.SEEDS)
def test_energy_pointing_game(given: tuple[Tensor, ...], cuts: list[int], seed: int) -> None:
    maps, masks, _, classes = given
    metric = check_sums(lambda: EnergyPointingGame(CLASSES), (maps, masks, classes), cuts, seed)
    assert isinstance(metric, EnergyPointingGame)
    counts = torch.bincount(classes, minlength=CLASSES)
    weighted = (metric.per_class().nan_to_num() * counts).sum() / counts.sum()
    torch.testing.assert_close(weighted, metric.compute())
    scaled = EnergyPointingGame(CLASSES)
    scaled.update(maps * 2.0**9, masks, (classes + 1) % CLASSES)
    assert torch.equal(scaled.compute().round(decimals=12), metric.compute().round(decimals=12))
    assert torch.equal(scaled.per_class().roll(-1).nan_to_num(-1), metric.per_class().nan_to_num(-1))


ROUNDED = (
    torch.tensor(
        [[[0.0, 1.0, 1.0, 0.0]]], dtype=torch.float64
    ),  # becomes five rows of ones, one of them rounded
    torch.tensor([[[False], [False], [False], [True], [False]]]),
    torch.zeros(1, 5, 1, dtype=torch.bool),
    torch.zeros(1, dtype=torch.int64),
)


@for_all(
    quick=20,
    thorough=400,
    examples=[{"given": ROUNDED, "cuts": [], "seed": 0, "power": 14}],
    given=pairs(),
    cuts=CUTS,
    seed=arrays.SEEDS,
    power=st.integers(-20, 20),
)
def test_iou(given: tuple[Tensor, ...], cuts: list[int], seed: int, power: int) -> None:
    maps, masks, _, _ = given
    metric = check_sums(AttributionIoU, (maps, masks), cuts, seed)
    assert isinstance(metric, AttributionIoU)
    curve = metric.curve()
    assert bool(((curve >= 0) & (curve <= 1)).all())
    threshold, iou = metric.best()
    assert iou == float(curve.max())
    changed = [(maps * 2.0**power, masks)]
    if maps.shape == masks.shape:  # else interpolation rounds, which may carry a pixel over a threshold
        changed += [(maps.clamp(min=0), masks), (maps.transpose(1, 2), masks.transpose(1, 2))]
    for other_maps, other_masks in changed:
        other = AttributionIoU(threshold)
        other.update(other_maps, other_masks)
        assert math.isclose(float(other.compute()), iou, abs_tol=1e-12)


@for_all(quick=20, thorough=300, given=pairs(), cuts=CUTS, seed=arrays.SEEDS)
def test_on_object_energy(given: tuple[Tensor, ...], cuts: list[int], seed: int) -> None:
    maps, boxes, objects, _ = given
    metric = check_sums(OnObjectEnergy, (maps, boxes, objects), cuts, seed)
    assert 0 <= float(metric.compute()) <= 1 + 1e-12
    everywhere = OnObjectEnergy()
    everywhere.update(maps, boxes, torch.ones_like(objects))
    nowhere = OnObjectEnergy()
    nowhere.update(maps, boxes, ~boxes)
    assert float(nowhere.compute()) == 0
    assert float(everywhere.compute()) >= float(metric.compute()) - 1e-12


@st.composite
def scores(draw: st.DrawFn) -> tuple[Tensor, Tensor]:
    """Logits, ties among them likely, and labels of up to twelve images."""
    count = draw(st.integers(1, 12))
    level = st.sampled_from((-2.0, -0.5, 0.0, 0.5, 2.0)) | st.floats(-80, 80, width=32)
    logits = draw(
        st.lists(st.lists(level, min_size=CLASSES, max_size=CLASSES), min_size=count, max_size=count)
    )
    return torch.tensor(logits), draw(arrays.masks(1, (count, CLASSES)))[0]


def counted(logits: Tensor, labels: Tensor) -> dict[str, float]:
    """What scikit-learn says."""
    from sklearn.metrics import average_precision_score, f1_score

    truth, predicted = labels.numpy(), (logits > 0).numpy()
    present = labels.any(dim=0).nonzero()[:, 0].tolist()
    f1 = [f1_score(truth[:, k], predicted[:, k]) for k in present]
    precision = [average_precision_score(truth[:, k], logits[:, k].double().numpy()) for k in present]
    decided = truth.any() or predicted.any()
    return {
        "f1_micro": f1_score(truth.ravel(), predicted.ravel()) if decided else math.nan,
        "f1_macro": sum(f1) / len(f1) if f1 else math.nan,
        "map": sum(precision) / len(precision) if precision else math.nan,
    }


@for_all(quick=20, thorough=400, given=scores(), cuts=CUTS, seed=arrays.SEEDS)
def test_classification(given: tuple[Tensor, Tensor], cuts: list[int], seed: int) -> None:
    logits, labels = given
    metric = check_sums(lambda: ClassificationMetrics(CLASSES), (logits, labels), cuts, seed)
    found, expected = values(metric), counted(logits, labels)
    for key, value in expected.items():
        assert math.isclose(found[key], value, abs_tol=1e-9) or (
            math.isnan(found[key]) and math.isnan(value)
        ), key
    classes = arrays.order_of(CLASSES, seed)
    other = ClassificationMetrics(CLASSES)
    other.update(logits[:, classes], labels[:, classes])
    assert_same(metric, other)
    precision = average_precision(logits, labels)
    monotone = average_precision(logits.double().atan(), labels)
    torch.testing.assert_close(monotone, precision, equal_nan=True)


@for_all(
    quick=20,
    thorough=350,
    given=scores(),
    groups=st.lists(st.integers(-1, 2), min_size=12, max_size=12),
    cuts=CUTS,
    seed=arrays.SEEDS,
)
def test_accuracy_of_groups(
    given: tuple[Tensor, Tensor], groups: list[int], cuts: list[int], seed: int
) -> None:
    logits = given[0]
    count = len(logits)
    own = torch.tensor(groups[:count])
    truth = torch.randint(CLASSES, (count,), generator=torch.Generator().manual_seed(seed))
    labels = torch.nn.functional.one_hot(truth, CLASSES).bool()
    found = values(check_sums(lambda: GroupAccuracy("abc"), (logits, labels, own), cuts, seed))
    right = [int(row.argmax()) == int(label) for row, label in zip(logits, truth, strict=True)]
    assert found["accuracy"] == sum(right) / count
    each = {}
    for number, name in enumerate("abc"):
        mine = [hit for hit, group in zip(right, own.tolist(), strict=True) if group == number]
        assert math.isnan(found[f"accuracy/{name}"]) if not mine else True
        if mine:
            each[name] = sum(mine) / len(mine)
            assert found[f"accuracy/{name}"] == each[name]
    if each:
        assert found["worst_group_accuracy"] == min(each.values())
        assert math.isclose(found["mean_group_accuracy"], sum(each.values()) / len(each))
    else:
        assert math.isnan(found["worst_group_accuracy"])


@for_all(quick=20, thorough=350, maps=arrays.maps(), n=st.integers(1, 3), cell=st.integers(1, 4))
def test_cells_share_all_evidence(maps: Tensor, n: int, cell: int) -> None:
    size = (n * cell, n * cell)
    shares = cell_shares(maps, n, size)
    assert shares.shape == (len(maps), n * n)
    assert bool(((shares >= 0) & (shares <= 1 + 1e-12)).all())
    assert bool(((shares.sum(dim=1) - 1).abs().minimum(shares.sum(dim=1)) < 1e-9).all())
    mirrored = cell_shares(maps.flip(2), n, size).unflatten(1, (n, n)).flip(2).flatten(1)
    torch.testing.assert_close(mirrored, shares)
    torch.testing.assert_close(cell_shares(maps * 4, n, size), shares)


@for_all(quick=20, thorough=350, given=pairs(), tolerance=st.floats(0, 4), power=st.integers(0, 20))
def test_pointing_game(given: tuple[Tensor, ...], tolerance: float, power: int) -> None:
    maps, masks, more, _ = given
    hits = pointing_game_hits(maps, masks, tolerance)
    assert torch.equal(pointing_game_hits(maps * 2.0**power, masks, tolerance), hits)
    assert bool((pointing_game_hits(maps, masks, tolerance + 1) | ~hits).all())
    assert bool((pointing_game_hits(maps, masks | more, tolerance) | ~hits).all())
    assert not bool(pointing_game_hits(-maps.abs(), masks, tolerance).any())
    assert not bool((hits & ~masks.flatten(1).any(dim=1)).any())


@for_all(quick=20, thorough=350, maps=arrays.maps(st.just(2)), seed=arrays.SEEDS)
def test_rank_correlation(maps: Tensor, seed: int) -> None:
    from scipy.stats import rankdata, spearmanr

    first, second = maps.split(1)
    ranks = average_ranks(maps.flatten(1))
    assert ranks.tolist() == (rankdata(maps.flatten(1).numpy(), axis=1) - 1).tolist()
    found = float(rank_correlation(first, second))
    constant = any(len(one.unique()) == 1 for one in (first, second))
    if constant:
        assert found == 0
    else:
        expected = spearmanr(first.flatten().numpy(), second.flatten().numpy()).statistic
        assert math.isclose(found, expected, abs_tol=1e-9)
    order = arrays.order_of(maps[0].numel(), seed)
    moved = [one.flatten()[order].reshape(one.shape) for one in (first, second)]
    assert math.isclose(float(rank_correlation(*moved)), found, abs_tol=1e-9)
    assert math.isclose(float(rank_correlation(first.atan(), second)), found, abs_tol=1e-9)
    assert math.isclose(float(rank_correlation(-first, second)), -found, abs_tol=1e-9)


@for_all(
    quick=20, thorough=300, maps=arrays.maps(), height=arrays.SIDES, width=arrays.SIDES, seed=arrays.SEEDS
)
def test_pixels_are_removed_in_the_map_s_order(maps: Tensor, height: int, width: int, seed: int) -> None:
    for most_first in (True, False):
        ranks = removal_ranks(maps, (height, width), most_first, seed)
        everything = torch.arange(height * width).expand(len(maps), -1)
        assert torch.equal(ranks.flatten(1).sort(dim=1).values, everything)
    same = removal_ranks(maps, (maps.shape[1], maps.shape[2]), True, seed).flatten(1)
    removed = maps.flatten(1).gather(1, same.argsort(dim=1))
    assert bool((removed[:, 1:] <= removed[:, :-1]).all())
    least = removal_ranks(-maps, (maps.shape[1], maps.shape[2]), False, seed).flatten(1)
    assert torch.equal(least, same), "what speaks most for the class speaks least against it"


@for_all(
    quick=20, thorough=300, curves=st.lists(st.floats(0, 1), min_size=2, max_size=9), factor=st.floats(0, 3)
)
def test_the_area_under_a_curve(curves: list[float], factor: float) -> None:
    curve = torch.tensor(curves, dtype=torch.float64)
    area = float(area_under(curve))
    assert min(curves) - 1e-12 <= area <= max(curves) + 1e-12
    assert math.isclose(float(area_under(curve.flip(0))), area, abs_tol=1e-12)
    assert math.isclose(float(area_under(curve * factor)), factor * area, abs_tol=1e-12)
