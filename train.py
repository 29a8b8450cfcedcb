"""Train a guided classifier: ``python train.py loss=energy attributor=bcos``; see ``--help``."""

import sys

import hydra
from omegaconf import DictConfig

from guidance.command_line import check_overrides, check_run_folder, in_sweep, one_line_errors, run


@hydra.main(version_base="1.3", config_path="conf", config_name="train")
def main(config: DictConfig) -> None:
    """Run one training."""
    from guidance.run import train
    from guidance.sweep.job import train_job

    if in_sweep():
        train_job(config)
    else:
        run(config, train)


if __name__ == "__main__":
    with one_line_errors():
        check_overrides("train", sys.argv[1:])
        check_run_folder(sys.argv[1:])
    main()
