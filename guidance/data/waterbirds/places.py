"""Finding the backgrounds among the folders of Places365."""

from collections.abc import Sequence
from pathlib import Path

from guidance.errors import InputError

LAND_PLACES = ("bamboo_forest", "forest/broadleaf")
WATER_PLACES = ("ocean", "lake/natural")

_SUFFIXES = (".jpg", ".jpeg", ".png")


def list_places(root: Path, categories: Sequence[str]) -> list[str]:
    """List the images of some categories.

    A category's folder may have any of the forms that Places365 comes in: ``f/forest/broadleaf``,
    ``forest/broadleaf`` and ``forest-broadleaf``.

    Args:
        root: The folder of Places365.
        categories: Such as ``forest/broadleaf``.

    Returns:
        The paths relative to ``root``, with ``/``; sorted within each category, in the categories' order.

    Raises:
        InputError: If a category has no folder, or no image in it.
    """
    files: list[str] = []
    for category in categories:
        forms = (f"{category[:1]}/{category}", category, category.replace("/", "-"))
        folder = next((form for form in forms if category and (root / form).is_dir()), None)
        if folder is None:
            raise InputError(
                f"there is no folder of the place '{category}' in {root}; "
                f"tried {', '.join(dict.fromkeys(forms))}. --places must be the folder that holds them"
            )
        found = sorted(path.name for path in (root / folder).iterdir() if path.suffix.lower() in _SUFFIXES)
        if not found:
            raise InputError(f"{root / folder} holds no image ({', '.join(_SUFFIXES)})")
        files += [f"{folder}/{name}" for name in found]
    return files
