"""Sweeps, as the command that Hydra runs as one sees them."""

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from guidance.errors import InputError


def in_sweep() -> bool:
    """Whether Hydra runs a sweep."""
    return bool(HydraConfig.get().mode == RunMode.MULTIRUN)


def refuse_own_processes(config: DictConfig) -> None:
    """Refuse a sweep's job that would start processes of its own.

    Raises:
        InputError: Saying what to do instead.
    """
    if OmegaConf.select(config, "trainer.strategy") not in (None, "auto"):
        raise InputError(
            "a sweep cannot start several processes per job: each of them would run the whole sweep. Use one "
            "device per job (trainer=cpu or trainer=gpu), one command per run, or SLURM (docs/studies.md)"
        )
