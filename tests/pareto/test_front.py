import math
import time

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from guidance.pareto import front, pareto_front


def slow_front(points: list[list[float]]) -> list[bool]:
    result = []
    for point in points:
        valid = not any(math.isnan(value) for value in point)
        beaten = any(
            all(a >= b for a, b in zip(rival, point, strict=True))
            and any(a > b for a, b in zip(rival, point, strict=True))
            and not any(math.isnan(a) for a in rival)
            for rival in points
        )
        result.append(valid and not beaten)
    return result


values = st.sampled_from([0.0, -0.0, 0.1, 0.5, 0.5 + 1e-12, 1.0, math.inf, -math.inf, math.nan])


@settings(max_examples=200, deadline=None)
@given(
    st.integers(1, 4).flatmap(
        lambda d: st.lists(st.lists(values, min_size=d, max_size=d), min_size=1, max_size=25)
    )
)
def test_equals_comparing_all_pairs(points: list[list[float]]) -> None:
    assert pareto_front(points).tolist() == slow_front(points)


@pytest.mark.parametrize("chunk", [1, 3, 64])
def test_result_does_not_depend_on_the_chunks(chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    points = torch.randint(6, (150, 3), generator=torch.Generator().manual_seed(0))
    monkeypatch.setattr(front, "_CHUNK", chunk)
    assert pareto_front(points).tolist() == slow_front(points.double().tolist())


def test_copies_of_a_front_point_are_all_kept() -> None:
    assert pareto_front([[1.0, 2.0], [1.0, 2.0], [0.0, 2.0], [2.0, 1.0]]).tolist() == [
        True,
        True,
        False,
        True,
    ]


def test_nothing_is_rounded() -> None:
    assert pareto_front([[0.5, 0.5], [0.5 + 1e-15, 0.5]]).tolist() == [False, True]


@pytest.mark.parametrize(
    "points", [torch.tensor([[1, 2], [2, 3]]), np.array([[1, 2], [2, 3]], dtype=np.float32), [[1, 2], [2, 3]]]
)
def test_takes_tensors_arrays_and_lists(points: Tensor) -> None:
    front = pareto_front(points)
    assert front.dtype == torch.bool
    assert front.tolist() == [False, True]


def test_empty_and_all_nan() -> None:
    assert pareto_front(torch.zeros(0, 3)).tolist() == []
    assert pareto_front(torch.full((2, 3), torch.nan)).tolist() == [False, False]
    assert pareto_front(torch.zeros(2, 0)).tolist() == [True, True]


@pytest.mark.parametrize("shape", [(), (3,), (2, 2, 2)])
def test_refuses_other_shapes(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"\[n, d\]"):
        pareto_front(torch.zeros(shape))


def test_twenty_thousand_points_of_which_all_are_on_the_front() -> None:
    points = torch.nn.functional.normalize(
        torch.rand(20_000, 3, generator=torch.Generator().manual_seed(1)).double()
    )
    start = time.monotonic()
    assert pareto_front(points).all()
    assert time.monotonic() - start < 20  # a second or so on an idle core
