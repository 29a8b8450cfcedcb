"""What a classifier sees in given images: ``python -m guidance.explain``."""
