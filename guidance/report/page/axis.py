"""The axes of a chart: which numbers stand on them, and where a value lies."""

import math
from collections.abc import Iterable
from dataclasses import dataclass

_STEPS = (1.0, 2.0, 2.5, 5.0, 10.0)
_MARGIN = 0.05


@dataclass(frozen=True)
class Axis:
    """A linear axis from values to places.

    Attributes:
        low: The value at ``start``.
        high: The value at ``end``, above ``low``.
        start: A place in the drawing's units.
        end: Another one; below ``start`` where larger values lie higher up in the picture.
    """

    low: float
    high: float
    start: float
    end: float

    def place(self, value: float) -> float:
        """Return where a value lies, rounded to a tenth of a unit."""
        return round(self.start + (value - self.low) / (self.high - self.low) * (self.end - self.start), 1)

    def ticks(self, most: int = 6) -> list[float]:
        """Return round numbers within the axis: at least two, and at most ``most`` (>= 4)."""
        raw = (self.high - self.low) / (most - 1)
        power = 10.0 ** math.floor(math.log10(raw))
        step = next(power * factor for factor in _STEPS if power * factor >= raw * (1 - 1e-9))
        first, last = math.ceil(self.low / step - 1e-9), math.floor(self.high / step + 1e-9)
        return [number * step for number in range(first, last + 1)]


def fitted_axis(values: Iterable[float], start: float, end: float) -> Axis:
    """Return an axis that holds all values, with a margin of 5 %.

    Args:
        values: Finite. A single value lies in the middle; without any, the axis goes from 0 to 1.
        start: The place of the low end.
        end: The place of the high end.
    """
    found = list(values) or [0.0, 1.0]
    low, high = min(found), max(found)
    extent = high - low
    if extent <= 1e-9 * max(abs(low), abs(high), 1e-300):
        extent = abs(high) or 1.0
        low, high = low - extent / 2, high + extent / 2
    return Axis(low - _MARGIN * extent, high + _MARGIN * extent, start, end)


def tick_label(value: float) -> str:
    """Return a tick's number as text, without the noise of its last digits."""
    text = f"{value:.6g}"
    return "0" if text == "-0" else text
