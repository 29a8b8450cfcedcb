import pytest
import torch

from guidance.losses import AbsentEvidenceLoss


def test_the_share_of_positive_evidence() -> None:
    maps = torch.tensor([[[3.0, -1.0], [0.0, 0.0]], [[-2.0, -1.0], [0.0, 0.0]], [[0.0, 0.0], [0.0, 0.0]]])
    assert AbsentEvidenceLoss()(maps).tolist() == pytest.approx([0.75, 0, 0])
    assert AbsentEvidenceLoss()(maps[:0]).shape == (0,)


@pytest.mark.parametrize("factor", [1e-6, 1e6])
def test_scale_does_not_matter(factor: float) -> None:
    maps = torch.randn(4, 5, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(AbsentEvidenceLoss()(maps * factor), AbsentEvidenceLoss()(maps))


def test_gradients() -> None:
    maps = torch.randn(
        3, 4, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(1)
    ).requires_grad_()
    assert torch.autograd.gradcheck(AbsentEvidenceLoss(), (maps,))
    empty = torch.zeros(1, 4, 4, requires_grad=True)
    AbsentEvidenceLoss()(empty).sum().backward()
    assert empty.grad is not None
    assert (empty.grad == 0).all()
