"""Texts that somebody else may have written: read as UTF-8, JSON or YAML, as long as memory can bear it."""

import json
import math
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from guidance.errors import InputError

LARGEST = 2**26
"""Bytes of a file that is read whole, unless its reader expects more."""
_MOST_VALUES = 10**6  # that a YAML file means, whose aliases may stand for many times what is written
_MOST_DIGITS = 1000


def read_bytes(path: Path, most: int = LARGEST) -> bytes:
    """Read a file whole.

    Raises:
        InputError: If it cannot be read, is no plain file (a pipe, a device), or is larger than ``most``.
    """
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise InputError(f"cannot read {path}: it is no plain file")
        if status.st_size > most:
            raise InputError(
                f"cannot read {path}: it has {status.st_size:,} bytes, and at most {most:,} are read"
            )
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}") from error


def read_text(path: Path, most: int = LARGEST) -> str:
    """Read a text, whose byte order mark is left out.

    Raises:
        InputError: As :func:`read_bytes`, or if it is not UTF-8.
    """
    try:
        return read_bytes(path, most).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"cannot read {path}: {error}; it must be UTF-8 text") from error


def read_json(path: Path, most: int = LARGEST) -> Any:
    """Read a JSON file.

    Raises:
        InputError: As :func:`read_text`, or if it is broken, nested too deeply, or has an integer of more
            digits than any number here.
    """
    try:
        return json.loads(read_text(path, most), parse_int=_integer)
    except RecursionError as error:
        raise InputError(f"{path} is not readable JSON: it is nested too deeply") from error
    except ValueError as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{path} is not readable JSON: {error}") from error


def read_yaml(path: Path, most: int = LARGEST) -> Any:
    """Read a YAML file into plain values.

    Raises:
        InputError: As :func:`read_text`, or if it is broken, nested too deeply, or means more than a million
            values by referring to itself.
    """
    try:
        content = yaml.safe_load(read_text(path, most))
        meant = _meant(content, {})
    except RecursionError as error:
        raise InputError(f"{path} is not readable YAML: it is nested too deeply") from error
    except (yaml.YAMLError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{path} is not readable YAML: {' '.join(str(error).split())}") from error
    if meant > _MOST_VALUES:
        raise InputError(f"{path} is not read: its aliases stand for more than {_MOST_VALUES:,} values")
    return content


def _integer(text: str) -> int:
    if len(text) > _MOST_DIGITS or not math.isfinite(float(text)):
        raise ValueError(f"a number has {len(text)} digits")
    return int(text)


def _meant(value: Any, known: dict[int, float]) -> float:
    """Count the values of plain data, each as often as it is referred to; inf for what contains itself."""
    if not isinstance(value, Mapping | list):
        return 1.0
    if id(value) not in known:
        known[id(value)] = math.inf  # until it is known: what is met again within itself
        inside = value.values() if isinstance(value, Mapping) else value
        known[id(value)] = 1.0 + sum(_meant(one, known) for one in inside)
    return known[id(value)]
