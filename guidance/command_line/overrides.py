"""Overrides as Hydra's parser reads them, with one error for all that it cannot read or count."""

from collections.abc import Sequence
from itertools import islice

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, ValueType
from hydra.errors import HydraException

from guidance.errors import InputError

MOST_VALUES = 10_000
"""Of one override of a sweep."""


def parse_overrides(arguments: Sequence[str]) -> list[Override]:
    """Read overrides.

    Args:
        arguments: Each ``key=value``, ``+key=value``, ``~key`` and so on.

    Raises:
        InputError: If one cannot be read.
    """
    for argument in arguments:
        if argument.lstrip("+~").startswith("="):
            raise InputError(f"'{argument}' is no override: write key=value, e.g. loss=energy (see --help)")
    try:
        parsed: list[Override] = OverridesParser.create().parse_overrides(list(arguments))
    except HydraException as error:
        raise InputError(f"cannot read the overrides: {str(error).splitlines()[0]}") from error
    except RecursionError as error:
        raise InputError("cannot read the overrides: brackets are nested too deeply") from error
    return parsed


def sweep_values(override: Override) -> list[str]:
    """Return the values of an override that is a sweep, as they are written.

    Raises:
        InputError: If they are no list of values: an interval, ``glob(...)``, no value or more than
            :data:`MOST_VALUES`.
    """
    text, example = override.input_line, f"{override.key_or_group}=a,b"
    if override.value_type == ValueType.GLOB_CHOICE_SWEEP:
        raise InputError(f"'{text}': glob(...) is not read here; name the values, e.g. {example}")
    if not override.is_discrete_sweep():
        raise InputError(
            f"'{text}': a sweep needs values, e.g. {example}; intervals are for python -m guidance.search"
        )
    try:
        values = list(islice(override.sweep_string_iterator(), MOST_VALUES + 1))
    except (ValueError, OverflowError, HydraException) as error:  # of a range, or a range within a choice
        raise InputError(f"'{text}': {str(error).splitlines()[0]}; write e.g. {example}") from error
    if not values:
        raise InputError(f"'{text}' has no value; write e.g. {example}")
    if len(values) > MOST_VALUES:
        raise InputError(f"'{text}' has more than {MOST_VALUES:,} values")
    return values
