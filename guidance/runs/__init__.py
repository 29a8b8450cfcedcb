"""From a configuration to results: :mod:`guidance.runs.run` trains and evaluates."""
