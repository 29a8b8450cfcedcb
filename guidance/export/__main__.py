"""Export a trained classifier: ``python -m guidance.export ckpt_path=FILE``; see ``--help``."""

import sys
from pathlib import Path
from typing import Any, cast

import hydra
from omegaconf import DictConfig, OmegaConf
from rich.console import Console

from guidance.command_line import CONFIG_DIR, check_overrides, one_line_errors, run
from guidance.errors import InputError


def export(config: DictConfig, console: Console | None = None) -> Path:
    """Export a checkpoint's model.

    Args:
        config: As composed from ``conf/export.yaml``.
        console: Where to print; standard output by default.

    Returns:
        The folder that was written.

    Raises:
        InputError: If the checkpoint cannot be read, or its model not be built again.
    """
    from guidance.checkpoints.reading import read_checkpoint
    from guidance.export import write_exported
    from guidance.results import provenance
    from guidance.run_directory import checkpoint_file
    from guidance.untrusted.stored_config import stored_config

    console = console or Console()
    name = OmegaConf.select(config, "ckpt_path", throw_on_missing=False)
    if name in (None, "last"):
        raise InputError("name the checkpoint to export: ckpt_path=outputs/.../checkpoints/best.ckpt")
    checkpoint = checkpoint_file(name)
    folder = Path(config.path or checkpoint.with_suffix(""))
    if folder.is_file():
        raise InputError(f"path={folder} is a file; name a folder")
    if config.path is None and folder.is_symlink():
        raise InputError(f"{folder} is a link to another folder; name a folder: path=FOLDER")
    content = read_checkpoint(checkpoint)
    own = content["guidance"]
    parts = _resolved(stored_config(content, checkpoint, config.trusted))
    with console.status("exporting"):
        write_exported(
            folder,
            {
                key.removeprefix("model."): value
                for key, value in content["state_dict"].items()
                if key.startswith("model.")
            },
            parts["model"],
            parts["attributor"],
            own["classes"],
            parts["data"]["image_size"],
            own["iou_threshold"],
            {
                "checkpoint": checkpoint.name,
                "epoch": content["epoch"],
                "global_step": content["global_step"],
                **provenance(parts["seed"]),
            },
            list(config.trusted),
        )
    for file in sorted(folder.glob("model.*")):
        line = f"written: {file} ({file.stat().st_size:,} bytes)"
        console.print(line, markup=False, highlight=False, soft_wrap=True)
    return folder


def _resolved(config: dict[str, Any]) -> dict[str, Any]:
    """Return the parts of a run's configuration that an export needs, without references."""
    whole = OmegaConf.create({key: config[key] for key in ("data", "model", "attributor", "seed")})
    return cast("dict[str, Any]", OmegaConf.to_container(whole, resolve=True))


@hydra.main(version_base="1.3", config_path=str(CONFIG_DIR), config_name="export")
def main(config: DictConfig) -> None:
    """Export one checkpoint, or several in a sweep."""
    run(config, export)


if __name__ == "__main__":
    with one_line_errors():
        check_overrides("export", sys.argv[1:])
    main()
