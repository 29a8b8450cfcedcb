"""The B-cos transform with B = 2 and its gradients on a CPU, each in one pass over its maps.

``out * |out| / norm`` and its derivatives are a dozen products and quotients as large as the map, each of
which torch writes to memory. Here a position's channels are read once, and what is not asked for is in no
memory (``bcos_transform.cpp``).

Operators of torch (``torch.ops.guidance``), which have no derivatives but each other.
"""

import torch
from torch import Tensor

from guidance.models.kernels import DTYPES, call, channels_last, empty_maps, in_use_for, ready


def takes(out: Tensor, norm: Tensor) -> bool:
    """Return whether these kernels compute a transform, without a derivative.

    Args:
        out: [N, C, H, W].
        norm: Of which each position has one, [N, 1, H, W], or something else.
    """
    if torch.is_grad_enabled() or not in_use_for(out) or out.ndim != 4 or out.dtype not in DTYPES:
        return False
    one_each = norm.shape == out[:, :1].shape and norm.dtype == out.dtype
    return one_each and out.is_contiguous(memory_format=torch.channels_last) and ready("bcos_transform")


@torch.library.custom_op("guidance::bcos_transform", mutates_args=())
def transform(out: Tensor, norm: Tensor) -> tuple[Tensor, Tensor]:
    """Return the transform ``out * factor`` and the factor ``|out| / norm``.

    Args:
        out: float32 or float64 [N, C, H, W].
        norm: Positive, [N, 1, H, W].

    Returns:
        Each [N, C, H, W], channels last.
    """
    scaled, factor = _maps(out, norm)
    tensors = [channels_last(out), channels_last(norm), scaled, factor]
    call("bcos_transform", "bcos_transform", tensors, norm.numel(), out.shape[1])
    return scaled, factor


@torch.library.custom_op("guidance::bcos_transform_gradients", mutates_args=())
def gradients(
    of_scaled: Tensor | None, of_factor: Tensor | None, out: Tensor, norm: Tensor
) -> tuple[Tensor, Tensor]:
    """Return the gradients of ``out`` and ``norm`` by those of what :func:`transform` returns.

    Args:
        of_scaled: That of ``out * factor``, [N, C, H, W].
        of_factor: That of the factor. One of the two may be None.
        out: float32 or float64 [N, C, H, W]; where it is 0, so is the derivative of its absolute value.
        norm: Positive, [N, 1, H, W].

    Returns:
        [N, C, H, W], channels last; [N, 1, H, W].
    """
    of_out, of_norm = _gradients(of_scaled, of_factor, out, norm)
    maps = [channels_last(out if each is None else each) for each in (of_scaled, of_factor)]
    tensors = [*maps, channels_last(out), channels_last(norm), of_out, of_norm]
    given = int(of_scaled is not None), int(of_factor is not None)
    call("bcos_transform", "bcos_transform_gradients", tensors, norm.numel(), out.shape[1], *given)
    return of_out, of_norm


@transform.register_fake
def _maps(out: Tensor, norm: Tensor) -> tuple[Tensor, Tensor]:
    return empty_maps(out, out.shape[1]), empty_maps(out, out.shape[1])


@gradients.register_fake
def _gradients(
    of_scaled: Tensor | None, of_factor: Tensor | None, out: Tensor, norm: Tensor
) -> tuple[Tensor, Tensor]:
    return empty_maps(out, out.shape[1]), norm.new_empty(norm.shape)
