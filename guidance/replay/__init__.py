"""A training step that was not finite, kept in a file and done again."""

from guidance.replay.replay import Replayed, replay
from guidance.replay.reproducer import Failure, joined_batches, read_failure, write_failure

__all__ = ["Failure", "Replayed", "joined_batches", "read_failure", "replay", "write_failure"]
