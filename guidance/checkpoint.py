"""Checkpoints of this project: read safely, and as configurations that evaluation starts from."""

import pickle
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import torch
from hydra.core.config_store import ConfigStore
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf

from guidance.errors import InputError
from guidance.module import FORMAT_VERSION, GuidedClassifier
from guidance.run_directory import resolve_checkpoint

_WITHIN_GROUP = re.compile(r"\$\{\.+[^{}]*\}")


def portable_config(config: DictConfig) -> dict[str, Any]:
    """Return a configuration as plain types that stays right when parts of it are replaced.

    References to other places become values, so that the configuration needs nothing around it; references
    within a group (``${..image_size}``) stay, so that overriding the key still changes what refers to it.
    """

    def merge(raw: Any, resolved: Any) -> Any:
        if isinstance(raw, dict):
            return {key: merge(value, resolved[key]) for key, value in raw.items()}
        if isinstance(raw, list):
            return [merge(*pair) for pair in zip(raw, resolved, strict=True)]
        return raw if isinstance(raw, str) and _WITHIN_GROUP.fullmatch(raw) else resolved

    raw = OmegaConf.to_container(config, resolve=False)
    return cast("dict[str, Any]", merge(raw, OmegaConf.to_container(config, resolve=True)))


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Read a checkpoint of this project, weights-only.

    Raises:
        InputError: If the file is broken, or from another project or a newer version.
    """
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, OSError) as error:
        raise InputError(f"ckpt_path: {path} is not a readable checkpoint: {error}") from error
    own = content.get("guidance") if isinstance(content, Mapping) else None
    if own is None:
        raise InputError(f"ckpt_path: {path} was not written by this project (key 'guidance' is missing)")
    if own["format_version"] > FORMAT_VERSION:
        raise InputError(
            f"ckpt_path: {path} has format {own['format_version']}, this version reads up to {FORMAT_VERSION}"
        )
    return dict(content)


def load_weights(module: GuidedClassifier, content: dict[str, Any]) -> None:
    """Put a checkpoint's weights and IoU threshold into a module.

    Raises:
        InputError: If it has other classes or belongs to another model.
    """
    module.on_load_checkpoint(content)
    try:
        module.load_state_dict(content["state_dict"])
    except RuntimeError as error:
        raise InputError(f"the checkpoint belongs to another model: {str(error).splitlines()[1]}") from error


def register_checkpoint_config(arguments: list[str]) -> None:
    """Offer a checkpoint's own data, model and attributor as the options ``from_checkpoint``.

    Of several checkpoints (``ckpt_path=[a.ckpt,b.ckpt]``) it is the first one's. None is needed where both
    ``data=...`` and ``model=...`` are named.

    Args:
        arguments: The command line, of which ``ckpt_path`` is read.

    Raises:
        InputError: If no checkpoint is named, or it cannot be read.
    """
    store = ConfigStore.instance()
    named = [argument.partition("=")[2] for argument in arguments if argument.startswith("ckpt_path=")]
    groups = {argument.partition("=")[0] for argument in arguments}
    content: dict[str, Any] = {}
    if named:
        path = checkpoint_paths(_parse(named[-1]))[0]
        content = read_checkpoint(path)["guidance"]["config"]
    elif not (
        {"data", "model"} <= groups
        or any(argument in ("--help", "-h", "--hydra-help", "--version") for argument in arguments)
    ):
        raise InputError("evaluate.py needs ckpt_path=FILE, a checkpoint of a training run")
    for group in ("data", "model", "attributor"):
        store.store(name="from_checkpoint", group=group, node=content.get(group, {}))


def checkpoint_paths(ckpt_path: str | Sequence[str]) -> list[Path]:
    """Return the files of one checkpoint or of several.

    Args:
        ckpt_path: A path, or a list of paths.

    Raises:
        InputError: If a file does not exist, is named twice, or none is named.
    """
    names = [ckpt_path] if isinstance(ckpt_path, str) else list(ckpt_path)
    if not names:
        raise InputError("ckpt_path: name at least one checkpoint")
    if "last" in names:
        raise InputError("evaluate.py needs a file: ckpt_path=outputs/.../checkpoints/last.ckpt")
    twice = [name for name in names if names.count(name) > 1]
    if twice:
        raise InputError(f"ckpt_path names {twice[0]} twice")
    return [path for name in names if (path := resolve_checkpoint(name, ".")) is not None]


def _parse(value: str) -> str | list[str]:
    """Return what ``ckpt_path`` on the command line stands for."""
    if not value.startswith("["):
        return value.strip("'\"")
    try:
        parsed = OverridesParser.create().parse_override(f"ckpt_path={value}").value()
    except HydraException as error:
        raise InputError(f"ckpt_path: cannot read the list {value}: {error}") from error
    return [str(name).strip("'\"") for name in cast("list[Any]", parsed)]
