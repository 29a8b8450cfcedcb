import math
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from guidance.metrics import ClassificationMetrics
from guidance.metrics.classification import average_precision
from tests.two_ranks import on_two_ranks


def oracle(logits: Tensor, labels: Tensor) -> dict[str, float]:
    """Score with scikit-learn, the means over the classes that have a positive."""
    from sklearn.metrics import average_precision_score, f1_score  # not needed by the ranks' processes

    truth, predicted, scores = labels.numpy(), (logits > 0).numpy(), logits.double().numpy()
    present = [k for k in range(labels.shape[1]) if truth[:, k].any()]
    f1 = [f1_score(truth[:, k], predicted[:, k]) for k in present]
    precision = [average_precision_score(truth[:, k], scores[:, k]) for k in present]
    micro = f1_score(truth.ravel(), predicted.ravel())
    return {"f1_micro": micro, "f1_macro": sum(f1) / len(f1), "map": sum(precision) / len(precision)}


def score(logits: Tensor, labels: Tensor, batch: int = 7) -> dict[str, float]:
    metric = ClassificationMetrics(logits.shape[1])
    for start in range(0, max(len(logits), 1), batch):
        metric.update(logits[start : start + batch], labels[start : start + batch])
    return {name: float(value) for name, value in metric.compute().items()}


def sample(seed: int, images: int, classes: int, levels: int = 1000) -> tuple[Tensor, Tensor]:
    """Draw logits on a grid, so that few levels make ties (also at 0), and labels that they hint at."""
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(images, classes, generator=generator) * levels / 4
    labels = torch.rand(images, classes, generator=generator) < torch.sigmoid(logits / levels * 8 - 1)
    return logits.round() / levels * 8, labels


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**31), st.integers(2, 40), st.sampled_from([2, 5, 1000]))
def test_equals_scikit_learn(seed: int, images: int, levels: int) -> None:
    logits, labels = sample(seed, images, 4, levels)
    labels[0, 0] = True
    assert score(logits, labels) == pytest.approx(oracle(logits, labels))


def test_logits_are_ranked_where_probabilities_saturate() -> None:
    logits, labels = sample(0, 60, 3)
    logits = logits + 40
    assert logits.sigmoid().eq(1).all()
    assert score(logits, labels)["map"] == pytest.approx(oracle(logits, labels)["map"])


def test_ties_share_one_operating_point_whatever_the_order() -> None:
    logits = torch.tensor([[1.0], [1.0], [0.0], [0.0], [-1.0]])
    labels = torch.tensor([[True], [False], [False], [True], [True]])
    expected = (1 / 2 + 2 / 4 + 3 / 5) / 3
    for order in ([0, 1, 2, 3, 4], [4, 3, 2, 1, 0], [1, 0, 3, 2, 4]):
        assert float(average_precision(logits[order], labels[order])) == pytest.approx(expected)


def test_logit_zero_is_not_a_detection() -> None:
    assert score(torch.zeros(3, 2), torch.ones(3, 2, dtype=torch.bool))["f1_micro"] == 0


def test_absent_classes_are_left_out_of_the_means_but_their_errors_count_in_micro() -> None:
    logits = torch.tensor([[5.0, 5.0], [-5.0, -5.0]])
    labels = torch.tensor([[True, False], [False, False]])
    result = score(logits, labels)
    assert result == {"f1_micro": pytest.approx(2 / 3), "f1_macro": 1.0, "map": 1.0}


def test_all_classes_in_every_image() -> None:
    assert score(torch.ones(4, 3), torch.ones(4, 3, dtype=torch.bool)) == dict.fromkeys(
        ("f1_micro", "f1_macro", "map"), 1.0
    )


def test_nothing_labelled() -> None:
    labels = torch.zeros(4, 3, dtype=torch.bool)
    predicted = score(torch.ones(4, 3), labels)
    assert predicted["f1_micro"] == 0
    assert math.isnan(predicted["f1_macro"])
    assert math.isnan(predicted["map"])
    assert all(math.isnan(value) for value in score(-torch.ones(4, 3), labels).values())


@pytest.mark.filterwarnings("ignore:The ``compute`` method")
@pytest.mark.parametrize("updates", [0, 1])
def test_no_images(updates: int) -> None:
    metric = ClassificationMetrics(3)
    for _ in range(updates):
        metric.update(torch.zeros(0, 3), torch.zeros(0, 3, dtype=torch.bool))
    assert all(value.isnan() for value in metric.compute().values())


def test_nan_logits_are_not_hidden() -> None:
    logits, labels = sample(1, 20, 3)
    logits[3, 1] = torch.nan
    assert math.isnan(score(logits, labels)["map"])


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_other_precisions_are_ranked_in_float32(dtype: torch.dtype) -> None:
    logits, labels = sample(2, 30, 3)
    assert score(logits.to(dtype), labels) == pytest.approx(oracle(logits.to(dtype).float(), labels))


def test_reset_forgets() -> None:
    metric = ClassificationMetrics(3)
    metric.update(*sample(3, 10, 3))
    metric.reset()
    logits, labels = sample(4, 10, 3)
    metric.update(logits, labels)
    assert {name: float(v) for name, v in metric.compute().items()} == pytest.approx(oracle(logits, labels))


def test_refuses_what_does_not_fit() -> None:
    metric = ClassificationMetrics(3)
    with pytest.raises(ValueError, match=r"\[N, 3\]"):
        metric.update(torch.zeros(2, 4), torch.zeros(2, 4, dtype=torch.bool))
    with pytest.raises(ValueError, match=r"\[N, 3\]"):
        metric.update(torch.zeros(2, 3), torch.zeros(1, 3, dtype=torch.bool))
    with pytest.raises(ValueError, match="bool"):
        metric.update(torch.zeros(2, 3), torch.zeros(2, 3))


def _rank(rank: int) -> list[dict[str, Tensor]]:
    results = []
    for first in (5, 17, 0):  # images of rank 0 out of 17: uneven, and none at all on one rank
        logits, labels = sample(5, 17, 4, 5)
        part = slice(0, first) if rank == 0 else slice(first, 17)
        metric = ClassificationMetrics(4)
        for i in range(17)[part]:
            metric.update(logits[i : i + 1], labels[i : i + 1])
        results.append(metric.compute())
        metric.update(logits[part], labels[part])  # the local state is usable after a sync
    return results


def test_two_ranks_equal_one_process(tmp_path: Path) -> None:
    expected = oracle(*sample(5, 17, 4, 5))
    for results in on_two_ranks(_rank, tmp_path):
        for result in results:
            assert {name: float(value) for name, value in result.items()} == pytest.approx(expected)
