"""Standard errors, and tables as CSV."""

from pathlib import Path

import pytest
import torch
from scipy.stats import sem

from guidance.protocols.statistics import mean_and_error, write_csv


def test_scipy_agrees() -> None:
    values = torch.rand(7, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    mean, error = mean_and_error(values)
    assert torch.allclose(mean, values.mean(0))
    assert error.tolist() == pytest.approx(sem(values.numpy(), axis=0).tolist())
    assert mean_and_error(values[:1])[1].tolist() == [0, 0, 0]


def test_csv(tmp_path: Path) -> None:
    write_csv(
        tmp_path / "a.csv", [{"name": "a, b", "value": 1 / 3, "n": 2}, {"name": "", "value": 1.0, "n": 3}]
    )
    assert (tmp_path / "a.csv").read_text().splitlines() == ["name,value,n", '"a, b",0.33333333,2', ",1,3"]
