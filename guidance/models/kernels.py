"""Kernels of our own for a CPU, in C++, compiled when first used: what they take, and how they are called."""

import ctypes
import sys
from functools import cache
from pathlib import Path

import torch
from torch import Tensor

PANEL = 32
"""Channels whose values lie next to each other, as in ``panels.h``."""

_NAMES = {torch.float32: "float", torch.float64: "double"}

DTYPES = tuple(_NAMES)
"""What kernels take."""

ORDER = (torch.Tag.needs_fixed_stride_order,)
"""Of operators whose maps torch's compiler is to leave as it traced them: with channels last."""

AVAILABLE = sys.platform != "win32"
"""Whether they can be compiled: the compiler that torch takes on Windows has other vectors."""


@cache
def library(name: str) -> ctypes.CDLL:
    """Return what is compiled of ``name.cpp``, as torch's compiler compiles and keeps what it generates."""
    from torch._inductor.codecache import CppCodeCache

    folder = Path(__file__).parent
    source = "".join((folder / file).read_text(encoding="utf-8") for file in ("panels.h", f"{name}.cpp"))
    # Products and sums in one instruction, which torch forbids the code that it generates.
    compiled: ctypes.CDLL = CppCodeCache.load(source, extra_flags=("-ffp-contract=fast",))
    return compiled


def call(file: str, name: str, tensors: list[Tensor], *sizes: int) -> None:
    """Call a kernel of the type of its tensors, with all threads of torch.

    Args:
        file: Its source, without ``.cpp``.
        name: Its name, without that of the type.
        tensors: Their memory is what it reads and writes.
        sizes: Numbers that follow them, in its order; that of the threads comes last by itself.
    """
    kernel = getattr(library(file), f"{name}_{_NAMES[tensors[0].dtype]}")
    pointers = [ctypes.c_void_p(tensor.data_ptr()) for tensor in tensors]
    kernel(*pointers, *map(ctypes.c_int64, sizes), ctypes.c_int64(torch.get_num_threads()))


def channels_last(x: Tensor) -> Tensor:
    """Return what is [N, C, H, W] with its channels last in memory, [N, H, W, C]."""
    return x.permute(0, 2, 3, 1).contiguous()


def size(x: Tensor) -> tuple[int, int, int]:
    """Return N, H and W of what is [N, C, H, W]."""
    images, _, height, width = x.shape
    return images, height, width
