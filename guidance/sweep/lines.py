"""From the lines of a study and the command line to the overrides of every job."""

import math
import shlex
from collections.abc import Sequence
from itertools import product

from hydra.core.override_parser.types import Override

from guidance.command_line.overrides import parse_overrides, sweep_values
from guidance.errors import InputError

MOST_JOBS = 10_000
"""Of one sweep; so many would be a slip of the pen."""


def expand_lines(lines: Sequence[str], arguments: Sequence[str]) -> list[list[str]]:
    """Return the overrides of every job.

    Args:
        lines: Each is written like a command line, ``loss=energy loss.weight=0.1,1``, and stands for all
            combinations of its values. Without lines there is one, which is empty.
        arguments: Overrides that go with every line, and replace the line's of the same key.

    Returns:
        One list per job, in the order of the lines, the last key changing fastest.

    Raises:
        InputError: If a line cannot be read, names an interval, of which there are no combinations, or makes
            too many jobs.
    """
    jobs: list[list[str]] = []
    for line in lines or [""]:
        try:
            overrides = parse_overrides([*shlex.split(line), *arguments])
        except ValueError as error:
            raise InputError(f"cannot read the sweep's line '{line}': {error}") from error
        choices: dict[str, list[str]] = {}
        for override in overrides:
            key = override.get_key_element()
            choices.pop(key, None)
            choices[key] = [f"{key}={value}" for value in _values(override)]
        if len(jobs) + math.prod(map(len, choices.values())) > MOST_JOBS:
            raise InputError(
                f"the sweep's line '{line}' makes more than {MOST_JOBS:,} jobs; name fewer values"
            )
        jobs += [list(job) for job in product(*choices.values())]
    return jobs


def _values(override: Override) -> list[str]:
    if not override.is_sweep_override():
        return [override.get_value_element_as_str()]
    return sweep_values(override)
