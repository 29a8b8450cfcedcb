"""Where a run writes: a new folder, or, for ``ckpt_path=last``, that of the newest run it continues."""

import hashlib
import json
import logging
import os
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any, cast

import yaml
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from guidance.errors import InputError
from guidance.files import write_atomically

log = logging.getLogger(__name__)

_NOT_COMPARED = ("ckpt_path", "paths", "hydra", "trusted")
_SPEED = ("compile", "cpu_kernels")


def register_resolvers() -> None:
    """Make ``run_dir``, ``sweep_dir`` and ``job_dir`` known to the configuration files."""
    OmegaConf.register_new_resolver("run_dir", run_directory, replace=True)
    OmegaConf.register_new_resolver("sweep_dir", sweep_directory, replace=True)
    OmegaConf.register_new_resolver("job_dir", job_directory, replace=True)


def run_directory(runs_dir: str, date: str, time: str, *, _root_: DictConfig) -> str:
    """Return ``runs_dir/date/time``, or the newest run of this configuration if that is to be continued.

    Two configurations are the same if they agree in everything except ``ckpt_path``, ``paths`` and
    ``trusted``, ``trainer.compile`` and ``trainer.cpu_kernels``. The newest is the one whose folder's name,
    the date and time of its start, is the greatest; no clock is read.

    A new run has a folder of its own, which is made: if there is one of this name, of a run that started in
    the same second or before the clock was set back, a number is added. Where each of several processes
    is started by SLURM or torchrun, nothing is added, for they must agree: give them ``hydra.run.dir``.

    Args:
        runs_dir: Folder of all runs.
        date: Today, as a folder's name.
        time: Now, as a folder's name.
        _root_: The whole configuration, filled in by OmegaConf.

    Returns:
        The path, as text.
    """
    if _root_.get("ckpt_path") == "last":
        wanted = comparable(_root_)
        for folder in sorted(Path(runs_dir).glob("*/*/.hydra"), reverse=True):
            try:
                found = OmegaConf.load(folder / "config.yaml")
            except (OSError, yaml.YAMLError):
                continue
            if isinstance(found, DictConfig) and comparable(found) == wanted:
                return str(folder.parent)
    folder = Path(runs_dir) / date / time
    if not {"LOCAL_RANK", "SLURM_PROCID"} & os.environ.keys():
        return str(_made(folder))
    return str(folder)


@cache
def _made(folder: Path) -> Path:
    """Make a folder that no other process has; the same one whenever this process asks for it."""
    names = (folder, *(folder.with_name(f"{folder.name}_{number}") for number in range(2, 1000)))
    for path in names:
        with suppress(FileExistsError):
            path.mkdir(parents=True)
            return path
    return folder


def keep_configuration(config: DictConfig) -> None:
    """Write what a run is into ``.hydra/`` in its folder, where :func:`run_directory` and sweeps look for it.

    Hydra would write ``config.yaml``, ``hydra.yaml`` and ``overrides.yaml`` itself, but in place: a process
    that is killed there leaves a run that is not found again. Only rank 0 writes.

    Args:
        config: The run's, without Hydra's part.
    """
    from pytorch_lightning.utilities import rank_zero_only  # not at every start of the command line

    hydra = HydraConfig.get()
    folder = Path(hydra.runtime.output_dir) / ".hydra"
    for name, content in (
        ("overrides.yaml", hydra.overrides.task),
        ("hydra.yaml", OmegaConf.create({"hydra": hydra})),
        ("config.yaml", config),
    ):
        rank_zero_only(write_atomically)(folder / name, OmegaConf.to_yaml(content))


def sweep_directory(runs_dir: str, *, _root_: DictConfig) -> str:
    """Return where a sweep writes: the same folder for the same command, so that it can go on.

    A study writes to ``runs_dir/study/losses/shapes``, the study and the recipe; any other sweep to
    ``runs_dir/sweeps/<digits>``, which stand for its command line in any order.

    Args:
        runs_dir: Folder of all runs.
        _root_: The whole configuration, filled in by OmegaConf.
    """
    choices = OmegaConf.select(_root_, "hydra.runtime.choices") or {}
    experiment, recipe = str(choices.get("experiment")), str(choices.get("recipe"))
    if experiment.startswith("study/"):
        return str(Path(runs_dir) / experiment / recipe)
    overrides = sorted(OmegaConf.select(_root_, "hydra.overrides.task") or [])
    return str(Path(runs_dir) / "sweeps" / fingerprint(overrides))


def job_directory(sweep_dir: str, number: int, *, _root_: DictConfig) -> str:
    """Return a job's folder in its sweep's: a number to sort by, and digits that stand for its configuration.

    Where a folder with these digits exists it is the one, whatever its number: values may have been added
    to the sweep since. What the job is, ``.hydra/overrides.yaml`` in it and ``jobs.csv`` beside it say.

    Args:
        sweep_dir: The sweep's folder.
        number: The job's number in the sweep.
        _root_: The whole configuration, filled in by OmegaConf.
    """
    digits = fingerprint(comparable(_root_))
    found = sorted(Path(sweep_dir).glob(f"*-{digits}"))
    return found[0].name if found else f"{number:03d}-{digits}"


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
    return checkpoint_file(ckpt_path, "a checkpoint file, or `last`")


def checkpoint_file(ckpt_path: str, choices: str = "a checkpoint file") -> Path:
    """Return the file that ``ckpt_path`` names.

    Args:
        ckpt_path: Its path.
        choices: What the option takes, for the message.

    Raises:
        InputError: If there is no such file.
    """
    path = Path(ckpt_path)
    if not path.is_file():
        raise InputError(f"ckpt_path: no file {path} ({choices})")
    return path


def comparable(config: DictConfig) -> dict[str, Any]:
    """Return what makes two runs the same: all but ``ckpt_path``, paths, speed, trust and Hydra's part."""
    content = cast("dict[str, Any]", OmegaConf.to_container(config, resolve=False))
    return without_speed({str(key): value for key, value in content.items() if key not in _NOT_COMPARED})


def without_speed(content: dict[str, Any]) -> dict[str, Any]:
    """Leave out of a plain configuration what changes no result but by rounding.

    That is ``trainer.compile`` and ``trainer.cpu_kernels``.
    """
    trainer = content.get("trainer")
    if not isinstance(trainer, dict):
        return content
    return content | {"trainer": {key: value for key, value in trainer.items() if key not in _SPEED}}


def fingerprint(content: Any) -> str:
    """Return ten hexadecimal digits that stand for plain data, whatever the order of its keys."""
    text = json.dumps(content, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:10]
