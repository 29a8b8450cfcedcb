"""Says at the end of a run how many cases the property tests tried."""

import pytest


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the sum of what :func:`~tests.properties.for_all.for_all` recorded."""
    passed = [dict(report.user_properties) for report in terminalreporter.stats.get("passed", [])]
    counts = [int(str(found["cases"])) for found in passed if "cases" in found]
    if counts:
        terminalreporter.write_line(f"{sum(counts)} cases in {len(counts)} property tests")
