"""The jobs of a sweep, the folder of each, and how far it has come."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import yaml
from omegaconf import DictConfig, OmegaConf

from guidance.errors import InputError
from guidance.run_directory import comparable, fingerprint

State = Literal["finished", "stopped", "new"]


@dataclass(frozen=True)
class Job:
    """One run of a sweep.

    Attributes:
        overrides: What sets it apart, as on a command line.
        folder: Where it writes.
        config: Its whole configuration.
    """

    overrides: tuple[str, ...]
    folder: Path
    config: DictConfig

    @property
    def state(self) -> State:
        """``finished`` if it has results, ``stopped`` if it has a folder, ``new`` if not.

        Raises:
            InputError: If the folder holds the run of another configuration.
        """
        return run_state(self.folder, self.config)


def run_state(folder: Path, config: DictConfig) -> State:
    """Say how far the run of a configuration has come in its folder; see :attr:`Job.state`."""
    try:
        found = OmegaConf.load(folder / ".hydra" / "config.yaml")
    except (OSError, yaml.YAMLError):
        return "new"
    if not isinstance(found, DictConfig) or comparable(found) != comparable(config):
        raise InputError(f"{folder} holds the run of another configuration: choose another hydra.sweep.dir")
    return "finished" if (folder / "results.json").is_file() else "stopped"


def plan_jobs(
    overrides: Iterable[Sequence[str]], compose: Callable[[Sequence[str], int], DictConfig]
) -> list[Job]:
    """Compose every job and find its folder; a configuration that comes twice is one job.

    Args:
        overrides: Of each job.
        compose: Makes the whole configuration, Hydra's part included, of overrides and the job's number.

    Raises:
        InputError: If two configurations share a folder.
    """
    jobs: dict[str, Job] = {}
    for one in overrides:
        whole = compose(one, len(jobs))
        config = OmegaConf.masked_copy(whole, [str(key) for key in whole if key != "hydra"])
        digits = fingerprint(comparable(config))
        if digits in jobs:
            continue
        folder = Path(str(whole.hydra.sweep.dir)) / str(whole.hydra.sweep.subdir)
        if any(folder == job.folder for job in jobs.values()):
            raise InputError(f"hydra.sweep.subdir gives {folder.name} to jobs of different configurations")
        jobs[digits] = Job(tuple(one), folder, config)
    return list(jobs.values())
