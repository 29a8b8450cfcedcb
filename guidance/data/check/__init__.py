"""Whether a data set is fit for training: ``python -m guidance.data.check``, and a quick form of it."""

from guidance.data.check.quick import quick_check

__all__ = ["quick_check"]
