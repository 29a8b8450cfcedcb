"""Parsers of what comes from outside, each as a function of bytes that never fails in an unforeseen way."""
