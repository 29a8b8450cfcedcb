"""Kernels of our own for a CPU, in C++, compiled when first used: what they take, and how they are called."""

import ctypes
import logging
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from subprocess import SubprocessError

import torch
from torch import Tensor

from guidance.models.plain_formulas import for_compiler

log = logging.getLogger(__name__)

PANEL = 32
"""Channels whose values lie next to each other, as in ``panels.h``."""

_NAMES = {torch.float32: "float", torch.float64: "double"}

DTYPES = tuple(_NAMES)
"""What kernels take."""

ORDER = (torch.Tag.needs_fixed_stride_order,)
"""Of operators whose maps torch's compiler is to leave as it traced them: with channels last."""

NAMES = ("bcos_transform", "channel_sums", "few_channels", "filter_gradients", "winograd")
"""Of their files."""

AVAILABLE = sys.platform != "win32"
"""Whether they can be compiled: the compiler that torch takes on Windows has other vectors."""


_SECONDS_IN_SILENCE = 1.0
_in_use = False
_failed: set[str] = set()


@contextmanager
def cpu_kernels(use: bool = True) -> Iterator[None]:
    """Let B-cos networks on a CPU compute by kernels of our own inside this context, where these are faster.

    Results are equal but for rounding. The first use on a machine compiles for some seconds; what is compiled
    stays on disk, as what ``torch.compile`` makes. Where nothing can be compiled there is a warning, and all
    is torch's. Steps that are compiled as a whole call these kernels with or without this context.

    Example::

        with cpu_kernels():
            loss = ...  # forward pass, explanation
            loss.backward()

    Args:
        use: Whether to; False goes without.
    """
    global _in_use
    previous, _in_use = _in_use, use
    try:
        yield
    finally:
        _in_use = previous


def in_use_for(x: Tensor) -> bool:
    """Return whether what is computed of a tensor may be left to kernels of our own.

    So it is inside of :func:`cpu_kernels` on a CPU, unless a compiler is going to see it, whose program calls
    kernels by itself.
    """
    return _in_use and x.device.type == "cpu" and x.numel() > 0 and not for_compiler()


def ready(name: str) -> bool:
    """Return whether the kernels of ``name.cpp`` can be called; compile them if they are not.

    Where something cannot be compiled there is one warning, of the first.
    """
    if not AVAILABLE or name in _failed:
        return False
    try:
        library(name)
    except (RuntimeError, OSError, SubprocessError) as error:
        if not _failed:
            cause = str(error).strip().split("\n")[0]
            log.warning(
                "kernels for the CPU (%s) cannot be compiled, so that steps are slower: %s. They need a C++ "
                "compiler; CXX names another one",
                name,
                cause,
            )
        _failed.add(name)
        return False
    return True


@cache
def library(name: str) -> ctypes.CDLL:
    """Return what is compiled of ``name.cpp``, as torch's compiler compiles and keeps what it generates."""
    from torch._inductor.codecache import CppCodeCache

    folder = Path(__file__).parent
    source = "".join((folder / file).read_text(encoding="utf-8") for file in ("panels.h", f"{name}.cpp"))
    message = "compiling kernels for the CPU (%s), once: this takes some seconds"
    waiting = threading.Timer(_SECONDS_IN_SILENCE, log.info, (message, name))
    waiting.start()
    try:
        # Products and sums in one instruction, which torch forbids the code that it generates.
        compiled: ctypes.CDLL = CppCodeCache.load(source, extra_flags=("-ffp-contract=fast",))
    finally:
        waiting.cancel()
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


def empty_maps(like: Tensor, channels: int) -> Tensor:
    """Return memory for [N, channels, H, W], channels last, of as many images and pixels as ``like``."""
    images, height, width = size(like)
    return like.new_empty(images, height, width, channels).permute(0, 3, 1, 2)


def size(x: Tensor) -> tuple[int, int, int]:
    """Return N, H and W of what is [N, C, H, W]."""
    images, _, height, width = x.shape
    return images, height, width
