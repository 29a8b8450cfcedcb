"""Whether a run computes by kernels of our own on a CPU: ``trainer.cpu_kernels``."""

from collections.abc import Callable
from functools import wraps
from typing import Any

from omegaconf import DictConfig

from guidance.models import cpu_kernels

Run = Callable[[DictConfig], dict[str, Any]]


def with_cpu_kernels(run: Run) -> Run:
    """Make a run compute inside of :func:`guidance.models.cpu_kernels`, unless ``trainer.cpu_kernels=false``.

    Args:
        run: Of a configuration with the group ``trainer``, which it checks.
    """

    @wraps(run)
    def with_kernels(config: DictConfig) -> dict[str, Any]:
        with cpu_kernels(config.trainer.get("cpu_kernels", True)):
            return run(config)

    return with_kernels
