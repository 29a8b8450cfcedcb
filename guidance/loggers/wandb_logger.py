"""Weights & Biases, offline where there is no key or nobody answers."""

import logging
import os
from collections.abc import Sequence
from netrc import NetrcParseError, netrc
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

import wandb
from pytorch_lightning.loggers import WandbLogger

log = logging.getLogger(__name__)

_SECONDS = {"init_timeout": 30.0, "finish_timeout": 300.0}
"""How long W&B may keep a run from starting and from ending; its own limits are 90 s and none."""


def wandb_logger(
    project: str, save_dir: str, name: str | None = None, tags: Sequence[str] = ()
) -> WandbLogger:
    """Build a W&B logger that never asks for a key.

    Args:
        project: The project's name.
        save_dir: Where the run's files go.
        name: The run's name; W&B invents one by default.
        tags: Labels of the run.

    Returns:
        A logger: online with an API key (``WANDB_API_KEY`` or ``~/.netrc``), else offline, to be uploaded
        later with ``wandb sync``. ``WANDB_MODE`` overrules both. If W&B refuses the run or has not answered
        within 30 seconds, it is logged offline, with a warning. At its end a run waits at most 300 seconds
        for what is still to be uploaded. ``WANDB_INIT_TIMEOUT`` and ``WANDB_FINISH_TIMEOUT`` overrule these.
    """
    Path(save_dir).mkdir(parents=True, exist_ok=True)
    limits = {
        option: seconds
        for option, seconds in _SECONDS.items()
        if option in wandb.Settings.model_fields and f"WANDB_{option.upper()}" not in os.environ
    }

    def logger(**options: Any) -> WandbLogger:
        # Not Lightning's offline=True, which would keep all later runs of this process offline too.
        return WandbLogger(
            name=name, project=project, save_dir=save_dir, tags=list(tags), settings=limits, **options
        )

    if "WANDB_MODE" not in os.environ and not has_api_key():
        return logger(mode="offline")
    made = logger()
    try:
        _ = made.experiment  # begins the run, on rank 0
    except (wandb.Error, OSError, ValueError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        log.warning("W&B does not take the run (%s): it is logged offline, for `wandb sync`", reason)
        wandb.teardown()
        return logger(mode="offline")
    return made


def has_api_key() -> bool:
    """Return whether W&B would find an API key without asking."""
    if os.environ.get("WANDB_API_KEY"):
        return True
    host = urlparse(os.environ.get("WANDB_BASE_URL", "https://api.wandb.ai")).hostname or ""
    try:
        return netrc(os.environ.get("NETRC")).authenticators(host) is not None
    except (OSError, NetrcParseError):
        return False
