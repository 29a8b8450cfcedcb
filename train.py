"""Train a guided classifier: ``python train.py loss=energy attributor=bcos``; see ``--help``."""

import sys

import hydra
from omegaconf import DictConfig

from guidance.command_line import check_overrides, check_writable_folder, in_sweep, one_line_errors, run
from guidance.processes.launcher import check_run_folder, check_tasks


@hydra.main(version_base="1.3", config_path="conf", config_name="train")
def main(config: DictConfig) -> None:
    """Run one training."""
    from guidance.run_directory import keep_configuration
    from guidance.runs.run import train
    from guidance.sweep.job import train_job

    keep_configuration(config)
    if in_sweep():
        train_job(config)
    else:
        run(config, train)


if __name__ == "__main__":
    with one_line_errors():
        check_run_folder(sys.argv[1:])
        check_tasks()
        check_overrides("train", sys.argv[1:])
        check_writable_folder(sys.argv[1:])
    main()
