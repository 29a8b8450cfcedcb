"""The sweeper of training, where Hydra looks for plugins. Hydra imports it at every start: it is small."""

from collections.abc import Mapping, Sequence
from typing import Any

from hydra.core.plugins import Plugins
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig


class ResumableSweeper(Sweeper):
    """Runs what is not finished of a sweep; see :func:`guidance.sweep.sweep`.

    Args:
        lines: See :func:`guidance.sweep.lines.expand_lines`.
        weights: Values that lines refer to; not read here.
    """

    def __init__(self, lines: Sequence[str] = (), weights: Mapping[str, str] | None = None) -> None:
        self.lines = list(lines)

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Take what Hydra gives, and make the launcher."""
        self.sweep_config = config
        self.loader = hydra_context.config_loader
        self.launch = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )

    def sweep(self, arguments: list[str]) -> Any:
        """Run the sweep with the command line's overrides."""
        from guidance.command_line import one_line_errors
        from guidance.sweep import sweep

        with one_line_errors():
            return sweep(self.lines, arguments, self.sweep_config, self.loader, self.launch)
