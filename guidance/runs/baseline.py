"""The unguided classifier that guided runs start from: trained once, by whichever run needs it first."""

import logging
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

from filelock import FileLock, Timeout
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException
from pytorch_lightning.utilities import rank_zero_only

from guidance.errors import InputError
from guidance.files import write_atomically
from guidance.run_directory import fingerprint, without_speed

log = logging.getLogger(__name__)

_UNGUIDED = {"localization": None, "weight": 0.0, "reduction": "mean", "classes": "one"}
_NOT_COMPARED = ("ckpt_path", "paths", "logger", "baseline", "trusted")


def start_from_baseline(config: DictConfig, train: Callable[[DictConfig], object]) -> DictConfig:
    """Return a run's configuration with its baseline's best checkpoint as its start weights.

    The baseline lies in ``baseline.dir``, in a folder named by digits that stand for its resolved
    configuration. Whoever comes first trains it; others wait, and take over from its last
    checkpoint if it is killed.

    Args:
        config: Of the run; returned as it is if ``baseline.dir`` is null.
        train: Trains the baseline's configuration and writes ``results.json`` when it is done.

    Raises:
        InputError: If ``baseline.changes`` has a wrong key.
    """
    if not OmegaConf.select(config, "baseline.dir"):
        return config
    baseline = baseline_config(config)
    folder = Path(baseline.paths.output_dir)
    if getattr(rank_zero_only, "rank", 0) == 0:
        with _lock(folder):
            finished = (folder / "results.json").is_file()
            _tell_other_ranks(folder, finished)
            _train_unless(finished, baseline, train)
    else:  # rank 0 has the lock for all of them
        _train_unless(_as_rank_zero_found(folder), baseline, train)
    config = config.copy()
    with open_dict(config):
        config.model.checkpoint = str(folder / "checkpoints" / "best.ckpt")
    return config


def baseline_config(config: DictConfig) -> DictConfig:
    """Return the configuration of a run's baseline; ``paths.output_dir`` is its folder.

    Raises:
        InputError: If ``baseline.changes`` has a wrong key.
    """
    own = config.copy()
    with open_dict(own):
        own.loss, own.ckpt_path = _UNGUIDED, None
        own.baseline = {"dir": None}
    try:
        own = cast(DictConfig, OmegaConf.merge(own, dict(config.baseline.changes)))
    except OmegaConfBaseException as error:
        raise InputError(f"baseline.changes: {str(error).splitlines()[0]}") from error
    own.paths.output_dir = ""  # what refers to it must not tell runs apart
    content = cast("dict[str, Any]", OmegaConf.to_container(own, resolve=True))
    compared = {key: value for key, value in content.items() if key not in _NOT_COMPARED}
    digits = fingerprint(without_speed(compared))
    own.paths.output_dir = str(Path(config.baseline.dir) / digits)
    return own


def _train_unless(finished: bool, baseline: DictConfig, train: Callable[[DictConfig], object]) -> None:
    folder = Path(baseline.paths.output_dir)
    if finished:
        rank_zero_only(log.info)("baseline: %s", folder)
        return
    last = folder / "checkpoints" / "last.ckpt"
    if last.is_file():
        baseline.ckpt_path = str(last)
    how = "training" if baseline.ckpt_path is None else "continuing"
    rank_zero_only(log.info)("baseline: %s %s", how, folder)
    train(baseline)


def _message(folder: Path) -> Path | None:
    """Return the file by which ranks that start at once, as SLURM's, agree; None if rank 0 starts the others.

    Those that rank 0 starts, it starts in its first training: they find the baseline as it did.
    """
    if "SLURM_PROCID" not in os.environ or int(os.environ.get("SLURM_NTASKS", "1")) < 2:
        return None
    attempt = [os.environ.get(f"SLURM_{name}", "0") for name in ("JOB_ID", "STEP_ID", "RESTART_COUNT")]
    return folder / "ranks" / "-".join(attempt)


def _tell_other_ranks(folder: Path, finished: bool) -> None:
    message = _message(folder)
    if message is not None:
        write_atomically(message, "finished" if finished else "to be trained")


def _as_rank_zero_found(folder: Path) -> bool:
    """Return whether the baseline was finished when rank 0 had its lock; wait until rank 0 knows."""
    message = _message(folder)
    if message is None:
        return (folder / "results.json").is_file()
    while not message.is_file():
        time.sleep(0.5)
    return message.read_text() == "finished"


def _lock(folder: Path) -> FileLock:
    """Return the held lock of a baseline; the system gives back that of a killed process."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder.with_suffix(".lock"))
    try:
        lock.acquire(timeout=0)
    except Timeout:
        log.info("baseline: waiting for another run that trains %s", folder)
        lock.acquire()
    return lock
