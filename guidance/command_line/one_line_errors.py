"""Errors in what the user gave, in one line."""

import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from hydra.core.hydra_config import HydraConfig

from guidance.command_line.multirun import in_sweep
from guidance.errors import InputError, StoppedError
from guidance.printable import printable


@contextmanager
def one_line_errors() -> Iterator[None]:
    """Turn an error in what the user gave into one line on stderr and exit status 2.

    A training that a signal stopped ends with one line too, and exit status 128 and the signal's number.
    """
    try:
        yield
    except StoppedError as stopped:
        from pytorch_lightning.utilities import rank_zero_only

        if getattr(rank_zero_only, "rank", 0):
            sys.exit(0)  # Lightning would take another status for a crash, and kill rank 0
        how = "the same command goes on" if _sweeps() else "go on with the same command and ckpt_path=last"
        print(f"{stopped}; {how}", file=sys.stderr)
        sys.exit(128 + stopped.signal)
    except Exception as error:
        cause = input_error(error)
        if cause is None:
            raise
        print(f"Error: {printable(cause)}", file=sys.stderr)
        sys.exit(2)


def input_error(error: BaseException | None) -> str | None:
    """Return the message of the :class:`InputError` that an error is or was caused by, if any.

    What is said of processes that died, of loaders or of other devices, counts as one.
    """
    while error is not None:
        if isinstance(error, InputError):
            # A data loader's worker prefixes the message with its traceback.
            return str(error).strip().rpartition("InputError: ")[2]
        if isinstance(error, RuntimeError) and (died := _of_dead_process(str(error))):
            return died
        error = error.__cause__ or error.__context__
    return None


def _of_dead_process(message: str) -> str | None:
    """Say what a loader's or torch.distributed's message about another process means."""
    if re.match(r"DataLoader worker .*(killed by signal|exited unexpectedly)", message):
        what = message.split(". ")[0].split(", ")[0]
        if "Bus error" in message or "shared memory" in message:
            return (
                f"a loader process died ({what}), for /dev/shm is full: enlarge it, as by docker run "
                "--shm-size=8g, or set data.num_workers=0"
            )
        return (
            f"a loader process died ({what}), most often because memory ran out: lower data.num_workers or "
            "data.batch_size"
        )
    if "Connection closed by peer" in message or "Connection reset by peer" in message:
        return (
            "another process of this run died. Its own message says why; if there is none, the system killed "
            "it, most often because memory ran out"
        )
    return None


def _sweeps() -> bool:
    """Whether the command goes on by itself: sweeps do, and searches."""
    return not HydraConfig.initialized() or in_sweep()
