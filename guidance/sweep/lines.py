"""From the lines of a study and the command line to the overrides of every job."""

import shlex
from collections.abc import Sequence
from itertools import product

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException

from guidance.errors import InputError


def expand_lines(lines: Sequence[str], arguments: Sequence[str]) -> list[list[str]]:
    """Return the overrides of every job.

    Args:
        lines: Each is written like a command line, ``loss=energy loss.weight=0.1,1``, and stands for all
            combinations of its values. Without lines there is one, which is empty.
        arguments: Overrides that go with every line, and replace the line's of the same key.

    Returns:
        One list per job, in the order of the lines, the last key changing fastest.

    Raises:
        InputError: If a line cannot be read, or names an interval, of which there are no combinations.
    """
    jobs: list[list[str]] = []
    for line in lines or [""]:
        try:
            overrides = OverridesParser.create().parse_overrides([*shlex.split(line), *arguments])
        except (HydraException, ValueError) as error:
            raise InputError(f"cannot read the sweep's line '{line}': {error}") from error
        choices: dict[str, list[str]] = {}
        for override in overrides:
            key = override.get_key_element()
            choices.pop(key, None)
            choices[key] = [f"{key}={value}" for value in _values(override)]
        jobs += [list(job) for job in product(*choices.values())]
    return jobs


def _values(override: Override) -> list[str]:
    if not override.is_sweep_override():
        return [override.get_value_element_as_str()]
    if not override.is_discrete_sweep():
        raise InputError(
            f"'{override.input_line}': a sweep needs values, e.g. {override.key_or_group}=0.1,1; intervals "
            "are for python -m guidance.search"
        )
    return list(override.sweep_string_iterator())
