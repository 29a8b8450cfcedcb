"""The tape of dynamic factors: what a forward pass records, so that explanations need no other forward pass.

Played back, the factors make a dynamic linear network a linear map (see the module ``dynamic_factors``),
which explains any rows of the batch, at the cost of a backward pass of these rows.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from guidance.models.rows import add_to_rows, take_rows

RowGradients = list[tuple[Tensor, Tensor]]
"""Positions in the batch, and the gradients of a factor there."""


class _WholeFactor(torch.autograd.Function):
    """The identity, whose backward pass adds what explanations of some rows left in a list.

    Left to autograd, these gradients would be spread over zeros of the whole batch, with channels first, and
    added: three and more further passes over memory, and slow ones where a factor has channels last.
    """

    @staticmethod
    def forward(ctx: Any, factor: Tensor, of_rows: RowGradients) -> tuple[Tensor, Tensor]:
        ctx.set_materialize_grads(False)
        ctx.of_rows = of_rows
        ctx.save_for_backward(factor)
        return factor.view_as(factor), factor.new_zeros(())

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor | None) -> tuple[Tensor | None, None]:
        # The second is that of what the rows were made to depend on: they have all been here.
        gradient = gradients[0]
        while ctx.of_rows:
            rows, of_rows = ctx.of_rows.pop()
            if gradient is None:
                gradient = torch.zeros_like(*ctx.saved_tensors)
            # dynamic_scale and dynamic_matmul made the gradient for this factor alone.
            gradient = add_to_rows(gradient, rows, of_rows)
        return gradient, None


class _RowsOfFactor(torch.autograd.Function):
    """Some rows of a factor, whose gradients go to a list, which ``wait`` makes the whole factor wait for."""

    @staticmethod
    def forward(ctx: Any, wait: Tensor, factor: Tensor, rows: Tensor, of_rows: RowGradients) -> Tensor:
        ctx.of_rows = of_rows
        ctx.save_for_backward(rows)
        return take_rows(factor, rows)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None, None]:
        ctx.of_rows.append((*ctx.saved_tensors, *gradients))
        return gradients[0].new_zeros(()), None, None, None


class _RecordedFactor:
    """A factor that differs from image to image.

    Args:
        whole: The factor of all images.
        wait: What explanations of some rows are made to depend on, so that whoever made the factor goes back
            after them.
        of_rows: Where these leave the gradients of their rows, for whoever made the factor.
        slices: Computes the factor of the images of a slice.
    """

    def __init__(
        self,
        whole: Tensor,
        wait: Tensor,
        of_rows: RowGradients,
        slices: Callable[[slice], Tensor] | None = None,
    ) -> None:
        self.whole = whole
        self._wait = wait
        self._of_rows = of_rows
        self._slices = slices or whole.__getitem__

    def rows(self, rows: Tensor | slice) -> Tensor:
        if isinstance(rows, slice):
            return self._slices(rows)  # only a compiler has slices
        out: Tensor = _RowsOfFactor.apply(self._wait, self.whole.detach(), rows, self._of_rows)
        return out


def _recorded_factor(factor: Tensor, slices: Callable[[slice], Tensor] | None = None) -> _RecordedFactor:
    of_rows: RowGradients = []
    whole = wait = factor
    if factor.requires_grad and torch.is_grad_enabled():
        whole, wait = _WholeFactor.apply(factor, of_rows)
    return _RecordedFactor(whole, wait, of_rows, slices)


class FactorTape:
    """The dynamic factors of one forward pass, in the order of their computation.

    Example::

        tape = FactorTape()
        with tape.record():
            logits = model(images)
        with tape.play(rows):
            ...  # model(images[rows]) is linear; only its gradients, in explanation_backward, have a meaning

    While the tape plays, linear maps return zeros: what a dynamic linear network would compute is known,
    and its gradient depends on the factors alone. No factor is computed again, and no statistics change.

    Args:
        factors: Of another tape (:attr:`factors`), to be played.
    """

    def __init__(self, factors: Iterable[tuple[Tensor, bool]] = ()) -> None:
        self._factors = [one if of_batch else _recorded_factor(one) for one, of_batch in factors]
        self._rows: Tensor | slice | None = None
        self._next = 0

    @contextmanager
    def record(self) -> Iterator[None]:
        """Record the factors that are computed inside this context."""
        with self._active():
            yield

    @contextmanager
    def play(self, rows: Tensor | slice) -> Iterator[None]:
        """Give out the recorded factors of some images instead of computing factors.

        Args:
            rows: Positions in the recorded batch, also repeated ones, int64 [P], or a slice.
        """
        self._rows, self._next = rows, 0
        try:
            with self._active():
                yield
        finally:
            self._rows = None

    @property
    def factors(self) -> list[tuple[Tensor, bool]]:
        """Return what was recorded, each with whether all images share it."""
        return [(f, True) if isinstance(f, Tensor) else (f.whole, False) for f in self._factors]

    @property
    def playing(self) -> bool:
        """Return whether recorded factors are given out."""
        return self._rows is not None

    def factor(self, compute: Callable[[], Tensor], of_batch: bool) -> Tensor:
        """Compute and keep the next factor, or give it out; see :func:`recorded`."""
        if self._rows is not None:
            return self._give_out(self._rows)
        computed = compute()
        return self._keep(computed if of_batch else _recorded_factor(computed))

    def factor_of(self, function: Callable[..., Tensor], inputs: Callable[[], tuple[Tensor, ...]]) -> Tensor:
        """Compute and keep the next factor, or give it out; see :func:`recorded_of`."""
        if self._rows is not None:
            return self._give_out(self._rows)
        tensors = inputs()
        return self._keep(
            _recorded_factor(function(*tensors), lambda rows: function(*(each[rows] for each in tensors)))
        )

    def _keep(self, factor: "Tensor | _RecordedFactor") -> Tensor:
        self._factors.append(factor)
        return factor if isinstance(factor, Tensor) else factor.whole

    def _give_out(self, rows: Tensor | slice) -> Tensor:
        factor = self._factors[self._next]
        self._next += 1
        if isinstance(factor, Tensor):
            return factor
        # Without a gradient, as before the layer that is explained, nothing that is computed is ever read.
        return factor.rows(rows) if torch.is_grad_enabled() else factor.whole[:1]

    def keep(self, factor: _RecordedFactor) -> None:
        """Keep the next factor; see :func:`keep_factor`."""
        self._factors.append(factor)

    @contextmanager
    def _active(self) -> Iterator[None]:
        global _tape
        previous, _tape = _tape, self
        try:
            yield
        finally:
            _tape = previous


_tape: FactorTape | None = None


def recorded(compute: Callable[[], Tensor], of_batch: bool = False) -> Tensor:
    """Compute a dynamic factor, or a weight of a linear map, unless a :class:`FactorTape` has it.

    Args:
        compute: Computes it for all images, with whatever else is to happen once in a forward pass.
        of_batch: Whether all images share it. Otherwise its first dimension is that of the images.
    """
    return compute() if _tape is None else _tape.factor(compute, of_batch)


def recorded_of(function: Callable[..., Tensor], inputs: Callable[[], tuple[Tensor, ...]]) -> Tensor:
    """Compute a dynamic factor of each image, unless a :class:`FactorTape` has it.

    For some images a compiler computes the factor again, of their rows of what it is a function of. Gradients
    are then of these rows from the factor on, instead of ones of the whole batch that are zero elsewhere.

    Args:
        function: Of tensors [N, ...]; returns the factor, [N, ...], each image's of its own rows alone.
        inputs: Computes these tensors.
    """
    return function(*inputs()) if _tape is None else _tape.factor_of(function, inputs)


def keep_factor(factor: Tensor, wait: Tensor, of_rows: RowGradients) -> None:
    """Keep a dynamic factor that was computed together with what it scales, unless nothing is recorded.

    Args:
        factor: Of all images, [N, ...], the output of a function of automatic differentiation.
        wait: A scalar, another output of that function.
        of_rows: To which explanations of some images append (positions, gradients of the factor there) before
            that function goes back.
    """
    if _tape is not None:
        _tape.keep(_RecordedFactor(factor, wait, of_rows))


def playing() -> bool:
    """Return whether a :class:`FactorTape` plays, so that no layer needs to return what it computes."""
    return _tape is not None and _tape.playing
