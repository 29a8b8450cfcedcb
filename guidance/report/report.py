"""Making a report: read, group, evaluate what is missing, draw, write."""

import os
from collections.abc import Sequence
from pathlib import Path

from guidance.errors import InputError
from guidance.files import write_atomically, write_json
from guidance.report.checkpoints import Checkpoints, add_test_metrics
from guidance.report.comparison import Verdict, choose, judge
from guidance.report.gallery import draw_maps
from guidance.report.run import Point
from guidance.report.run_folder import find_runs
from guidance.report.study import Study, make_study
from guidance.report.study_page import study_page
from guidance.report.tables import Summary, as_json, points_csv, summarize, summary_csv

PAGE = "report.html"


def read_study(folders: Sequence[str | Path], group_by: Sequence[str] = ()) -> Study:
    """Read runs and group them.

    Raises:
        InputError: If there is no finished run, or a key to group by is unknown.
    """
    runs, unfinished = find_runs(folders)
    if not runs:
        reasons = "; ".join(f"{run.folder}: {run.reason}" for run in unfinished)
        raise InputError(f"no finished run among {len(unfinished)}: {reasons}")
    return make_study(runs, unfinished, group_by)


def evaluated_points(study: Study, max_f1_drop: float) -> list[Point]:
    """Return the points whose metrics on test are wanted: fronts, choices and baselines."""
    points: dict[Point, None] = {}
    for configuration in study.configurations:
        points |= dict.fromkeys(configuration.front)
        if not configuration.is_baseline:
            baselines = [one.point for one in configuration.baselines if one is not None]
            points |= dict.fromkeys(point for point in baselines if point is not None)
            chosen = [*choose(configuration, max_f1_drop), *choose(configuration)]
            points |= dict.fromkeys(choice.point for choice in chosen)
    return list(points)


def make_report(
    folders: Sequence[str | Path],
    output: Path,
    group_by: Sequence[str] = (),
    max_f1_drop: float = 0.01,
    gallery_images: int = 4,
    gallery_checkpoints: int = 24,
    gallery_seed: int = 0,
    data_root: Path | None = None,
    trusted: Sequence[str] = (),
) -> tuple[Study, list[Verdict], list[Summary]]:
    """Write ``report.html``, ``report.json``, ``points.csv`` and ``summary.csv``.

    Args:
        folders: Runs, sweeps, or folders of them.
        output: Where to write.
        group_by: What makes a configuration; by default everything but loss weight, epochs and seed.
        max_f1_drop: How much F1 on val a checkpoint may lose to be chosen, as a fraction.
        gallery_images: Test images whose maps are drawn; 0 draws none.
        gallery_checkpoints: Of each front, at most so many checkpoints have maps, drawn by the seed.
        gallery_seed: Chooses the images.
        data_root: Where the data set is now, if not where the runs found it.
        trusted: Packages of one's own that checkpoints may name.

    Returns:
        The study, the verdict on each configuration, and the means over seeds.

    Raises:
        InputError: If the folders hold no finished run, or an option is out of range.
    """
    for name, value in (("gallery-images", gallery_images), ("gallery-checkpoints", gallery_checkpoints)):
        if value < 0:
            raise InputError(f"--{name} must be at least 0; got {value}")
    check_f1_drop(max_f1_drop)
    study = read_study(folders, group_by)
    checkpoints = Checkpoints(data_root, trusted)
    problems = add_test_metrics(evaluated_points(study, max_f1_drop), checkpoints)
    verdicts = [judge(one, max_f1_drop) for one in study.configurations if not one.is_baseline]
    summaries = summarize(study)
    gallery = draw_maps(study, checkpoints, gallery_images, gallery_checkpoints, gallery_seed)
    output = output.resolve()
    write_json(output / "report.json", as_json(study, verdicts, max_f1_drop))
    write_atomically(output / "points.csv", points_csv(study))
    write_atomically(output / "summary.csv", summary_csv(summaries))
    page = study_page(study, verdicts, summaries, gallery, problems + gallery.problems, output)
    page.write(output / PAGE)
    return study, verdicts, summaries


def common_folder(folders: Sequence[str | Path]) -> Path:
    """Return the deepest folder that holds all of the given ones; one alone holds itself."""
    return Path(os.path.commonpath([Path(folder).resolve() for folder in folders]))


def check_f1_drop(max_f1_drop: float) -> None:
    """Refuse an F1 that is meant in percent.

    Raises:
        InputError: If it is not within [0, 1].
    """
    if not 0 <= max_f1_drop <= 1:
        raise InputError(
            f"--max-f1-drop is a fraction from 0 to 1, e.g. 0.01 for one point; got {max_f1_drop}"
        )
