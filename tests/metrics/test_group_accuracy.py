import math
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score
from torch import Tensor

from guidance.metrics import GroupAccuracy
from tests.two_ranks import on_two_ranks

GROUPS = ("a", "b", "c")


def images(seed: int, count: int) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(count, 4, generator=generator)
    classes = torch.randint(4, (count,), generator=generator)
    labels = torch.nn.functional.one_hot(classes, 4).bool()
    return logits, labels, torch.randint(-1, 3, (count,), generator=generator)


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**31), st.integers(1, 40))
def test_equals_scikit_learn_group_by_group(seed: int, count: int) -> None:
    logits, labels, groups = images(seed, count)
    metric = GroupAccuracy(GROUPS)
    for part in (slice(0, count // 2), slice(count // 2, None)):
        metric.update(logits[part], labels[part], groups[part])
    found = metric.compute()
    truth, predicted = labels.int().argmax(1).numpy(), logits.argmax(1).numpy()
    assert float(found["accuracy"]) == pytest.approx(accuracy_score(truth, predicted))
    each = []
    for number, name in enumerate(GROUPS):
        own = (groups == number).numpy()
        if own.any():
            each.append(accuracy_score(truth[own], predicted[own]))
            assert float(found[f"accuracy/{name}"]) == pytest.approx(each[-1])
        else:
            assert math.isnan(found[f"accuracy/{name}"])
    if each:
        assert float(found["worst_group_accuracy"]) == pytest.approx(min(each))
        assert float(found["mean_group_accuracy"]) == pytest.approx(sum(each) / len(each))
    else:
        assert math.isnan(found["worst_group_accuracy"])
        assert math.isnan(found["mean_group_accuracy"])


def test_without_groups_there_is_one_number() -> None:
    metric = GroupAccuracy()
    none = torch.zeros(0, dtype=torch.int64)
    metric.update(torch.zeros(0, 2), torch.zeros(0, 2, dtype=torch.bool), none)
    assert math.isnan(metric.compute()["accuracy"])
    labels = torch.tensor([[False, True], [True, False]])
    metric.update(torch.tensor([[1.0, 2.0], [3.0, 3.0]]), labels, none.new_full((2,), -1))
    assert metric.compute() == {"accuracy": torch.tensor(1.0, dtype=torch.float64)}


def test_wrong_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match=r"\[N, K\], \[N, K\] and \[N\]; got \[2, 3\], \[2, 3\] and \[3\]"):
        GroupAccuracy().update(torch.zeros(2, 3), torch.zeros(2, 3).bool(), torch.zeros(3, dtype=torch.int64))


def _rank(rank: int) -> dict[str, Tensor]:
    metric = GroupAccuracy(GROUPS)
    logits, labels, groups = images(5, 31)
    own = slice(0, 20) if rank == 0 else slice(20, None)
    metric.update(logits[own], labels[own], groups[own])
    return metric.compute()


def test_two_ranks_equal_one_process(tmp_path: Path) -> None:
    metric = GroupAccuracy(GROUPS)
    metric.update(*images(5, 31))
    for found in on_two_ranks(_rank, tmp_path):
        assert found == metric.compute()
