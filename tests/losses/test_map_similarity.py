import pytest
import torch
from torch.nn.functional import cosine_similarity, interpolate

from guidance.losses import MapSimilarityLoss


def maps(seed: int, count: int, size: int) -> torch.Tensor:
    return torch.randn(count, size, size, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(("student", "teacher"), [(6, 6), (3, 6), (6, 3)])
def test_is_one_minus_the_cosine_at_the_larger_size(student: int, teacher: int) -> None:
    a, b = maps(0, 4, student), maps(1, 4, teacher)
    larger = [
        interpolate(m[:, None], size=(6, 6), mode="bilinear").flatten(1) if len(m[0]) < 6 else m.flatten(1)
        for m in (a, b)
    ]
    torch.testing.assert_close(MapSimilarityLoss()(a, b), 1 - cosine_similarity(larger[0], larger[1]))


def test_equal_and_opposite_maps() -> None:
    a = maps(2, 3, 5)
    torch.testing.assert_close(
        MapSimilarityLoss()(a, 7 * a), torch.zeros(3, dtype=torch.float64), atol=1e-12, rtol=0
    )
    torch.testing.assert_close(MapSimilarityLoss()(a, -a), torch.full((3,), 2.0, dtype=torch.float64))


def test_empty_maps_have_no_gradient() -> None:
    a = torch.zeros(2, 4, 4, dtype=torch.float64)
    a[1] = maps(3, 1, 4)[0]
    a.requires_grad_()
    b = maps(4, 2, 4)
    b[1] = 0
    losses = MapSimilarityLoss()(a, b)
    assert losses.tolist() == [1, 1]
    losses.sum().backward()
    assert a.grad is not None
    assert (a.grad == 0).all()


def test_gradcheck_and_wrong_shapes() -> None:
    a = maps(5, 2, 3).requires_grad_()
    assert torch.autograd.gradcheck(MapSimilarityLoss(), (a, maps(6, 2, 5)))
    assert torch.autograd.gradgradcheck(MapSimilarityLoss(), (a, maps(6, 2, 5)))
    with pytest.raises(ValueError, match=r"\[N, h, w\] and \[N, H, W\]"):
        MapSimilarityLoss()(a, maps(6, 1, 5))
