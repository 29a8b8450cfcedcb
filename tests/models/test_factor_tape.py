"""Factors that a tape records, played back for some rows."""

import pytest
import torch

from guidance.models.factor_tape import FactorTape, playing, recorded, recorded_of


def test_a_tape_gives_out_rows_of_factors_in_their_order() -> None:
    computed: list[str] = []

    def compute(name: str, factor: torch.Tensor) -> torch.Tensor:
        computed.append(name)
        return factor

    def layers() -> list[torch.Tensor]:
        own = recorded(lambda: compute("own", torch.arange(6.0).view(3, 2)))
        shared = recorded(lambda: compute("shared", torch.tensor([7.0, 8.0])), of_batch=True)
        return [own, shared]

    tape = FactorTape()
    with tape.record():
        assert not playing()
        layers()
    for _ in range(2):  # as often as one likes
        with tape.play(torch.tensor([2, 0, 2])):
            assert playing()
            own, shared = layers()
        assert own.tolist() == [[4, 5], [0, 1], [4, 5]]
        assert shared.tolist() == [7, 8]
    with tape.play(torch.tensor([2, 0, 2])), torch.no_grad():
        assert layers()[0].shape == (1, 2)  # whatever: nothing is read before the layer that is explained
    assert computed == ["own", "shared"]
    assert not playing()
    layers()
    assert len(computed) == 4


def test_an_error_ends_the_playback() -> None:
    with pytest.raises(RuntimeError, match="stop"), FactorTape().play(torch.arange(1)):
        raise RuntimeError("stop")
    assert not playing()


def test_factors_of_the_first_images_are_computed_of_their_rows() -> None:
    counts: list[int] = []

    def square(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        counts.append(len(x))
        return x.square() * y

    x = torch.randn(4, 3, dtype=torch.float64, requires_grad=True)
    y = torch.randn(4, 1, dtype=torch.float64)
    tape = FactorTape()
    with tape.record():
        whole = recorded_of(square, lambda: (x, y))
    with tape.play(slice(2)):
        first = recorded_of(square, lambda: pytest.fail("nothing is computed but the factor"))
    with tape.play(torch.tensor([3, 0])):
        some = recorded_of(square, lambda: pytest.fail("nothing is computed"))
    assert counts == [4, 2]
    torch.testing.assert_close(first, whole[:2], rtol=0, atol=0)
    torch.testing.assert_close(some, whole[[3, 0]], rtol=0, atol=0)
    torch.testing.assert_close(recorded_of(square, lambda: (x, y)), whole, rtol=0, atol=0)
    (gradient,) = torch.autograd.grad(first.sum(), x)
    expected = torch.cat([2 * x[:2] * y[:2], torch.zeros(2, 3, dtype=torch.float64)])
    torch.testing.assert_close(gradient, expected)
