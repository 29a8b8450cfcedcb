"""Check a data set before training on it: ``python -m guidance.data.check data=voc2007``; see ``--help``."""

import sys
from pathlib import Path

import hydra
import torch
from omegaconf import DictConfig, OmegaConf
from rich.console import Console

from guidance.command_line import CONFIG_DIR, check_overrides, one_line_errors, run
from guidance.data.check.contact_sheet import draw_contact_sheet
from guidance.data.check.reading import Reading, read_images
from guidance.data.check.report import as_json, print_skipped, print_summary, print_verdict, write_skipped
from guidance.data.check.summary import SplitSummary, annotation_table, counted, summarize
from guidance.data.check.verdict import find_problems, find_warnings
from guidance.data.datamodule import SPLITS, GuidanceDataModule
from guidance.data.image_dataset import ImageDataset
from guidance.errors import InputError
from guidance.files import write_json

_MOST_IMAGES = 240  # a picture of more would be too high for the format's readers


def check(config: DictConfig, console: Console | None = None) -> list[str]:
    """Count, read and draw a data set; write ``check.json`` and what goes with it.

    Args:
        config: As composed from ``conf/check.yaml``.
        console: Where to print; standard output by default.

    Returns:
        The problems that keep training from starting, one sentence each.

    Raises:
        InputError: If an option is wrong.
    """
    console = console or Console()
    sheet = config.contact_sheet_images
    if not isinstance(sheet, int) or not 0 <= sheet <= _MOST_IMAGES:
        raise InputError(f"contact_sheet_images is {sheet}; it must be an integer from 0 to {_MOST_IMAGES}")
    if not isinstance(config.decode, bool):
        raise InputError(f"decode is {config.decode}; it must be true or false")
    datamodule = _data(config)
    output_dir = Path(config.paths.output_dir)

    datasets, unbuilt = _splits(datamodule)
    readings: dict[str, list[Reading]] = {}
    summaries: dict[str, SplitSummary] = {}
    for split, dataset in datasets.items():
        table = annotation_table(dataset, f"counting {split}")
        prepared = datamodule.prepared(split)
        masked = None
        if config.decode:
            workers = config.data.module.get("num_workers", 0)
            readings[split] = read_images(prepared, workers, f"reading {split}")
            if dataset.has_masks:
                masked = torch.tensor([reading.masked for reading in readings[split]])
        summaries[split] = summarize(dataset, table, prepared.annotated, prepared.target, masked)
    problems = find_problems(unbuilt, summaries, readings)
    warnings = find_warnings(summaries, datasets, readings)

    if summaries:
        print_summary(console, summaries)
        print_skipped(console, summaries, output_dir / "skipped.csv")
    write_skipped(output_dir / "skipped.csv", datasets)
    write_json(output_dir / "check.json", as_json(summaries, config.decode, problems, warnings))
    with console.status("drawing"):
        pictures = _draw(datasets, summaries, output_dir, sheet, config.seed) if sheet else []
    print_verdict(console, problems, warnings)
    for path in (output_dir / "check.json", *pictures):
        console.print(f"written: {path}", markup=False, highlight=False, soft_wrap=True)
    return problems


def _data(config: DictConfig) -> GuidanceDataModule:
    """Build the data module; the images are read from their files, never from a cache."""
    from guidance.runs.building import build_data

    build_data(config)  # refuses options that do not go with data.cache=true
    uncached = config.copy()
    OmegaConf.update(uncached, "data.module.cache", False, force_add=True)
    return build_data(uncached)


def _splits(datamodule: GuidanceDataModule) -> tuple[dict[str, ImageDataset], dict[str, str]]:
    """Make the splits; return them, and of the others what is wrong with them."""
    datasets, unbuilt = {}, {}
    for split in SPLITS:
        try:
            datasets[split] = datamodule.split(split)
        except InputError as error:
            unbuilt[split] = str(error)
    return datasets, unbuilt


def _draw(
    datasets: dict[str, ImageDataset],
    summaries: dict[str, SplitSummary],
    output_dir: Path,
    count: int,
    seed: int,
) -> list[Path]:
    """Draw the contact sheets; return their paths."""
    paths = []
    for split, dataset in datasets.items():
        shown = min(count, len(dataset))
        title = f"{split}: {shown} of {counted(len(dataset), 'image')}, chosen by seed {seed}"
        if summaries[split].images_to_look_outside:
            title += "; hatched is where the evidence is to lie, outside the boxes"
        paths.append(output_dir / f"contact_sheet_{split}.png")
        draw_contact_sheet(paths[-1], dataset, shown, seed, title)
    return paths


all_problems: list[str] = []


@hydra.main(version_base="1.3", config_path=str(CONFIG_DIR), config_name="check")
def main(config: DictConfig) -> None:
    """Check one data set, or several in a sweep."""
    run(config, lambda one: all_problems.extend(check(one)))


if __name__ == "__main__":
    with one_line_errors():
        check_overrides("check", sys.argv[1:])
    main()
    sys.exit(bool(all_problems))
