import pytest
import torch
from scipy.ndimage import gaussian_filter

from guidance.errors import InputError
from guidance.losses import EnergyLoss, L1Loss, SoftMaskLoss


@pytest.mark.parametrize(("size", "sigma"), [((20, 30), 0.05), ((7, 5), 0.4)])
def test_the_masks_are_blurred_like_scipy_s(size: tuple[int, int], sigma: float) -> None:
    generator = torch.Generator().manual_seed(0)
    masks = torch.rand(3, *size, generator=generator) > 0.7
    soft = SoftMaskLoss(EnergyLoss(), sigma).soften(masks)
    for mask, found in zip(masks, soft, strict=True):
        expected = gaussian_filter(mask.numpy().astype(float), sigma * max(size), mode="nearest", truncate=4)
        torch.testing.assert_close(
            found.double(), torch.from_numpy(expected / expected.max()), atol=2e-3, rtol=0
        )


def test_empty_and_full_masks_stay_so() -> None:
    masks = torch.stack([torch.zeros(9, 9), torch.ones(9, 9)]).bool()
    soft = SoftMaskLoss(EnergyLoss(), 0.1).soften(masks)
    assert (soft[0] == 0).all()
    torch.testing.assert_close(soft[1], torch.ones(9, 9))


def test_the_loss_sees_the_soft_masks() -> None:
    maps, masks = torch.rand(2, 8, 8), torch.zeros(2, 8, 8, dtype=torch.bool)
    masks[:, 2:5, 3:7] = True
    loss = SoftMaskLoss(L1Loss(), 0.1)
    torch.testing.assert_close(loss(maps, masks), L1Loss()(maps, loss.soften(masks)))


@pytest.mark.parametrize("sigma", [0.0, 1.0, -1.0])
def test_sigma_out_of_range(sigma: float) -> None:
    with pytest.raises(InputError, match=r"loss\.localization\.sigma is"):
        SoftMaskLoss(EnergyLoss(), sigma)
