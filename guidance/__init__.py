"""Guidance: train classifiers that look where a person would.

The torch core (:mod:`guidance.attribution`, :mod:`guidance.losses`, :mod:`guidance.metrics`,
:mod:`guidance.models`) needs neither Lightning nor Hydra; :mod:`guidance.runs.run` puts them together.
"""

__version__ = "0.1.0"
