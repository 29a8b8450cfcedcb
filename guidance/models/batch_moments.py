"""Mean and variance of each channel over the batch of all processes."""

from typing import NamedTuple, cast

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed import _functional_collectives as collectives

from guidance.models.closed_forms import variance_and_mean
from guidance.models.plain_formulas import for_compiler


class Moments(NamedTuple):
    """What :func:`batch_moments` returns.

    Attributes:
        variance: Biased, [C], at least float32.
        mean: [C], at least float32.
        values: How many values of a channel they are of: a number, or a tensor [1].
    """

    variance: Tensor
    mean: Tensor
    values: float | Tensor


def batch_moments(x: Tensor) -> Moments:
    """Return the biased variance and the mean per channel over the batch of all processes.

    Args:
        x: [N, C, H, W].
    """
    variance, mean = variance_and_mean(x)
    values = x.numel() / x.shape[1]
    if not _several_processes():
        return Moments(variance, mean, values)
    if for_compiler():
        return _moments_of_equal_batches(variance, mean, values)
    count = torch.full_like(mean[:1], values)
    # Per process: [count, sum, sum of squared deviations from its own mean]. Two rounds keep the global
    # variance free of the cancellation that E[x^2] - E[x]^2 would bring.
    sums = over_processes(torch.cat([count, mean * count]))
    total, global_mean = sums[:1], sums[1:] / sums[:1]
    deviations = over_processes((variance + (mean - global_mean).square()) * count)
    return Moments(deviations / total, global_mean, total)


def _moments_of_equal_batches(variance: Tensor, mean: Tensor, values: float) -> Moments:
    """Return the moments over processes that have the same number of images, as compiled steps do.

    By the only collectives that a compiler sees. None may take a part of another tensor: what inductor (torch
    2.14) joins for a collective it goes on to read where the collective has already written.
    """
    processes = dist.get_world_size()
    global_mean = over_processes(mean) / processes
    deviations = variance + (mean - global_mean).square()
    return Moments(over_processes(deviations) / processes, global_mean, values * processes)


def over_processes(x: Tensor) -> Tensor:
    """Return the sum over all processes, if there are several; differentiable, also for a compiler."""
    if not _several_processes():
        return x
    out: Tensor = collectives.all_reduce(x, "sum", cast(dist.ProcessGroup, dist.group.WORLD))
    return out


def _several_processes() -> bool:
    return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1
