"""Where a run writes: a new folder, or, for ``ckpt_path=last``, that of the newest run it continues."""

import logging
from pathlib import Path
from typing import Any, cast

import yaml
from omegaconf import DictConfig, OmegaConf

from guidance.errors import InputError

log = logging.getLogger(__name__)

_NOT_COMPARED = ("ckpt_path", "paths", "hydra")


def register_resolvers() -> None:
    """Make ``${run_dir:...}`` known to the configuration files."""
    OmegaConf.register_new_resolver("run_dir", run_directory, replace=True)


def run_directory(runs_dir: str, date: str, time: str, *, _root_: DictConfig) -> str:
    """Return ``runs_dir/date/time``, or the newest run of this configuration if that is to be continued.

    Two configurations are the same if they agree in everything except ``ckpt_path`` and ``paths``.

    Args:
        runs_dir: Folder of all runs.
        date: Today, as a folder's name.
        time: Now, as a folder's name.
        _root_: The whole configuration, filled in by OmegaConf.

    Returns:
        The path, as text.
    """
    if _root_.get("ckpt_path") == "last":
        wanted = _comparable(_root_)
        for folder in sorted(Path(runs_dir).glob("*/*/.hydra"), reverse=True):
            try:
                found = OmegaConf.load(folder / "config.yaml")
            except (OSError, yaml.YAMLError):
                continue
            if isinstance(found, DictConfig) and _comparable(found) == wanted:
                return str(folder.parent)
    return str(Path(runs_dir) / date / time)


def resolve_checkpoint(ckpt_path: str | None, output_dir: str | Path) -> Path | None:
    """Return the checkpoint to resume from.

    Args:
        ckpt_path: A file, ``last``, or None.
        output_dir: This run's folder.

    Returns:
        The file; None to start from the beginning, which ``last`` means (with a warning) for a run that
        was stopped before its first checkpoint.

    Raises:
        InputError: If a file was named that does not exist.
    """
    if ckpt_path is None:
        return None
    if ckpt_path == "last":
        path = Path(output_dir) / "checkpoints" / "last.ckpt"
        if not path.is_file():
            log.warning(
                "ckpt_path=last: no run of this configuration has a checkpoint; starting from the beginning"
            )
            return None
        return path
    path = Path(ckpt_path)
    if not path.is_file():
        raise InputError(f"ckpt_path: no file {path} (a checkpoint file, or `last`)")
    return path


def _comparable(config: DictConfig) -> dict[str, Any]:
    content = cast("dict[str, Any]", OmegaConf.to_container(config, resolve=False))
    return {str(key): value for key, value in content.items() if key not in _NOT_COMPARED}
