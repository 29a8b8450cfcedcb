"""Weights & Biases, offline where there is no key."""

import os
from collections.abc import Sequence
from netrc import NetrcParseError, netrc
from pathlib import Path
from urllib.parse import urlparse

from pytorch_lightning.loggers import WandbLogger


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
        later with ``wandb sync``. ``WANDB_MODE`` overrules both.
    """
    offline = not has_api_key() if "WANDB_MODE" not in os.environ else None
    Path(save_dir).mkdir(parents=True, exist_ok=True)
    if offline is None:
        return WandbLogger(name=name, project=project, save_dir=save_dir, tags=list(tags))
    return WandbLogger(name=name, project=project, save_dir=save_dir, tags=list(tags), offline=offline)


def has_api_key() -> bool:
    """Return whether W&B would find an API key without asking."""
    if os.environ.get("WANDB_API_KEY"):
        return True
    host = urlparse(os.environ.get("WANDB_BASE_URL", "https://api.wandb.ai")).hostname or ""
    try:
        return netrc(os.environ.get("NETRC")).authenticators(host) is not None
    except (OSError, NetrcParseError):
        return False
