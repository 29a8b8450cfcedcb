"""Show what a classifier sees: ``python -m guidance.explain ckpt_path=FILE image=FILE``; see ``--help``."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import hydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf
from rich.console import Console

from guidance.checkpoints.reading import compose_each, register_checkpoint_config
from guidance.command_line import CONFIG_DIR, check_overrides, one_line_errors, run
from guidance.errors import InputError
from guidance.explain.class_choice import most_important, named_classes
from guidance.explain.evidence import Evidence, Explanation, classify, explain_classes
from guidance.explain.explainer import Explainer, checkpoint_names, load_explainer
from guidance.explain.picture import draw, picture_names
from guidance.explain.report import print_table, write_table
from guidance.explain.sources import Source, images_of, images_of_split
from guidance.explain.subject import Subject
from guidance.printable import printable
from guidance.progress import progress_over


def explain(configs: Sequence[DictConfig], console: Console | None = None) -> list[str]:
    """Explain images by one or several models; write a picture of each and ``explanations.csv``.

    Args:
        configs: As composed from ``conf/explain.yaml``, one for each checkpoint, or one without any. What is
            not of a model (images, boxes, classes) is taken from the first.
        console: Where to print; standard output by default.

    Returns:
        Of each image that could not be explained, what is wrong with it.

    Raises:
        InputError: If an option is wrong, or no image can be explained.
    """
    console = console or Console()
    config = configs[0]
    _check_numbers(config)
    source = _source(config)
    paths = [str(one.ckpt_path) for one in configs if one.ckpt_path is not None]
    names = checkpoint_names(paths, config.names) or [str(config.model.get("name") or "model")]
    explainers = [load_explainer(one, name) for one, name in zip(configs, names, strict=True)]
    wanted = _listed(config["class"])
    chosen = named_classes(wanted, [one.classes for one in explainers]) if wanted else None

    output_dir = Path(config.paths.output_dir)
    pictures = picture_names(source.names)
    evidence: list[Evidence] = []
    problems: list[str] = []
    count = len(source.names)
    with progress_over(range(count), "explaining", shown=count > 1, console=console) as positions:
        for position in positions:
            try:
                subject = source.make(position)
                explanations = _explain(explainers, subject, chosen, config.top)
                draw(output_dir / pictures[position], subject, explanations)
            except InputError as error:
                if count == 1:
                    raise
                problems.append(str(error))
                continue
            evidence += [entry for one in explanations for entry in one.evidence]
    if not evidence:
        raise InputError(f"none of the {count} images can be explained; the first: {problems[0]}")
    write_table(output_dir / "explanations.csv", evidence)
    print_table(console, evidence)
    if source.available > count:
        _say(
            console,
            f"{count} of {source.available:,} images, chosen by seed {config.seed}; "
            "number=... changes how many",
        )
    for problem in problems:
        _say(console, f"Left out: {problem}", "yellow")
    _say(console, f"written: {output_dir / 'explanations.csv'}")
    written = [name for name in pictures if (output_dir / name).is_file()]
    _say(
        console,
        f"written: {output_dir / written[0]}" + (f" and {len(written) - 1} more" if written[1:] else ""),
    )
    return problems


def _explain(
    explainers: Sequence[Explainer], subject: Subject, chosen: list[str] | None, top: int
) -> list[Explanation]:
    """Explain one image by all models."""
    if chosen is None:
        boxed = [name for name in subject.box_names if name]
        chosen = most_important([classify(one, subject) for one in explainers], boxed, top)
        if not chosen:
            raise InputError("the checkpoints have no class in common")
    return [found for one in explainers for found in explain_classes(one, subject, chosen)]


def _source(config: DictConfig) -> Source:
    if (config.image is None) == (config.split is None):
        raise InputError("name what to explain: image=FILE, image=FOLDER or split=test, and only one of them")
    boxes = OmegaConf.to_container(config.boxes) if OmegaConf.is_config(config.boxes) else config.boxes
    if config.image is not None:
        return images_of(Path(str(config.image)).expanduser(), boxes, config.number, config.seed)
    if boxes is not None:
        raise InputError("boxes goes with image=...; a split has its own boxes")
    if "module" not in config.data:
        raise InputError("split=... needs a checkpoint, or a data set: data=voc2007 data.root=...")
    from guidance.runs.building import build_data

    return images_of_split(build_data(config).split(str(config.split)), config.number, config.seed)


def _check_numbers(config: DictConfig) -> None:
    for key, value in (("top", config.top), ("number", 1 if config.number is None else config.number)):
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise InputError(f"{key} is {value}; it must be an integer, at least 1")


def _listed(value: Any) -> list[str | int]:
    if value is None:
        return []
    return list(value) if OmegaConf.is_list(value) else [value]


def _say(console: Console, text: str, style: str = "") -> None:
    # One line, however long, so that a path in it can be copied.
    console.print(printable(text), style=style or None, markup=False, highlight=False, soft_wrap=True)


all_problems: list[str] = []


@hydra.main(version_base="1.3", config_path=str(CONFIG_DIR), config_name="explain")
def main(config: DictConfig) -> None:
    """Explain the images of one command, or of each job of a sweep."""

    def job(one: DictConfig) -> None:
        paths = [str(path) for path in _listed(one.ckpt_path)]
        overrides = HydraConfig.get().overrides.task
        all_problems.extend(explain(compose_each("explain", overrides, paths) if paths else [one]))

    run(config, job)


if __name__ == "__main__":
    with one_line_errors():
        register_checkpoint_config(sys.argv[1:], "python -m guidance.explain", instead=())
        check_overrides("explain", sys.argv[1:])
    main()
    sys.exit(bool(all_problems))
