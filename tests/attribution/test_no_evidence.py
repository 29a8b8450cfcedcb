"""The control that says nothing."""

import torch

from guidance.attribution.no_evidence import NoEvidence
from tests.attribution.plain_network import Plain, plain_images


def test_maps_are_zero() -> None:
    attributor, images = NoEvidence(), plain_images()
    maps = attributor.attribute(attributor.forward(Plain(), images), torch.zeros(len(images)).long())
    assert maps.shape == (len(images), 8, 8)
    assert maps.eq(0).all()
