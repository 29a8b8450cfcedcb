"""Checkpoints: written whole, read without running anything, and believed no further than they may be."""
