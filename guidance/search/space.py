"""What a search varies, written as overrides: ``loss=energy,l1 'loss.weight=tag(log,interval(0.01,3))'``."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from hydra.core.override_parser.types import IntervalSweep, Override
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

from guidance.command_line.overrides import parse_overrides, sweep_values
from guidance.errors import InputError

Value = str | float | int
_LARGEST = 1e300


@dataclass(frozen=True)
class Space:
    """What all trials share, and what each chooses.

    Attributes:
        fixed: Overrides of every trial.
        varied: For each key the values it may take.
    """

    fixed: tuple[str, ...]
    varied: Mapping[str, BaseDistribution]

    def overrides(self, values: Mapping[str, Value]) -> list[str]:
        """Return a trial's overrides; numbers of intervals are rounded to four digits."""
        return [
            *self.fixed,
            *(
                f"{k}={values[k]:.4g}" if isinstance(values[k], float) else f"{k}={values[k]}"
                for k in self.varied
            ),
        ]

    def example(self) -> list[str]:
        """Return the overrides of one trial that may be drawn."""
        firsts: dict[str, Value] = {
            key: choice.choices[0] if isinstance(choice, CategoricalDistribution) else choice.low  # type: ignore[attr-defined, misc]
            for key, choice in self.varied.items()
        }
        return self.overrides(firsts)


def parse_space(arguments: Sequence[str]) -> Space:
    """Read a space from overrides.

    Args:
        arguments: ``key=a,b`` and ``key=range(...)`` choose, ``key=interval(a,b)`` draws evenly,
            ``tag(log,interval(a,b))`` evenly on a logarithmic scale, ``int(interval(a,b))`` integers.

    Raises:
        InputError: If an override cannot be read, or nothing varies.
    """
    parsed = parse_overrides(arguments)
    fixed = [o.input_line or "" for o in parsed if not o.is_sweep_override()]
    varied = {o.get_key_element(): _distribution(o) for o in parsed if o.is_sweep_override()}
    if not varied:
        raise InputError(
            "nothing varies: write e.g. loss=energy,l1 or 'loss.weight=interval(0.1,3)' (see --help)"
        )
    return Space(tuple(fixed), varied)


def _distribution(override: Override) -> BaseDistribution:
    sweep = override.value()
    if not isinstance(sweep, IntervalSweep):
        return CategoricalDistribution(sweep_values(override))
    low, high, log = sweep.start, sweep.end, "log" in sweep.tags
    if low is None or high is None or not -_LARGEST < low < high < _LARGEST or (log and low <= 0):
        raise InputError(
            f"'{override.input_line}': an interval goes from a smaller to a larger number, above 0 if in log"
        )
    if isinstance(low, int) and isinstance(high, int):
        return IntDistribution(low, high, log=log)
    return FloatDistribution(float(low), float(high), log=log)
