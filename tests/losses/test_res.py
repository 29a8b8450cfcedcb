import pytest
import torch

from guidance.errors import InputError
from guidance.losses import L1Loss, RESLoss
from tests.losses.test_losses import random_maps, slow_upsample


def test_without_slack_and_band_it_is_l1() -> None:
    maps, masks = random_maps(5, 4, 4, (9, 11))
    torch.testing.assert_close(RESLoss(0, 0)(maps, masks), L1Loss()(maps, masks))


@pytest.mark.parametrize(("slack", "band"), [(0.2, 0.0), (0.0, 0.3), (0.1, 0.5)])
def test_equals_a_loop_over_pixels(slack: float, band: float) -> None:
    maps, masks = random_maps(4, 4, 4, (8, 12))
    reach = round(band * 12 / 2)
    found = RESLoss(slack, band)(maps, masks).tolist()
    for a, mask, loss in zip(maps, masks, found, strict=True):
        positive = a.clamp(min=0) / a.clamp(min=0).max()
        values = slow_upsample(positive.tolist(), 8, 12)
        total, known, anywhere = 0.0, 0, False
        kinds = []
        for y in range(8):
            for x in range(12):
                near = mask[max(0, y - reach) : y + reach + 1, max(0, x - reach) : x + reach + 1]
                kinds.append((y, x, bool(near.all()), not bool(near.any())))
                anywhere |= bool(near.all())
        for y, x, inside, outside in kinds:
            if (inside if anywhere else bool(mask[y, x])) or outside:
                total += max(0.0, abs(values[y][x] - float(mask[y, x])) - slack)
                known += 1
        assert loss == pytest.approx(total / max(known, 1))


def test_a_mask_within_its_band_stays_positive_and_everything_may_be_unknown() -> None:
    masks = torch.zeros(2, 10, 10, dtype=torch.bool)
    masks[0, 5, 5] = True
    positive, negative = RESLoss(0, 0.4).ternary(masks)
    assert torch.equal(positive[0], masks[0])
    assert not positive[1].any()
    assert negative[1].all()
    masks[0, ::2, ::2] = True
    positive, negative = RESLoss(0, 0.9).ternary(masks)
    assert torch.equal(positive[0], masks[0])
    assert not negative[0].any()


@pytest.mark.parametrize(("options", "name"), [({"slack": 1.0}, "slack"), ({"band": -0.1}, "band")])
def test_options_out_of_range(options: dict[str, float], name: str) -> None:
    with pytest.raises(InputError, match=rf"loss\.localization\.{name} is"):
        RESLoss(**options)
