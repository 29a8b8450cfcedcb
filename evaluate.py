"""Evaluate a checkpoint: ``python evaluate.py ckpt_path=.../checkpoints/last.ckpt``; see ``--help``."""

import sys

import hydra
from omegaconf import DictConfig

from guidance.checkpoints.reading import register_checkpoint_config
from guidance.command_line import check_overrides, check_writable_folder, one_line_errors, run


@hydra.main(version_base="1.3", config_path="conf", config_name="evaluate")
def main(config: DictConfig) -> None:
    """Run one evaluation: the metrics of a split, or a protocol."""
    from guidance.protocols.run import run_protocol
    from guidance.runs.run import evaluate

    run(config, evaluate if config.get("protocol") is None else run_protocol)


if __name__ == "__main__":
    with one_line_errors():
        register_checkpoint_config(sys.argv[1:])
        check_overrides("evaluate", sys.argv[1:])
        check_writable_folder(sys.argv[1:])
    main()
