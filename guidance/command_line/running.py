"""One job of a command, under Hydra."""

from collections.abc import Callable

from omegaconf import DictConfig

from guidance.command_line.multirun import in_sweep, refuse_own_processes
from guidance.command_line.one_line_errors import one_line_errors
from guidance.printable import print_logs_safely


def run(config: DictConfig, job: Callable[[DictConfig], object]) -> None:
    """Run one job under Hydra.

    Args:
        config: Composed by Hydra.
        job: E.g. :func:`guidance.runs.run.train` or :func:`guidance.runs.run.evaluate`.

    An error in what the user gave, a sweep whose jobs would start processes of their own among them, ends
    the program with one line and exit status 2.
    """
    print_logs_safely()
    with one_line_errors():
        if in_sweep():
            refuse_own_processes(config)
        job(config)
