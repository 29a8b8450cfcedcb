"""Which kernels of our own are called."""

from collections.abc import Iterator
from typing import Any

import pytest

from guidance.models import bcos_transform, channel_sums, few_channels, filter_gradients, kernels, winograd


def noted_calls() -> Iterator[list[str]]:
    """Yield the names of the kernels that are called from now on; a fixture."""
    found: list[str] = []
    call = kernels.call

    def noting(file: str, name: str, *args: Any) -> None:
        found.append(name)
        call(file, name, *args)

    with pytest.MonkeyPatch.context() as patch:
        for module in (bcos_transform, winograd, filter_gradients, few_channels, channel_sums):
            patch.setattr(module, "call", noting)
        yield found
