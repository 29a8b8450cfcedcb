"""The class names of a folder, in label order."""

from collections.abc import Iterable, Sequence

from guidance.errors import InputError, unknown_name


def check_class_names(classes: object) -> tuple[str, ...] | None:
    """Return ``data.classes`` as names, or None if they are to be discovered.

    Raises:
        InputError: If it is no list of different names.
    """
    if classes is None:
        return None
    if not isinstance(classes, Sequence) or isinstance(classes, str) or len(classes) == 0:
        raise InputError(f"data.classes is {classes}; it must be a list, e.g. data.classes=[cat,dog]")
    names = tuple(str(name) for name in classes)
    if len(set(names)) < len(names):
        raise InputError(f"data.classes names a class twice: {', '.join(names)}")
    return names


def label_order(
    chosen: tuple[str, ...] | None, given: tuple[str, ...] | None, occurring: Iterable[str]
) -> tuple[str, ...]:
    """Return the classes: those chosen, else those that the files list in order, else those that occur.

    Args:
        chosen: ``data.classes``.
        given: The list in the annotation files, if their format has one.
        occurring: The classes of all objects of all splits.

    Raises:
        InputError: If a chosen class is none of the others, or there are none at all.
    """
    known = given or tuple(sorted(set(occurring)))
    if not known:
        raise InputError("no annotation of the data set names a class; label some objects first")
    for name in chosen or ():
        if name not in known:
            raise unknown_name("class in data.classes:", name, known)
    return chosen or known
