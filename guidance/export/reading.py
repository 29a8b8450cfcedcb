"""An exported classifier read back, with torch alone: neither Lightning nor Hydra."""

from collections.abc import Collection
from hashlib import file_digest
from pathlib import Path
from typing import Any

from guidance.errors import InputError
from guidance.export.exported import DESCRIPTION, FORMAT_VERSION, WEIGHTS, Exported
from guidance.foreign_text import read_json
from guidance.models.weights import load_weights_only
from guidance.untrusted.building import build_attributor, build_classifier

_TYPES: dict[str, type | tuple[type, ...]] = {
    "model": dict,
    "attributor": dict,
    "classes": list,
    "image_size": int,
    "iou_threshold": (int, float),
    "provenance": dict,
    "weights_sha256": str,
}


def load_exported(folder: str | Path, trusted: Collection[str] = ()) -> Exported:
    """Load what ``python -m guidance.export`` wrote.

    Runs nothing that the files may contain: weights are safetensors, and the model and attributor that the
    JSON names are built only if they are public in :mod:`guidance.models` or :mod:`guidance.attribution`.

    Args:
        folder: With ``model.safetensors`` and ``model.json``.
        trusted: Top-level packages that the JSON may name too, e.g. ``["my_networks"]`` for networks of your
            own. Whatever is in them can then be called by the file, so trust both.

    Returns:
        The classifier and what it takes to use it.

    Raises:
        InputError: If a file is missing, broken, of a newer format, of another export, or names something
            that is not allowed.
    """
    folder = Path(folder)
    for name in (WEIGHTS, DESCRIPTION):
        if not (folder / name).is_file():
            raise InputError(f"{folder} holds no export: {name} is missing")
    description = _read(folder / DESCRIPTION)
    with (folder / WEIGHTS).open("rb") as file:
        found = file_digest(file, "sha256").hexdigest()
    if found != description["weights_sha256"]:
        raise InputError(
            f"{folder / WEIGHTS} is damaged, or not what {DESCRIPTION} was written with: export again"
        )
    try:
        weights = load_weights_only(folder / WEIGHTS)
        classes = tuple(map(str, description["classes"]))
        model = build_classifier(description["model"], len(classes), weights, trusted)
        attributor = build_attributor(description["attributor"], model, trusted)
    except InputError as error:
        raise InputError(f"{folder}: {error}") from error
    return Exported(
        model,
        attributor,
        classes,
        description["image_size"],
        float(description["iou_threshold"]),
        description["provenance"],
    )


def _read(path: Path) -> dict[str, Any]:
    content = read_json(path)
    version = content.get("format_version") if isinstance(content, dict) else None
    if not isinstance(version, int):
        raise InputError(f"{path} describes no export (key 'format_version' is missing)")
    if version > FORMAT_VERSION:
        raise InputError(f"{path} has format {version}, this version reads up to {FORMAT_VERSION}")
    for key, kind in _TYPES.items():
        if not isinstance(content.get(key), kind):
            raise InputError(f"{path}: the value of '{key}' is missing or of a wrong type")
    return dict(content)
