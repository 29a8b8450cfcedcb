"""The configuration that a checkpoint brings, as far as a file that anybody may have written is believed."""

import logging
import math
import re
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn.modules.module import (
    register_module_buffer_registration_hook,
    register_module_parameter_registration_hook,
)

from guidance.data.relative_path import leaves_folder
from guidance.errors import InputError
from guidance.untrusted.building import build, without_start_weights
from guidance.untrusted.plain_config import PARTS, PlainConfig
from guidance.untrusted.targets import DATA, LOSSES, NETWORKS, is_allowed, refuse_target, targets

log = logging.getLogger(__name__)

# What a file may ask for; whoever wants more says so on the command line.
_LARGEST_NUMBER = {"data": 10**7, "model": 10**6, "attributor": 10**6}
_LARGEST = {"image_size": 8192, "batch_size": 65536, "num_workers": 256}
_MOST_PIXELS = 2**30  # of a batch
_TIMES_THE_FILE = 8  # so many bytes of weights may be made while a model is built
_ALWAYS_FINE = 2**26  # bytes


def stored_config(
    content: Mapping[str, Any], path: str | Path, trusted: Collection[str] = ()
) -> dict[str, Any]:
    """Return the parts of a checkpoint's configuration that it is opened with, checked.

    What comes out of a file decides neither what code runs, nor where anything is written, nor how much
    memory is taken: a ``_target_`` is one of those that :mod:`guidance.untrusted.targets` lists; values are
    plain and references stay within their group (:class:`guidance.untrusted.plain_config.PlainConfig`);
    numbers are bounded, and the model has no more weights than the file could hold. Start weights are left
    out, nothing is downloaded (``data.download``), and no cache is written to a folder outside the working
    directory that the file names (``data.cache_dir``). A command line can ask for all of that.

    Args:
        content: Of :func:`guidance.checkpoints.reading.read_checkpoint`.
        path: Of the file.
        trusted: Packages of one's own that it may name, see :func:`guidance.untrusted.targets.find_target`.

    Returns:
        ``data``, ``model``, ``attributor`` and ``seed``, and the trainer's ``precision`` if it has one.

    Raises:
        InputError: Naming the file and the key, with what would be right.
    """
    where = f"ckpt_path: {path}"
    own = content["guidance"]
    config = own["config"]
    groups = {group: PlainConfig(config.get(group, {}), group, where) for group in PARTS}
    for group, one in groups.items():
        for name in targets(one.values):
            refuse_target(name, trusted, f"{where}: {group}", DATA if group == "data" else NETWORKS)
    _check_numbers({group: one.resolved for group, one in groups.items()}, where)
    parts: dict[str, Any] = {group: one.values for group, one in groups.items()}
    parts["model"] = _without_start_weights(parts["model"])
    parts["data"] = _without_writing(parts["data"], groups["data"].resolved.get("cache_dir"))
    named = list(targets(parts["model"]))
    if named and all(is_allowed(name) for name in named):
        most = _TIMES_THE_FILE * Path(path).stat().st_size + _ALWAYS_FINE
        _check_size(_without_start_weights(groups["model"].resolved), len(own["classes"]), most, where)
    seed = config.get("seed", 0)
    if type(seed) is not int or not 0 <= seed < 2**32:
        raise InputError(f"{where}: the seed of its configuration is no integer from 0 to 2^32 - 1")
    parts["seed"] = seed
    trainer = config.get("trainer")
    precision = trainer.get("precision") if isinstance(trainer, Mapping) else None
    if isinstance(precision, str | int):
        parts["precision"] = precision
    return parts


def stored_loss(
    content: Mapping[str, Any], path: str | Path, trusted: Collection[str] = ()
) -> dict[str, Any]:
    """Return the group ``loss`` of a checkpoint's configuration, checked like :func:`stored_config`'s.

    Args:
        content: As there.
        path: As there.
        trusted: As there.

    Returns:
        The group; empty if there is none.

    Raises:
        InputError: Naming the file and the key, with what would be right.
    """
    where = f"ckpt_path: {path}"
    group = PlainConfig(content["guidance"]["config"].get("loss", {}), "loss", where)
    for name in targets(group.values):
        refuse_target(name, trusted, f"{where}: loss", LOSSES)
    return group.values


def _check_numbers(parts: Mapping[str, Any], where: str) -> None:
    def refuse(keys: tuple[str, ...], value: float, most: int) -> None:
        name = ".".join(keys)
        raise InputError(
            f"{where}: {name} of its configuration is {_shown(value)}; from a file at most {most:,} is "
            "taken, and more if it is named on the command line"
        )

    for keys, value in _numbers(parts, ()):
        group, key = keys[0], keys[-1]
        most = 2**63 if key.endswith("seed") else _LARGEST.get(key, _LARGEST_NUMBER[group])
        if abs(value) > most and value not in (math.inf, -math.inf):  # a nan is not larger
            refuse(keys, value, most)
    size, batch = (parts["data"].get(key, 1) for key in ("image_size", "batch_size"))
    if isinstance(size, int) and isinstance(batch, int) and size * size * batch > _MOST_PIXELS:
        refuse(("data", "batch_size"), batch, max(_MOST_PIXELS // size**2, 1))


def _shown(value: float) -> str:
    """Return a number as text; an integer may have more digits than can be written."""
    return f"{value:g}" if abs(value) < 1e300 else "an integer of hundreds of digits"


def _numbers(node: Any, keys: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], float]]:
    if isinstance(node, Mapping):
        for key, value in node.items():
            yield from _numbers(value, (*keys, str(key)))
    elif isinstance(node, list):
        for value in node:
            yield from _numbers(value, keys)
    elif isinstance(node, int | float) and not isinstance(node, bool):
        yield keys, node


def _check_size(model: Mapping[str, Any], num_classes: int, most: int, where: str) -> None:
    """Build a model without memory for its weights, and refuse it as soon as these are too many."""
    total = 0

    def count(module: nn.Module, name: str, value: torch.Tensor | None) -> None:
        nonlocal total
        total += 0 if value is None else value.numel() * value.element_size()
        if total > most:
            raise InputError("the model of its configuration is many times as large as the file")

    hooks = (
        register_module_parameter_registration_hook(count),
        register_module_buffer_registration_hook(count),
    )
    try:
        with torch.device("meta"):
            build(without_start_weights(model), num_classes=num_classes)
    except InputError as error:
        raise InputError(f"{where}: {error}") from error
    finally:
        for hook in hooks:
            hook.remove()


def _without_start_weights(node: Any) -> Any:
    """Return a model's configuration that neither downloads nor reads weights, however deep."""
    if isinstance(node, list):
        return [_without_start_weights(value) for value in node]
    if not isinstance(node, Mapping):
        return node
    off = {"pretrained": False, "checkpoint": None}
    return {key: off[key] if key in off else _without_start_weights(value) for key, value in node.items()}


def _without_writing(node: Any, cache_dir: Any, top: bool = True) -> Any:
    """Return a data set's configuration that downloads nothing and writes no cache to a folder it chooses."""
    if isinstance(node, list):
        return [_without_writing(value, cache_dir, top=False) for value in node]
    if not isinstance(node, Mapping):
        return node
    kept = {key: _without_writing(value, cache_dir, top=False) for key, value in node.items()}
    if "download" in kept and not _repeats(kept, "download"):
        kept["download"] = False
    if not top:
        if not (_repeats(kept, "cache") and _repeats(kept, "cache_dir")) and "cache" in kept:
            kept["cache"] = False
    elif _is_elsewhere(cache_dir):
        if kept.get("cache"):
            log.warning(
                "without a cache: the checkpoint names a folder of its own for it, %s; data.cache=true "
                "data.cache_dir=FOLDER keeps one",
                cache_dir,
            )
        kept |= {"cache": False, "cache_dir": "data/cache"}
    return kept


def _is_elsewhere(folder: Any) -> bool:
    """Say whether a folder may lie outside the working directory."""
    return folder is not None and (str(folder).startswith("~") or leaves_folder(str(folder)))


def _repeats(node: Mapping[str, Any], key: str) -> bool:
    """Say whether a value is that of the same key further up in the group, where it is looked at too."""
    return re.fullmatch(rf"\$\{{\.{{2,}}{key}\}}", str(node.get(key))) is not None
