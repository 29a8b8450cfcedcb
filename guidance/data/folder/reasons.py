"""Saying why nothing is left."""

from collections import Counter
from collections.abc import Sequence

from guidance.data.annotation import Skipped


def commonest_reason(skipped: Sequence[Skipped]) -> str:
    """Return the reason that is skipped for most often, as the end of an error's sentence.

    Args:
        skipped: Images count before anything else.

    Returns:
        Starts with a semicolon; "" if nothing is skipped.
    """
    items = [item for item in skipped if item.what == "image"] or skipped
    if not items:
        return ""
    reason, count = Counter(item.reason for item in items).most_common(1)[0]
    example = next(item.where for item in items if item.reason == reason)
    what = f"{items[0].what}s" if count > 1 else items[0].what
    return f"; {count} {what} skipped: {reason} (e.g. {example})"
