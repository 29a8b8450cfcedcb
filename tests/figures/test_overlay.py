import numpy as np
import pytest
import torch
from torch import Tensor

from guidance.figures import overlay, robust_limit


def image(height: int = 32, width: int = 48) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(256, (3, height, width), generator=generator, dtype=torch.uint8)


def test_evidence_is_coloured_and_all_else_is_grey() -> None:
    attribution = torch.zeros(32, 48)
    attribution[:10, :10], attribution[20:, 30:] = 2.0, -5.0
    picture = overlay(image(), attribution)
    assert picture.shape == (32, 48, 3)
    assert picture.dtype == np.float32
    assert picture.min() >= 0
    assert picture.max() <= 1
    grey = np.ptp(picture, axis=-1) < 1e-6
    assert not grey[:10, :10].any()
    assert grey[10:].all()
    assert grey[:, 10:].all()


def test_overlay_is_at_the_image_size_and_its_limit_sets_the_full_colour() -> None:
    attribution = torch.rand(4, 6, generator=torch.Generator().manual_seed(1))
    assert overlay(image(), attribution).shape == (32, 48, 3)
    assert np.allclose(overlay(image(), 7 * attribution), overlay(image(), attribution), atol=1e-5)
    strong, weak = (overlay(image(), attribution, limit) for limit in (1.0, 100.0))
    assert np.ptp(strong, axis=-1).mean() > np.ptp(weak, axis=-1).mean()


@pytest.mark.parametrize("value", [0.0, -1.0, torch.nan])
def test_map_without_evidence_leaves_the_grey_image(value: float) -> None:
    assert np.ptp(overlay(image(), torch.full((4, 4), value)), axis=-1).max() < 1e-6


def test_limit_is_robust_and_never_zero() -> None:
    spread = torch.arange(10_000.0).view(100, 100)
    spread[-1, -1] = 1e9
    assert robust_limit(spread) == pytest.approx(9949, abs=1)
    lonely = torch.zeros(100, 100)
    lonely[3, 3] = 2.0
    assert robust_limit(lonely) == 2.0
    assert robust_limit(torch.zeros(4, 4)) == 1.0
    assert robust_limit(-torch.ones(4, 4)) == 1.0
