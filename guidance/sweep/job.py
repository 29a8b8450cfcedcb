"""One job of a sweep, in whatever process a launcher runs it."""

import logging
from pathlib import Path

from omegaconf import DictConfig, open_dict

from guidance.command_line import input_error
from guidance.errors import InputError
from guidance.sweep.one_at_a_time import only_process_in

log = logging.getLogger(__name__)


def train_job(config: DictConfig) -> None:
    """Train one job of a sweep, from its last checkpoint if there is one.

    Raises:
        InputError: If what the user gave is wrong: Hydra goes on with the next job.
        RuntimeError: In the place of any other error, which may not be fit to travel between processes; its
            traceback is in the log.
    """
    from guidance.run import train

    folder = Path(config.paths.output_dir)
    last = folder / "checkpoints" / "last.ckpt"
    try:
        with only_process_in(folder):
            if config.ckpt_path is None and last.is_file():
                with open_dict(config):
                    config.ckpt_path = str(last)
            train(config)
    except Exception as error:
        known = input_error(error)
        if known is not None:
            log.error("%s", known)
            raise InputError(known) from None
        log.exception("the job failed")
        raise RuntimeError(f"{type(error).__name__}: {error}") from None
