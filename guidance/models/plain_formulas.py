"""Whether a compiler is going to see what layers compute, so that they leave its operations to it."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

_plain = False


@contextmanager
def plain_formulas() -> Iterator[None]:
    """Compute by plain formulas inside this context, whose operations a compiler fuses by itself."""
    global _plain
    previous, _plain = _plain, True
    try:
        yield
    finally:
        _plain = previous


def for_compiler() -> bool:
    """Return whether a compiler is going to see what is computed, so that plain formulas are best."""
    return _plain or torch.compiler.is_compiling()
