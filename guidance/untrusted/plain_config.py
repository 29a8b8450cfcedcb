"""A group of a configuration that came out of a file, as plain values and references of bounded size."""

import re
from collections.abc import Mapping
from typing import Any, Never

from guidance.errors import InputError

PARTS = ("data", "model", "attributor")
"""The groups that are built from a checkpoint."""

_REFERENCE = re.compile(r"\$\{(\.+)([A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*)\}")
_MOST_VALUES = 100_000
_MOST_LEVELS = 32
_LONGEST_TEXT = 100_000
_MOST_HOPS = 8

Keys = tuple[str, ...]


def is_reference(text: str, depth: int) -> bool:
    """Say whether a text is a reference that stays within its group, such as ``${..image_size}``.

    Args:
        text: Any.
        depth: How many keys lead to it within the group, its own included.
    """
    found = _REFERENCE.fullmatch(text)
    return found is not None and len(found[1]) <= depth


class PlainConfig:
    """A group, checked.

    Values are None, bool, int, float, text, lists and mappings. A text with ``${`` must be a reference to a
    key of the same group, so that no resolver is asked, and all together mean no more than 100,000 values,
    so that no few lines stand for billions. No key is one by which Hydra composes or
    calls something else than what stands there.

    Attributes:
        values: A copy, with references as they stand.
        resolved: A copy with their meaning instead.

    Args:
        node: The group, as the file has it.
        group: Its name, for messages.
        where: The file, for messages.

    Raises:
        InputError: Naming the file and the key, with what is wrong.
    """

    def __init__(self, node: Any, group: str, where: str) -> None:
        self._group, self._where = group, where
        self._count = 0
        if not isinstance(node, Mapping):
            self._refuse((), "holds no keys")
        self.values: dict[str, Any] = self._copy(node, ())
        self.resolved: dict[str, Any] = self._resolve(self.values, ())

    def _refuse(self, keys: Keys, what: str) -> Never:
        name = ".".join((self._group, *keys))[:200]
        raise InputError(f"{self._where}: {name} of its configuration {what}")

    def _counted(self, keys: Keys) -> None:
        self._count += 1
        if self._count > _MOST_VALUES:
            self._refuse(keys, f"is one of more than {_MOST_VALUES:,} values")

    def _copy(self, value: Any, keys: Keys) -> Any:
        self._counted(keys)
        if len(keys) > _MOST_LEVELS:
            self._refuse(keys, f"lies more than {_MOST_LEVELS} levels deep")
        if isinstance(value, Mapping):
            for key in value:
                if not _is_harmless(key):
                    self._refuse((*keys, repr(key)[:80]), "is no key that a file may have")
            if not isinstance(value.get("_partial_", False), bool):
                self._refuse((*keys, "_partial_"), "must be true or false")
            return {key: self._copy(one, (*keys, str(key))) for key, one in value.items()}
        if isinstance(value, list | tuple):
            return [self._copy(one, (*keys, str(number))) for number, one in enumerate(value)]
        if isinstance(value, str):
            if len(value) > _LONGEST_TEXT:
                self._refuse(keys, f"has {len(value):,} characters")
            if "${" in value and not is_reference(value, len(keys)):
                self._refuse(
                    keys,
                    f"is {value[:80]!r}: a file may refer to a key of the same group, as ${{..image_size}}, "
                    "and to nothing else",
                )
            return value
        if value is not None and type(value) not in (bool, int, float):
            self._refuse(keys, f"is of the type {type(value).__name__}; only plain values are read")
        return value

    def _resolve(self, value: Any, keys: Keys, hops: int = 0) -> Any:
        if isinstance(value, dict):
            return {key: self._resolve(one, (*keys, str(key)), hops) for key, one in value.items()}
        if isinstance(value, list):
            return [self._resolve(one, (*keys, str(number)), hops) for number, one in enumerate(value)]
        found = _REFERENCE.fullmatch(value) if isinstance(value, str) else None
        if found is None:
            return value
        if hops > _MOST_HOPS:
            self._refuse(keys, "refers to something that refers to something, and so on")
        place = (*keys[: -len(found[1])], *found[2].split("."))
        meant: Any = self.values
        for key in place:
            if not isinstance(meant, dict) or key not in meant:
                self._refuse(keys, f"is {value}, which refers to nothing")
            meant = meant[key]
        self._count_all(meant, keys)
        return self._resolve(meant, place, hops + 1)

    def _count_all(self, value: Any, keys: Keys) -> None:
        self._counted(keys)
        for one in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
            self._count_all(one, keys)


def _is_harmless(key: Any) -> bool:
    """Say whether Hydra takes a key for a name, and not for a way to compose or to call something else."""
    if not isinstance(key, str):
        return type(key) is int
    special = key.startswith("_") or key == "defaults" or "@" in key or not key.isprintable()
    return not special or key in ("_target_", "_partial_")
