"""What a file may have built: the one list of names, and the packages that a user trusts besides."""

import sys
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from functools import cache
from importlib import import_module
from inspect import isabstract, isclass
from typing import Any, get_type_hints

from torch import nn

from guidance.attribution import Attributor
from guidance.errors import InputError

NETWORKS = ("guidance.models", "guidance.attribution")
"""The packages whose public names build models and attributors."""
DATA = ("guidance.data",)
"""The package whose public names build data sets and data modules."""
LOSSES = ("guidance.losses",)
"""The package whose public names build localization losses."""


def find_target(name: Any, trusted: Collection[str] = ()) -> Callable[..., Any]:
    """Return what a file names as ``_target_`` of a model or an attributor, if it may be built.

    A name may be built if it is public in :mod:`guidance.models` or :mod:`guidance.attribution` and makes a
    module or an attributor, or if it lies in a package that the user trusts. No path goes through another
    module's imports, and nothing else that a file names is imported.

    Args:
        name: The whole name, e.g. ``guidance.models.bcos_small``.
        trusted: Top-level packages of one's own, e.g. ``my_networks``. Whatever is in them can then be called
            by the file, so trust both. Python's own library can be called in no case.

    Raises:
        InputError: If the name is not allowed, with what would make it so, or cannot be imported.
    """
    refuse_target(name, trusted)
    if is_allowed(name):
        package, _, last = name.rpartition(".")
        found: Callable[..., Any] = getattr(import_module(package), last)
        return found
    return _import(name)


def refuse_target(
    name: Any, trusted: Collection[str] = (), where: str = "", packages: Sequence[str] = NETWORKS
) -> None:
    """Refuse a ``_target_`` that may not be built; of what is refused nothing is imported.

    Args:
        name: As the file has it.
        trusted: See :func:`find_target`.
        where: The file, for messages.
        packages: What may be named without further trust: :data:`NETWORKS`, :data:`LOSSES`, or :data:`DATA`,
            whose public names build data sets, data modules and augmentations.

    Raises:
        InputError: If it may not.
    """
    start = f"{where}: " if where else ""
    if not isinstance(name, str):
        raise InputError(f"{start}_target_ must be a name; got {name!r}")
    if is_allowed(name, packages):
        return
    own = [trusted] if isinstance(trusted, str) else trusted
    package = name.partition(".")[0]
    no_package = package in sys.stdlib_module_names or not package.isidentifier()
    if no_package or package not in own:
        hint = f". If it is code of yours, trust its package: trusted=[{package}]"
        raise InputError(
            f"{start}the configuration names {name!r}, which is not built: a file may name only what is "
            f"public in {' and '.join(packages)}{'' if no_package else hint}"
        )


def is_allowed(name: str, packages: Sequence[str] = NETWORKS) -> bool:
    """Say whether a name of one of the packages may be built without further trust."""
    return any(name.startswith(f"{package}.") and name in allowed_names(package) for package in packages)


def targets(node: Any) -> Iterator[Any]:
    """Yield every ``_target_`` of a plain configuration, however deep."""
    if isinstance(node, Mapping):
        if "_target_" in node:
            yield node["_target_"]
        for value in node.values():
            yield from targets(value)
    elif isinstance(node, list | tuple):
        for value in node:
            yield from targets(value)


@cache
def allowed_names(package: str) -> frozenset[str]:
    """Return the names of one of our packages that are built without further trust."""
    module = import_module(package)
    is_part = _is_part_of_data if package in DATA else _makes_a_part
    return frozenset(f"{package}.{name}" for name in module.__all__ if is_part(getattr(module, name)))


def _import(name: str) -> Callable[..., Any]:
    parts = name.split(".")
    for count in range(len(parts) - 1, 0, -1):
        try:
            found: Any = import_module(".".join(parts[:count]))
        except ModuleNotFoundError as error:
            if count > 1:
                continue
            raise InputError(f"{name} cannot be imported: {error}") from error
        try:
            for part in parts[count:]:
                found = getattr(found, part)
        except AttributeError as error:
            raise InputError(f"{name} cannot be imported: {error}") from error
        if callable(found):
            return found  # type: ignore[no-any-return]
    raise InputError(f"{name} is nothing that can be called")


def _makes_a_part(value: Any) -> bool:
    """Say whether a public name is a class of modules or attributors, or a function that returns a module."""
    made = value if isclass(value) else get_type_hints(value).get("return")
    return isclass(made) and issubclass(made, nn.Module | Attributor) and not isabstract(made)


def _is_part_of_data(value: Any) -> bool:
    """Say whether a public name is a class of data sets, of data modules, or of augmentations."""
    data: Any = import_module("guidance.data")
    parts = (data.ImageDataset, data.GuidanceDataModule, data.Augmentation)
    return isclass(value) and issubclass(value, parts) and not isabstract(value)
