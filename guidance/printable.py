"""Names that come from anybody, in terminals and logs."""

import logging
import unicodedata

_CATEGORIES = ("Cc", "Cs", "Zl", "Zp")  # control characters, halves of characters, other ends of lines
_TURNING = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


def printable(text: str) -> str:
    r"""Return a text as it may be shown in a terminal: what would steer it is written as an escape.

    Names of files, classes and runs may come from anybody. A control character in one (an escape sequence, a
    carriage return) could rewrite what stands on the screen, a mark of direction could turn it round.

    Args:
        text: Any; new lines and tabs stay.

    Returns:
        The text with ``\x1b`` and the like instead.
    """
    if text.isprintable():
        return text
    return "".join(c if c in "\n\t" or not _steers(c) else c.encode("unicode_escape").decode() for c in text)


def one_line(text: str) -> str:
    """Return :func:`printable` text in which new lines and tabs are escapes too."""
    return printable(text).replace("\n", "\\n").replace("\t", "\\t")


def print_logs_safely() -> None:
    """Let every handler of the root logger show :func:`printable` messages only."""
    for handler in logging.getLogger().handlers:
        handler.addFilter(_make_printable)


def _make_printable(record: logging.LogRecord) -> bool:
    record.msg, record.args = printable(record.getMessage()), None
    return True


def is_name(text: str) -> bool:
    """Say whether a text is one line that :func:`printable` leaves as it is, with something to see in it."""
    return bool(text.strip()) and not any(map(_steers, text))


def _steers(character: str) -> bool:
    return unicodedata.category(character) in _CATEGORIES or character in _TURNING
