"""One property, tried with a few examples in every run of the tests and with many in the slow one."""

from collections.abc import Callable, Mapping, Sequence
from functools import wraps
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis.strategies import SearchStrategy

Check = Callable[..., None]


def for_all(
    *,
    quick: int = 20,
    thorough: int = 400,
    examples: Sequence[Mapping[str, Any]] = (),
    **strategies: SearchStrategy[Any],
) -> Callable[[Check], Check]:
    """Make a test of a function that checks one example.

    The test comes twice: ``[quick]`` in the ordinary suite, ``[thorough]`` marked ``slow``. The number of
    examples that held is recorded, so that the run can print the sum (``conftest.py``).

    Args:
        quick: Number of examples drawn in the ordinary suite.
        thorough: Number of examples drawn in the slow one.
        examples: Always tried too: what once failed.
        **strategies: Of the function's arguments.
    """

    def decorate(check: Check) -> Check:
        efforts = [
            pytest.param(quick, id="quick"),
            pytest.param(thorough, id="thorough", marks=pytest.mark.slow),
        ]

        @pytest.mark.parametrize("effort", efforts)
        def test(effort: int, record_property: Callable[[str, object], None]) -> None:
            held = 0

            # The name and the source of the check, by which hypothesis keeps what failed.
            @wraps(check)
            def counted(**values: Any) -> None:
                nonlocal held
                check(**values)
                held += 1

            tried: Check = given(**strategies)(counted)
            for values in examples:
                tried = example(**values)(tried)
            unhurried = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.large_base_example]
            settings(max_examples=effort, deadline=None, suppress_health_check=unhurried)(tried)()
            record_property("cases", held)

        test.__name__, test.__module__, test.__doc__ = check.__name__, check.__module__, check.__doc__
        return test

    return decorate
