"""Confidence curves, against a version that runs one image and one step at a time."""

from typing import Literal

import pytest
import torch
from torch.nn import functional as F

from guidance.metrics.removal_curves import removal_ranks
from guidance.models import bcos_small
from guidance.protocols.removal import blurred, confidence_curves
from tests.protocols.colours import seeing_classifier


@pytest.mark.parametrize("kind", ["sigmoid", "softmax"])
@pytest.mark.parametrize("replace", [False, True])
def test_a_slow_version_agrees(kind: Literal["sigmoid", "softmax"], replace: bool) -> None:
    torch.manual_seed(0)
    classifier = bcos_small(width=4, num_classes=5).eval().requires_grad_(False)
    images = torch.rand(3, 3, 16, 16)
    classes = torch.tensor([0, 4, 2])
    ranks = removal_ranks(torch.randn(3, 16, 16), (16, 16), most_first=True)
    other = torch.rand(3, 6, 16, 16) if replace else None
    curves = confidence_curves(classifier, images, classes, ranks, other, 5, kind, chunk=4)
    assert curves.shape == (3, 6)
    encoded = torch.cat([images, 1 - images], dim=1)
    for i in range(3):
        order = ranks[i].flatten().argsort().tolist()
        for step in range(6):
            changed = encoded[i].clone()
            for pixel in order[: 256 * step // 5]:
                row, column = divmod(pixel, 16)
                changed[:, row, column] = other[i, :, row, column] if other is not None else 0
            logits = classifier.network(changed[None])[0]
            values = logits.sigmoid() if kind == "sigmoid" else logits.softmax(0)
            assert curves[i, step].item() == pytest.approx(values[classes[i]].item(), abs=1e-5)


def test_blur() -> None:
    classifier = seeing_classifier()
    assert torch.allclose(blurred(classifier, torch.full((1, 3, 16, 16), 0.3)), torch.tensor(0.3))
    image = torch.zeros(1, 3, 224, 224)
    image[..., 112, 112] = 1
    line = blurred(classifier, image)[0, 0, 112]
    weights = torch.exp(-0.5 * (torch.arange(-5, 6) / 5) ** 2)
    weights = weights / weights.sum()
    assert torch.allclose(line[107:118], weights * weights[5], atol=1e-6)
    assert F.relu(line[:107]).sum() == 0
