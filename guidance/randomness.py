"""Randomness derived from counters instead of from a generator's state.

A draw that depends only on (seed, epoch, index) is the same in one process or eight, before or after a
resume, and on any device.
"""

import torch
from torch import Tensor

_MASK = (1 << 64) - 1


def _signed(value: int) -> int:
    value &= _MASK
    return value - (1 << 64) if value >> 63 else value


def _shift_right(x: Tensor, bits: int) -> Tensor:
    """Logical (not arithmetic) right shift of int64."""
    return (x >> bits) & ((1 << (64 - bits)) - 1)


def hash_integers(*parts: int | Tensor) -> Tensor:
    """Mix integers into a uniformly distributed 63-bit one (splitmix64 finaliser, applied part by part).

    Args:
        *parts: Integers or int64 tensors that broadcast together, e.g. ``(seed, epoch, indices [N])``.

    Returns:
        int64 in [0, 2^63), of the broadcast shape and on the tensors' device.
    """
    device = next((part.device for part in parts if isinstance(part, Tensor)), torch.device("cpu"))
    state = torch.zeros((), dtype=torch.int64, device=device)
    for part in parts:
        value = part if isinstance(part, Tensor) else torch.tensor(_signed(part), device=device)
        state = state + value + _signed(0x9E3779B97F4A7C15)
        state = (state ^ _shift_right(state, 30)) * _signed(0xBF58476D1CE4E5B9)
        state = (state ^ _shift_right(state, 27)) * _signed(0x94D049BB133111EB)
        state = state ^ _shift_right(state, 31)
    return state & ((1 << 63) - 1)


def permutation(length: int, *parts: int) -> Tensor:
    """Return a permutation of ``range(length)``, int64 [length], that depends only on ``parts``."""
    generator = torch.Generator().manual_seed(int(hash_integers(*parts)))
    return torch.randperm(length, generator=generator)
