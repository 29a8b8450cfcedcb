"""Sweeps that go on where they were stopped."""

from guidance.sweep.jobs import Job, run_state
from guidance.sweep.sweep import sweep

__all__ = ["Job", "run_state", "sweep"]
