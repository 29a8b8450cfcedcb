"""The claims as a table, on the screen and in ``docs/claims.md``."""

import datetime
import math
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from guidance.claims.claim import Verdict
from guidance.files import write_atomically
from guidance.results import git_commit, versions


def print_verdicts(verdicts: Sequence[Verdict], console: Console | None = None) -> None:
    """Print a line for each claim."""
    table = Table(title="Claims of Rao et al. (ICCV 2023) on the embedded data")
    for name in ("claim", "measured", "limit", "holds"):
        table.add_column(name)
    for verdict in verdicts:
        limit = f"{'>' if verdict.claim.above else '<'} {_number(verdict, verdict.claim.limit)}"
        table.add_row(verdict.claim.name, _measured(verdict), limit, "yes" if verdict.holds else "NO")
    (console or Console()).print(table)


def write_verdicts(
    path: Path, verdicts: Sequence[Verdict], command: str, today: datetime.date | None = None
) -> None:
    """Write the page.

    Args:
        path: A Markdown file.
        verdicts: In order.
        command: Makes the page again.
        today: The date to write; this day's if None.
    """
    seeds = max(len(verdict.values) for verdict in verdicts)
    held = sum(verdict.holds for verdict in verdicts)
    lines = [
        "# The paper's claims on the embedded data",
        "",
        f"Written by `{command}` on {today or datetime.date.today()}, commit {git_commit() or 'unknown'}, "
        + ", ".join(f"{name} {version}" for name, version in versions().items())
        + ".",
        "",
        f"{held} of {len(verdicts)} claims hold. Numbers are means ± standard deviation over {seeds} "
        f"seed{'s' if seeds > 1 else ''}, in percent where they are fractions. A claim holds if the "
        "mean lies on the claimed side of the limit by more than its standard error"
        + (" (with one seed: if it lies there at all, which says little)." if seeds == 1 else "."),
        "",
        "| claim | study | what is measured | measured | limit | paper | holds |",
        "|---|---|---|---|---|---|---|",
    ]
    for verdict in verdicts:
        claim = verdict.claim
        limit = f"{'>' if claim.above else '<'} {_number(verdict, claim.limit)}"
        cells = [
            claim.name,
            f"`{claim.study}`",
            claim.statistic,
            _measured(verdict),
            limit,
            claim.published or "-",
        ]
        lines.append(f"| {' | '.join(cells)} | {'yes' if verdict.holds else '**no**'} |")
    if held < len(verdicts):
        why = "[what was tried to explain it](results.md#the-papers-claims-on-shapes-why-some-fail)"
        lines += ["", f"Of a claim that fails, {why}."]
    write_atomically(path, "\n".join(lines) + "\n")


def _measured(verdict: Verdict) -> str:
    if math.isnan(verdict.mean):
        return "nothing to compare with: no gain"
    spread = "" if math.isnan(verdict.spread) else f" ± {_number(verdict, verdict.spread)}"
    return _number(verdict, verdict.mean) + spread


def _number(verdict: Verdict, value: float) -> str:
    return f"{100 * value:.1f}" if verdict.claim.percent else f"{value:.2f}"
