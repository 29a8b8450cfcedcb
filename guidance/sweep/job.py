"""One job of a sweep, in whatever process a launcher runs it."""

import logging
import multiprocessing
import os
import signal
import threading
import time
from pathlib import Path

from omegaconf import DictConfig, open_dict

from guidance.command_line import input_error
from guidance.errors import InputError
from guidance.sweep.one_at_a_time import only_process_in

log = logging.getLogger(__name__)

_WATCH = "parent-watch"
_SECONDS_TO_STOP = 120.0


def train_job(config: DictConfig) -> None:
    """Train one job of a sweep, from its last checkpoint if there is one.

    Raises:
        InputError: If what the user gave is wrong: Hydra goes on with the next job.
        RuntimeError: In the place of any other error, which may not be fit to travel between processes; its
            traceback is in the log.
    """
    from guidance.runs.run import train

    _stop_with_the_sweep()
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


def _stop_with_the_sweep() -> None:
    """Stop this process's training in good order when the sweep that it works for is gone.

    Joblib's workers would train on, with nobody to wait for them, and keep the same command from going on.
    """
    named = any(thread.name == _WATCH for thread in threading.enumerate())
    if multiprocessing.current_process().name.startswith("LokyProcess") and not named:
        threading.Thread(target=_watch, args=(os.getppid(),), name=_WATCH, daemon=True).start()


def _watch(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(1.0)
    os.kill(os.getpid(), signal.SIGTERM)  # see guidance.processes.stopping
    time.sleep(_SECONDS_TO_STOP)  # the worker itself does not end with its job
    os._exit(1)
