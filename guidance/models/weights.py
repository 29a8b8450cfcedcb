"""Start weights: from a file into a model with possibly other classes."""

import logging
import warnings
from collections.abc import Mapping
from pathlib import Path
from shlex import quote
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from guidance.errors import InputError
from guidance.models.weights_file import foreign_name, refuse_bomb, why_unreadable

log = logging.getLogger(__name__)


def _number_type(*arguments: Any) -> np.dtype[Any]:
    """Make a NumPy type of numbers; others can be of any size, and so can a scalar of theirs."""
    made: np.dtype[Any] = np.dtype(*arguments)
    if made.kind not in "biuf":
        raise ValueError(f"it holds a NumPy value that is no number but {str(made)[:40]}")
    return made


# Old training programs kept their accuracy as a NumPy scalar. To make one runs nothing of the file's.
_SCALAR = np.float64().__reduce__()[0]
_NUMPY_SCALARS: list[Any] = [
    (_SCALAR, "numpy.core.multiarray.scalar"),  # NumPy 1
    (_SCALAR, "numpy._core.multiarray.scalar"),
    (_number_type, "numpy.dtype"),
    *{type(np.dtype(code)) for code in "?bhilqBHILQefd"},
]


def load_weights_only(path: Path) -> Any:
    """Load a file of torch or safetensors that holds tensors, plain data and NumPy numbers only.

    Nothing of the file is run, and it takes no more memory than its size suggests
    (:func:`guidance.models.weights_file.refuse_bomb`).

    Raises:
        InputError: If it is broken, or holds something else, which is named, with what to do.
    """
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        refuse_bomb(path)
        with torch.serialization.safe_globals(_NUMPY_SCALARS):
            return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # whatever torch stumbles on in a damaged file
        foreign = foreign_name(error)
        if foreign:
            converted = path.with_name(path.name.split(".")[0] + "_weights.pth")
            raise InputError(
                f"{path} holds more than weights ({foreign}); not loaded, for it could run anything. "
                "If you trust its origin, keep its weights alone and use that file: "
                'python -c "import sys, torch; '
                "torch.save(torch.load(sys.argv[1], 'cpu', weights_only=False)['state_dict'], sys.argv[2])\" "
                f"{quote(str(path))} {quote(str(converted))}"
            ) from error
        raise InputError(f"{path} is not a readable file of weights: {why_unreadable(error)}") from error


def read_state_dict(path: str | Path) -> dict[str, Tensor]:
    """Read the weights of a model from a file, without running anything that the file may contain.

    Args:
        path: A checkpoint of this project, a state dict saved by torch, alone or as the entry
            ``state_dict`` of a larger file, or a ``.safetensors`` file.

    Returns:
        The state dict, without the prefix that the training module (``model.``) or
        ``torch.nn.DataParallel`` (``module.``) puts before a model's names.

    Raises:
        InputError: If the file is missing or holds no weights.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"model.checkpoint: no file {path}")
    try:
        content = load_weights_only(path)
    except InputError as error:
        raise InputError(f"model.checkpoint: {error}") from error
    weights = content.get("state_dict", content) if isinstance(content, Mapping) else None
    if not isinstance(weights, Mapping) or not all(isinstance(value, Tensor) for value in weights.values()):
        raise InputError(f"model.checkpoint: {path} holds no state dict")
    of_model = {
        name.removeprefix("model."): value for name, value in weights.items() if name.startswith("model.")
    }
    if not of_model and all(name.startswith("module.") for name in weights):
        return {name.removeprefix("module."): value for name, value in weights.items()}
    return of_model or dict(weights)


def load_start_weights(model: nn.Module, path: str | Path) -> None:
    """Copy the weights of a file into a model.

    The file may hold the whole model (a checkpoint of this project) or its network alone (the released
    B-cos weights, torchvision's). A classifier for other classes is left out, with a warning.

    Args:
        model: A :class:`guidance.models.Classifier`, changed in place.
        path: See :func:`read_state_dict`.

    Raises:
        InputError: If the file is unreadable or belongs to another architecture.
    """
    weights = read_state_dict(path)
    whole = any(name.startswith("network.") for name in weights)
    target = model if whole else model.get_submodule("network")
    copy_weights(target, weights, str(path))


def copy_weights(module: nn.Module, weights: Mapping[str, Tensor], source: str) -> None:
    """Copy weights whose names and shapes match, and leave out a head with another number of outputs.

    Args:
        module: Changed in place.
        weights: A state dict.
        source: Where they come from, for messages.

    Raises:
        InputError: If names are missing or unknown, or a tensor that is not the head's has another shape.
    """
    own = module.state_dict()
    unknown = [name for name in weights if name not in own]
    missing = [name for name in own if name not in weights]
    # Heads differ in their first dimension, the number of classes, and in nothing else.
    other_shape = [name for name in own if name in weights and own[name].shape != weights[name].shape]
    wrong = [
        name
        for name in other_shape
        if own[name].ndim == 0 or own[name].shape[1:] != weights[name].shape[1:] or len(other_shape) > 2
    ]
    if unknown or missing or wrong:
        raise InputError(
            f"{source} belongs to another model: "
            f"{_some(missing)} missing, {_some(unknown)} unknown, {_some(wrong)} of another shape"
        )
    module.load_state_dict({**own, **{n: v for n, v in weights.items() if n not in other_shape}})
    if other_shape:
        warnings.warn(
            f"{source} was trained for {len(weights[other_shape[0]])} classes, not "
            f"{len(own[other_shape[0]])}: {', '.join(other_shape)} starts at random",
            stacklevel=2,
        )
    log.info("start weights: %s", source)


def _some(names: list[str]) -> str:
    return f"{len(names)} ({', '.join(names[:3])}{', ...' if len(names) > 3 else ''})" if names else "none"
