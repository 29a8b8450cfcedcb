"""A classifier written as safetensors and JSON."""

from collections.abc import Collection, Mapping, Sequence
from hashlib import file_digest
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from guidance.errors import InputError
from guidance.export.exported import DESCRIPTION, FORMAT_VERSION, WEIGHTS
from guidance.files import replacing, write_json
from guidance.untrusted.building import build_attributor, build_classifier, without_start_weights


def write_exported(
    folder: str | Path,
    weights: Mapping[str, Tensor],
    model: Mapping[str, Any],
    attributor: Mapping[str, Any],
    classes: Sequence[str],
    image_size: int,
    iou_threshold: float = 0.5,
    provenance: Mapping[str, Any] | None = None,
    trusted: Collection[str] = (),
) -> None:
    """Write a classifier into a folder, as ``model.safetensors`` and ``model.json``.

    It is built and loaded once before, so that what was written can be read. The JSON is written last, with
    the weights' SHA-256: an export that was cut off is refused, not mixed up.

    Args:
        folder: Made if needed; an older export there is replaced.
        weights: The model's state dict. Tensors may share memory, lie in any order and on any device.
        model: Its configuration in plain values, e.g. ``{"_target_": "guidance.models.bcos_resnet", "depth":
            50}``. Start weights (``pretrained``, ``checkpoint``) are left out.
        attributor: Its configuration, e.g. ``{"_target_": "guidance.attribution.BcosContributions"}``.
        classes: The K class names.
        image_size: Images are squashed to this square.
        iou_threshold: Where maps are binarised for the IoU.
        provenance: Plain values; where the weights come from.
        trusted: See :func:`guidance.export.load_exported`.

    Raises:
        InputError: If the parts do not fit together, or the files cannot be written.
    """
    build_attributor(attributor, build_classifier(model, len(classes), weights, trusted), trusted)
    folder = Path(folder)
    separate = {
        name: value.detach().cpu().clone(memory_format=torch.contiguous_format)
        for name, value in weights.items()
    }
    description = {
        "format_version": FORMAT_VERSION,
        "model": without_start_weights(model),
        "attributor": dict(attributor),
        "classes": list(classes),
        "image_size": image_size,
        "iou_threshold": iou_threshold,
        "provenance": dict(provenance or {}),
    }
    try:
        with replacing(folder / WEIGHTS) as temporary:
            save_file(separate, temporary, metadata={"format": "pt"})
        with (folder / WEIGHTS).open("rb") as file:
            description["weights_sha256"] = file_digest(file, "sha256").hexdigest()
        write_json(folder / DESCRIPTION, description)
    except OSError as error:
        raise InputError(f"cannot write to {folder}: {error.strerror or error}") from error
