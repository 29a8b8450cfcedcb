"""Search for the settings that no others beat, in several metrics at once."""

from guidance.search.search import Search
from guidance.search.space import Space, parse_space

__all__ = ["Search", "Space", "parse_space"]
