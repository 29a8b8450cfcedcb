"""The page of a study: the answer first, then what it rests on."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from guidance.report.comparison import Verdict, volume_change
from guidance.report.configuration import differences
from guidance.report.front_charts import describe, front_charts, panel_name
from guidance.report.gallery import Gallery
from guidance.report.learning_curves import learning_curves
from guidance.report.page import Cell, Page, Section, Value
from guidance.report.run import Point, Run
from guidance.report.study import Configuration, Study
from guidance.report.tables import Summary, volume_per_seed
from guidance.results import METRIC_NAMES

_SHOWN = ("f1_micro", "epg", "iou", "accuracy", "worst_group_accuracy")


def study_page(
    study: Study,
    verdicts: Sequence[Verdict],
    summaries: Sequence[Summary],
    gallery: Gallery,
    problems: Sequence[str],
    folder: Path,
) -> Page:
    """Build the page.

    Args:
        study: What it is about.
        verdicts: Of each configuration that is not a baseline.
        summaries: Of the final weights.
        gallery: The maps.
        problems: What could not be evaluated or drawn.
        folder: Where the page will be; links start there.
    """
    colours = _colours(study)
    count = len(study.runs)
    page = Page(
        "Did guidance help, and what did it cost?",
        f"{count} {'run' if count == 1 else 'runs'} in {len(study.configurations)} configurations"
        + (f"; {len(study.unfinished)} unfinished" if study.unfinished else ""),
    )
    _answer(page.section("Answer"), verdicts)
    for number, configurations in enumerate(study.measurements, start=1):
        name = "Fronts" if len(study.measurements) == 1 else f"Fronts, measurement {number}"
        _fronts(page.section(name), configurations, colours, gallery)
    _volumes(page.section("Hypervolume"), study)
    _final_weights(page.section("Final weights"), summaries)
    curves = learning_curves(study, colours)
    if curves:
        page.section("Learning curves", "One line for each run.").charts(
            curves, "Epoch 0 is the start weights, where they were evaluated."
        )
    _runs(page.section("Runs"), study.runs, folder)
    if study.unfinished or problems:
        _left_out(page.section("What is missing"), study, problems)
    return page


def _colours(study: Study) -> dict[Configuration, int]:
    """Grey for what others are compared with; colours for the others, which grey is the last of."""
    colours: dict[Configuration, int] = {}
    guided = 0
    for configuration in study.configurations:
        colours[configuration] = 7 if configuration.is_baseline else guided % 7
        guided += not configuration.is_baseline
    return colours


def _answer(section: Section, verdicts: Sequence[Verdict]) -> None:
    if not verdicts:
        section.text("All runs are unguided baselines: there is nothing to compare.")
    for verdict in verdicts:
        configuration = verdict.configuration
        title = (
            f"{configuration.name} ({_weights(configuration)}{_counted(len(configuration.seeds), 'seed')})"
        )
        tone = {True: "good", False: "bad", None: "neutral"}
        section.callout(title, verdict.text, tone[verdict.helped])  # type: ignore[arg-type]
    section.text(
        "EPG is the share of a map's positive evidence inside the boxes, IoU its overlap with them, F1 the "
        "micro F1 of the classification. The checkpoint of each seed is chosen on val among all epochs and "
        "weights, then compared on test with the baseline of the same seed. Points are percentage points; sd "
        "is the standard deviation of the seeds' changes."
    )


def _weights(configuration: Configuration) -> str:
    if not any(run.guided for run in configuration.runs):
        return ""
    weights = configuration.weights
    return f"weight{'s' if len(weights) > 1 else ''} {', '.join(f'{weight:g}' for weight in weights)}; "


def _fronts(
    section: Section,
    configurations: Sequence[Configuration],
    colours: Mapping[Configuration, int],
    gallery: Gallery,
) -> None:
    section.text(
        "Each point is an epoch of a run. A front's epochs are beaten by no epoch of their configuration in "
        "F1, EPG and IoU on val at once; lines join those that no other beats in a chart's two metrics. "
        + ("Click a point to see its maps." if gallery.rows else "")
    )
    section.charts(
        front_charts(configurations, dict(colours), "val", gallery.rows),
        "Fronts on val, with the epochs that they beat. Stars: what the runs are compared with.",
    )
    for point in _shown_points(configurations, gallery):
        panel = section.panel(panel_name(point))
        panel.text(describe(point).replace("\n", "; "))
        panel.pictures(gallery.rows[point], gallery.headings[point])
    section.charts(
        front_charts(configurations, dict(colours), "test", gallery.rows),
        "The same fronts on test, where nothing was chosen.",
    )
    rows = [
        _front_row(configuration, point, gallery)
        for configuration in configurations
        for point in configuration.front
    ]
    columns = ["configuration", "run", "seed", "weight", "epoch"]
    columns += [f"{split} {name}" for split in ("val", "test") for name in ("F1", "EPG", "IoU")]
    section.table(columns, rows, "The checkpoints on the fronts (percent)")


def _shown_points(configurations: Sequence[Configuration], gallery: Gallery) -> list[Point]:
    """Return the points that have maps, first the one that a seed drew."""
    ordered = sorted(configurations, key=lambda one: one.is_baseline)
    fronts = [point for configuration in ordered for point in configuration.front]
    points = [point for point in fronts if point is gallery.first] + fronts
    points += [one.point for c in ordered for one in c.baselines if one is not None and one.point is not None]
    return [point for point in dict.fromkeys(points) if point in gallery.rows]


def _front_row(configuration: Configuration, point: Point, gallery: Gallery) -> list[Cell | str | float]:
    numbers = [_percent(value) for split in ("val", "test") for value in point.values(split)]
    epoch = Cell(str(point.epoch), point.epoch, shows=panel_name(point) if point in gallery.rows else "")
    weight = Cell(f"{point.run.weight:g}", point.run.weight)
    return [configuration.name, point.run.name, point.run.seed, weight, epoch, *numbers]


def _volumes(section: Section, study: Study) -> None:
    section.text(
        "The volume of (F1, EPG, IoU) on val that a front beats, above the reference point (0, 0, 0): 100 % "
        "would be a perfect classifier with perfect maps. More epochs, weights and seeds only add to it, so "
        "compare fronts of as many epochs. The change is against the front of the baselines' epochs."
    )
    rows: list[list[Value]] = []
    for configuration in study.configurations:
        own, change = volume_change(configuration)
        mean, spread = volume_per_seed(configuration)
        rows.append(
            [
                configuration.name,
                len(configuration.runs),
                len(configuration.points),
                len(configuration.front),
                _percent(own, 2),
                "" if change is None else _percent(change, 2, sign=True),
                _with_spread(mean, spread, 2),
            ]
        )
    section.table(
        ["configuration", "runs", "epochs", "on the front", "hypervolume (%)", "change", "front of one seed"],
        rows,
    )


def _final_weights(section: Section, summaries: Sequence[Summary]) -> None:
    section.text(
        "The last epoch of each run, without any choice: mean ± standard deviation over runs, percent. "
        "Further metrics are in summary.csv."
    )
    keys = [
        f"{split}/{name}"
        for split in ("val", "test")
        for name in _SHOWN
        if any(f"{split}/{name}" in summary.metrics for summary in summaries)
    ]
    rows = [
        [
            summary.configuration.name,
            Cell(f"{summary.weight:g}", summary.weight),
            len(summary.runs),
            *(_with_spread(*summary.metrics[key]) if key in summary.metrics else "" for key in keys),
        ]
        for summary in summaries
    ]
    names = [f"{key.partition('/')[0]} {METRIC_NAMES[key.partition('/')[2]]}" for key in keys]
    section.table(
        ["configuration", "weight", "runs", *(name.replace(" (micro)", "") for name in names)], rows
    )


def _runs(section: Section, runs: Sequence[Run], folder: Path) -> None:
    found = differences(runs)
    section.text(
        "Where the runs' configurations differ." if found else "The runs have the same configuration."
    )
    rows = []
    for number, run in enumerate(runs):
        picture = run.folder / "gallery" / "before_after.png"
        link = _link(picture, folder) if picture.is_file() else ""
        name = Cell(run.name, link=_link(run.folder, folder))
        rows.append(
            [
                name,
                *(_value(values[number]) for values in found.values()),
                Cell("before and after", link=link) if link else "",
                run.commit[:10] + ("-dirty" if run.commit.endswith("-dirty") else ""),
            ]
        )
    section.table(["run", *found, "pictures", "commit"], rows)
    section.text("The commands that started them:")
    commands = [f"# {run.name}\n{run.command or '# not started from the command line'}" for run in runs]
    section.code("\n\n".join(commands))


def _link(path: Path, folder: Path) -> str:
    """Return a path as a link from a page in a folder: a colon in a name makes no scheme of it."""
    link = os.path.relpath(path, folder)
    return f"./{link}" if ":" in link else link


def _left_out(section: Section, study: Study, problems: Sequence[str]) -> None:
    if study.unfinished:
        rows = [[str(run.folder), run.reason] for run in study.unfinished]
        section.table(["unfinished run", "what is missing"], rows, "These runs are in no front and no mean.")
    for problem in problems:
        section.text(problem)


def _value(text: str) -> Cell | str:
    try:
        return Cell(text, float(text))
    except ValueError:
        return text


def _percent(value: float, digits: int = 1, sign: bool = False) -> Cell:
    if value != value:
        return Cell("")
    number = f"{100 * value:{'+' if sign else ''}.{digits}f}".replace("-", "−")
    return Cell(number, value)


def _with_spread(mean: float, spread: float | None, digits: int = 1) -> Cell:
    text = f"{100 * mean:.{digits}f}" + ("" if spread is None else f" ± {100 * spread:.{digits}f}")
    return Cell(text, mean)


def _counted(count: int, what: str) -> str:
    return f"{count} {what if count == 1 else what + 's'}"
