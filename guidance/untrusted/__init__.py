"""Configurations that come out of files: what they may name, and what is built of them."""
