"""Dynamic factors: what makes a B-cos network more than linear, and how an explanation holds them constant.

In a dynamic linear network every layer multiplies a linear map of its input by dynamic factors: powers of
cosines, inverse standard deviations and attention weights in a B-cos network, whole weight vectors in a CoDA
network. Its explanation W(x) is the gradient of a logit with the factors held constant. To train on it, the
loss must still reach the factors. So they are not detached in the forward pass:

* :func:`dynamic_scale` and :func:`dynamic_matmul` leave the factor's gradient out only while
  :func:`explanation_backward` is active, that is, in the explanation's own backward pass. One forward pass
  then serves the logits, the explanation, and the gradients of both.
* :class:`FactorTape` keeps the factors of a forward pass. Played back, they make the network a linear map,
  which explains any rows of the batch, at the cost of a backward pass of these rows.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from guidance.models.closed_forms import for_compiler
from guidance.models.rows import add_to_rows, take_rows

_explaining = False
_explanation_dtype: torch.dtype | None = None


@contextmanager
def explanation_backward(dtype: torch.dtype | None = None) -> Iterator[None]:
    """Hold all dynamic factors constant in the backward passes that run inside this context.

    The setting belongs to the process, not to a thread: autograd runs CUDA backwards in threads of its own.

    Args:
        dtype: In which linear maps (convolutions, products with weights and with attention) are gone back
            through, and differentiated; what passes between them keeps its type. None: in their own.
    """
    global _explaining, _explanation_dtype
    previous = _explaining, _explanation_dtype
    _explaining, _explanation_dtype = True, dtype
    try:
        yield
    finally:
        _explaining, _explanation_dtype = previous


def explaining() -> bool:
    """Return whether :func:`explanation_backward` is active: for layers with a backward of their own."""
    return _explaining


def explained_input(x: Tensor) -> Tensor:
    """Mark a tensor as one that explanations end at, such as the image itself, and return it.

    The layer that takes it computes its gradient within :func:`explanation_backward` alone. A loss has none
    there that anybody wants, and it would take as long as the layer itself.
    """
    x.explained_input = True  # type: ignore[attr-defined]
    return x


def is_explained_input(x: Tensor) -> bool:
    """Return whether a tensor was marked by :func:`explained_input`."""
    return getattr(x, "explained_input", False)


def for_explanation(*tensors: Tensor) -> tuple[Tensor, ...]:
    """Cast the factors of a product to the type in which :func:`explanation_backward` is to compute it."""
    if _explanation_dtype is None:
        return tensors
    return tuple(tensor.to(_explanation_dtype) for tensor in tensors)


class DynamicLinear:
    """Marks the layers that are linear but for dynamic factors, which :func:`explanation_backward` holds.

    A network with such layers can be explained by its dynamic linear map.
    """


class _DynamicScale(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, factor: Tensor) -> Tensor:
        only_explained(ctx)
        ctx.save_for_backward(x if ctx.needs_input_grad[1] and not ctx.only_explained else None, factor)
        return x * factor

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, Tensor | None]:
        if has_no_gradient(ctx):
            return None, None
        x, factor = ctx.saved_tensors
        (gradient,) = gradients
        needs_x, needs_factor = ctx.needs_input_grad
        factor_gradient = None
        if needs_factor and not _explaining:
            factor_gradient = (gradient * x).sum_to_size(factor.shape)
        return (gradient * factor if needs_x else None), factor_gradient


def dynamic_scale(x: Tensor, factor: Tensor) -> Tensor:
    """Multiply by a dynamic factor, which :func:`explanation_backward` treats as a constant.

    Args:
        x: Of any shape, e.g. [N, C, H, W].
        factor: Broadcastable to ``x``.

    Returns:
        ``x * factor``, twice differentiable in both.
    """
    if playing() and not torch.is_grad_enabled():
        return x  # nothing is read of it
    out: Tensor = _DynamicScale.apply(x, of_each_image(factor, x))
    return out


def of_each_image(factor: Tensor, x: Tensor) -> Tensor:
    """Repeat a factor that all images share for each of those that are explained, for a compiler.

    Its gradient is then summed over positions first, and over images afterwards. A compiler sums in one way
    or another depending on how many values there are, which is thus the same for any number of images. What
    is not compiled, or does not come from a tape, stays as it is.

    Args:
        factor: A dynamic factor or a weight, broadcastable to ``x``.
        x: [N, ...].

    Returns:
        The factor, broadcastable to ``x``.
    """
    if not (playing() and for_compiler()) or factor.ndim >= x.ndim:
        return factor
    ones = [1] * (x.ndim - 1 - factor.ndim)
    return factor.expand(x.shape[0], *ones, *factor.shape)


class _DynamicMatmul(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, factor: Tensor, x: Tensor) -> Tensor:
        only_explained(ctx)
        if ctx.only_explained:
            ctx.save_for_backward(factor, None)
            return x.new_zeros(*x.shape[:-2], *factor.shape[-2:-1], x.shape[-1])
        ctx.save_for_backward(factor, x)
        return factor @ x

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, Tensor | None]:
        if has_no_gradient(ctx):
            return None, None
        factor, x = ctx.saved_tensors
        (gradient,) = gradients
        needs_factor, needs_x = ctx.needs_input_grad
        factor_gradient = gradient @ x.mT if needs_factor and not _explaining else None
        if not needs_x:
            return factor_gradient, None
        left, right = for_explanation(factor, gradient)
        return factor_gradient, (left.mT @ right).to(gradient.dtype)


def dynamic_matmul(factor: Tensor, x: Tensor) -> Tensor:
    """Multiply by a matrix that :func:`explanation_backward` treats as a constant.

    Args:
        factor: [..., T, S].
        x: [..., S, D], with the same leading dimensions.

    Returns:
        ``factor @ x``, [..., T, D] in the dtype of ``x``, twice differentiable in both.
    """
    out: Tensor = _DynamicMatmul.apply(factor.to(x.dtype), x)
    return out


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


def only_explained(ctx: Any) -> None:
    """Note in the context of a function whether its output, made while a tape plays, has no meaning."""
    ctx.only_explained = playing()
    ctx.set_materialize_grads(not ctx.only_explained)


def has_no_gradient(ctx: Any) -> bool:
    """Return whether a backward pass reached such an output in another way than by an explanation.

    It did so with zeros: the derivatives of pooling's gradient, for example, have some for pooling's input.
    """
    return bool(ctx.only_explained) and not _explaining
