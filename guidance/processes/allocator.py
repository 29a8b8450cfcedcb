"""What becomes of the memory that tensors in main memory give back: kept for the next step."""

import ctypes
import os
import platform

# Parameters of glibc's mallopt.
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
_NEVER = -1


def keep_freed_memory() -> bool:
    """Let this process keep blocks of up to 1 GiB that it frees, for what it allocates next.

    Otherwise glibc hands large ones back to the system, which gives them out again page by page, filled with
    zeros, at every step. The process holds on to the most that it has needed at once. Whoever sets
    ``MALLOC_MMAP_THRESHOLD_`` or ``MALLOC_TRIM_THRESHOLD_`` is left to it.

    Returns:
        Whether it does so now; only under glibc.
    """
    chosen = "MALLOC_MMAP_THRESHOLD_" in os.environ or "MALLOC_TRIM_THRESHOLD_" in os.environ
    if chosen or platform.libc_ver()[0] != "glibc":
        return False
    libc = ctypes.CDLL(None)
    return bool(libc.mallopt(_MMAP_THRESHOLD, 2**30) and libc.mallopt(_TRIM_THRESHOLD, _NEVER))
