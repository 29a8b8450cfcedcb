import pytest
import torch
from bcos.common import gradient_to_image
from torch import Tensor

from guidance.figures import rgba_explanation


def drawn(count: int = 2, height: int = 20, width: int = 33) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    image = torch.rand(count, 3, height, width, generator=generator, dtype=torch.float64)
    weights = torch.randn(count, 6, height, width, generator=generator, dtype=torch.float64)
    scale = torch.rand(count, 1, height, width, generator=generator, dtype=torch.float64)
    return torch.cat([image, 1 - image], dim=1), weights * scale


def test_pictures_are_those_of_the_package() -> None:
    inputs, weights = drawn()
    found = rgba_explanation(inputs, weights)
    for image, linear, own in zip(inputs, weights, found, strict=True):
        expected = torch.from_numpy(gradient_to_image(image, linear)).permute(2, 0, 1)
        torch.testing.assert_close(own, expected, rtol=1e-12, atol=1e-12)
    assert found.min() >= 0
    assert found.max() <= 1


def test_images_do_not_depend_on_each_other() -> None:
    inputs, weights = drawn()
    alone = rgba_explanation(inputs[1:], weights[1:])
    torch.testing.assert_close(rgba_explanation(inputs, weights)[1:], alone)


def test_pixels_that_speak_against_the_class_are_transparent() -> None:
    inputs = torch.full((1, 6, 40, 40), 0.5)
    weights = torch.ones(1, 6, 40, 40)
    weights[..., 20:] = -1
    alpha = rgba_explanation(inputs, weights)[0, 3]
    assert alpha[20, 8:12].tolist() == pytest.approx([1.0] * 4)
    assert alpha[20, 30:].max() < 1e-9


def test_no_weights_are_transparent_and_finite() -> None:
    picture = rgba_explanation(torch.rand(1, 6, 4, 4), torch.zeros(1, 6, 4, 4))
    assert torch.equal(picture, torch.zeros(1, 4, 4, 4))


def test_other_inputs_are_refused() -> None:
    for inputs, weights in ((torch.rand(1, 3, 4, 4),) * 2, (torch.rand(1, 6, 4, 4), torch.rand(1, 6, 4, 5))):
        with pytest.raises(ValueError, match=r"must be \[N, 6, H, W\]"):
            rgba_explanation(inputs, weights)
