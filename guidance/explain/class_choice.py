"""Which classes are explained."""

from collections.abc import Sequence
from difflib import get_close_matches

from guidance.errors import InputError

_LISTED = 30


def named_classes(wanted: Sequence[str | int], models: Sequence[tuple[str, ...]]) -> list[str]:
    """Find the classes that a person named.

    Args:
        wanted: Names, or numbers of the first model's classes.
        models: The class names of each model.

    Returns:
        Names that all models know, in the order of ``wanted``, each once.

    Raises:
        InputError: Naming those that are near.
    """
    found = []
    for one in wanted:
        name = str(one)
        if name not in models[0] and name.isdecimal():
            if int(name) >= len(models[0]):
                raise InputError(f"class={one}: there are {len(models[0])} classes, numbered from 0")
            name = models[0][int(name)]
        for classes in models:
            if name not in classes:
                raise _unknown(name, classes)
        found.append(name)
    return list(dict.fromkeys(found))


def most_important(probabilities: Sequence[dict[str, float]], boxed: Sequence[str], count: int) -> list[str]:
    """Choose the classes to explain where none was named.

    Args:
        probabilities: Of each class, by each model.
        boxed: The classes that have a box.
        count: How many to choose.

    Returns:
        Of the classes that all models know those with a box, then the most probable ones, by the highest
        probability that a model gives.
    """
    best = {
        name: max(model[name] for model in probabilities)
        for name in probabilities[0]
        if all(name in model for model in probabilities)
    }
    return sorted(best, key=lambda name: (name not in boxed, -best[name]))[:count]


def _unknown(name: str, classes: Sequence[str]) -> InputError:
    lower = {own.lower(): own for own in classes}
    near = [lower[match] for match in get_close_matches(name.lower(), lower, n=3, cutoff=0.5)]
    near += [own for own in classes if name.lower() in own.lower() and own not in near][:5]
    hint = f" Did you mean {' or '.join(repr(own) for own in near)}?" if near else ""
    listed = ", ".join(classes[:_LISTED]) + (", ..." if len(classes) > _LISTED else "")
    return InputError(f"unknown class '{name}'.{hint} The {len(classes)} classes are {listed}")
