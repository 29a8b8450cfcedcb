"""Processes of one training that something else started: torchrun, or SLURM's srun."""

import os
from collections.abc import Mapping, Sequence

from guidance.errors import InputError


def check_run_folder(arguments: Sequence[str], environment: Mapping[str, str] = os.environ) -> None:
    """Refuse to let processes that were started apart choose the run's folder, each by its own clock.

    Lightning hands the folder to the processes that it starts. Processes that torchrun or srun starts would
    write into several folders, and a run that goes on (``ckpt_path=last``) would go on in one of them alone.

    Args:
        arguments: The command line without the program's name. A sweep's folders depend on no clock.
        environment: The process's.

    Raises:
        InputError: If there are several processes and the command does not name the folder.
    """
    named = any(argument.startswith("hydra.run.dir=") for argument in arguments)
    sweep = any(argument in ("-m", "--multirun") for argument in arguments)
    if started_together(environment) > 1 and not named and not sweep:
        raise InputError(
            "several processes were started from outside (torchrun, srun), and each would choose a folder by "
            "its own clock: name the run's folder, e.g. hydra.run.dir=outputs/one"
        )


def check_tasks(environment: Mapping[str, str] = os.environ) -> None:
    """Refuse SLURM tasks that were not counted by nodes, as Lightning needs them.

    Args:
        environment: The process's.

    Raises:
        InputError: If srun started several tasks without saying how many on a node.
    """
    tasks = int(environment.get("SLURM_STEP_NUM_TASKS", 1))
    if tasks > 1 and "SLURM_NTASKS_PER_NODE" not in environment:
        nodes = int(environment.get("SLURM_STEP_NUM_NODES", 1))
        raise InputError(
            f"srun --ntasks={tasks}: say how many tasks run on a node instead: --nodes={nodes} "
            f"--ntasks-per-node={max(1, tasks // nodes)}"
        )


def started_together(environment: Mapping[str, str] = os.environ) -> int:
    """Return how many processes torchrun or srun started together with this one, itself included."""
    if "TORCHELASTIC_RUN_ID" in environment:
        return int(environment.get("WORLD_SIZE", 1))
    return int(environment.get("SLURM_STEP_NUM_TASKS", 1))
