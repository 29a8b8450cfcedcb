"""The paper's claims, measured again on the embedded data."""

from guidance.claims.claim import Claim, Verdict, judge
from guidance.claims.paper import CLAIMS
from guidance.claims.runs import Run, Runs

__all__ = ["CLAIMS", "Claim", "Run", "Runs", "Verdict", "judge"]
