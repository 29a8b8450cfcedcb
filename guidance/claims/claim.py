"""What a claim is, and when it holds."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch

from guidance.claims.runs import Runs


@dataclass(frozen=True)
class Claim:
    """A claim of a paper as a number of one study and a limit.

    Attributes:
        name: The claim in a sentence.
        study: Whose runs it is about.
        statistic: The number in words.
        measure: The number from the runs of one seed.
        limit: What the number is compared with.
        above: Whether it must lie above the limit, or below.
        percent: Whether the number is a fraction, shown in percent.
        published: What the paper found, if it says.
    """

    name: str
    study: str
    statistic: str
    measure: Callable[[Runs], float]
    limit: float
    above: bool = True
    percent: bool = True
    published: str = ""

    @property
    def criterion(self) -> str:
        """When the claim holds, in words."""
        limit = f"{100 * self.limit:g}" if self.percent else f"{self.limit:g}"
        side = "above" if self.above else "below"
        return f"{side} {limit} by more than the standard error of the mean over seeds"


@dataclass(frozen=True)
class Verdict:
    """A claim and what was measured.

    Attributes:
        claim: The claim.
        values: One for each seed.
    """

    claim: Claim
    values: tuple[float, ...]

    @property
    def mean(self) -> float:
        """The mean over seeds; nan if one is nan."""
        return float(torch.tensor(self.values, dtype=torch.float64).mean())

    @property
    def spread(self) -> float:
        """The standard deviation over seeds; nan for one seed."""
        values = torch.tensor(self.values, dtype=torch.float64)
        return float(values.std()) if len(values) > 1 else math.nan

    @property
    def holds(self) -> bool:
        """Whether the mean is on the claimed side of the limit by more than its standard error.

        With one seed there is no error to know: it only has to be on the side. A nan never holds.
        """
        margin = self.mean - self.claim.limit if self.claim.above else self.claim.limit - self.mean
        error = 0.0 if len(self.values) == 1 else self.spread / math.sqrt(len(self.values))
        return margin > error


def judge(claim: Claim, runs: Runs) -> Verdict:
    """Measure a claim for every seed of its study's runs."""
    return Verdict(claim, tuple(claim.measure(runs.where(seed=seed)) for seed in runs.seeds()))
