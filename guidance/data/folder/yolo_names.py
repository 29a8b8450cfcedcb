"""The class names that YOLO's label files refer to by number."""

from pathlib import Path

import yaml

from guidance.errors import InputError
from guidance.foreign_text import read_text
from guidance.printable import is_name

FILES = ("classes.txt", "data.yaml", "dataset.yaml")
"""Where the names may be, in the root."""


def read_yolo_names(root: Path) -> dict[int, str]:
    """Read the class names: one a line in ``classes.txt``, or ``names`` in ``data.yaml``, a list or numbered.

    Returns:
        The name of each number, by number.

    Raises:
        InputError: If there is no such file, it has no names, or two files disagree.
    """
    found = {}
    for name in FILES:
        path = root / name
        if path.is_file():
            found[path] = _from_text(path) if path.suffix == ".txt" else _from_yaml(path)
    if not found:
        raise InputError(
            f"YOLO labels under {root} have class numbers, but nothing tells their names: add "
            f"{root}/classes.txt with one name a line, or data.yaml with 'names: [cat, dog]'"
        )
    first, *others = found
    for other in others:
        if found[other] != found[first]:
            raise InputError(f"{first} and {other} have different class names; keep one of them")
    return found[first]


def _from_text(path: Path) -> dict[int, str]:
    lines = read_text(path).rstrip().splitlines()
    return _checked(dict(enumerate(line.strip() for line in lines)), path)


def _from_yaml(path: Path) -> dict[int, str]:
    text = read_text(path)
    try:
        # This loader makes nothing but text, lists and dicts: a class may be called `no` or `1.10`.
        content = yaml.load(text, Loader=yaml.BaseLoader)  # noqa: S506
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise InputError(f"cannot read the class names in {path}: {_one_line(error)}") from error
    names = content.get("names") if isinstance(content, dict) else None
    if isinstance(names, list):
        names = dict(enumerate(names))
    elif isinstance(names, dict) and all(str(key).isdecimal() and len(key) < 10 for key in names):
        names = {int(key): names[key] for key in sorted(names, key=int)}
    else:
        raise InputError(f"{path} has no list 'names'; write e.g. 'names: [cat, dog]'")
    return _checked(names, path)


def _checked(names: dict[int, object], path: Path) -> dict[int, str]:
    checked = {number: name for number, name in names.items() if isinstance(name, str) and is_name(name)}
    if len(checked) < len(names) or not names:
        raise InputError(f"{path} must give every class a name that can be printed, and at least one class")
    if len(set(checked.values())) < len(checked):
        twice = next(name for name in checked.values() if list(checked.values()).count(name) > 1)
        raise InputError(f"{path} names the class '{twice}' twice")
    return checked


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())
