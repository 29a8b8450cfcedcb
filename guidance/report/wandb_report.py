"""The report's tables and pictures on Weights & Biases."""

from collections.abc import Sequence
from pathlib import Path

import torch
import wandb

from guidance.figures import draw_front
from guidance.loggers.wandb_logger import wandb_logger
from guidance.report.front_charts import describe
from guidance.report.run import OBJECTIVES
from guidance.report.study import Study
from guidance.report.tables import Summary


def log_report(project: str, folder: Path, study: Study, summaries: Sequence[Summary]) -> None:
    """Log what the page shows; offline where there is no API key.

    Args:
        project: The project's name.
        folder: Where the report is; pictures of the fronts are written beside it.
        study: Of which the fronts are logged.
        summaries: Of the final weights.
    """
    logger = wandb_logger(project, str(folder), name="report")
    try:
        columns = ["configuration", "run", "seed", "weight", "epoch"]
        columns += [f"{split}/{name}" for split in ("val", "test") for name in OBJECTIVES]
        rows = [
            [
                configuration.name,
                point.run.name,
                point.run.seed,
                point.run.weight,
                point.epoch,
                *point.values("val"),
                *point.values("test"),
            ]
            for configuration in study.configurations
            for point in configuration.front
        ]
        logger.log_table("report/fronts", columns=columns, data=rows)
        keys = list(dict.fromkeys(key for summary in summaries for key in summary.metrics))
        columns = [
            "configuration",
            "weight",
            "runs",
            *(f"{key} {what}" for key in keys for what in ("mean", "sd")),
        ]
        rows = [
            [
                summary.configuration.name,
                summary.weight,
                len(summary.runs),
                *(value for key in keys for value in summary.metrics.get(key, (None, None))),
            ]
            for summary in summaries
        ]
        logger.log_table("report/final_weights", columns=columns, data=rows)
        logger.log_image("report/front", [str(path) for path in draw_fronts(folder, study)])
        logger.experiment.log(
            {"report/page": wandb.Html((folder / "report.html").read_text(encoding="utf-8"))}
        )
    finally:
        wandb.finish()


def draw_fronts(folder: Path, study: Study) -> list[Path]:
    """Draw each configuration's front on val as a PNG; return the files."""
    paths = []
    for number, configuration in enumerate(study.configurations):
        points = configuration.points
        known = [one for one in configuration.baselines if one is not None]
        values = [[one.metrics.get(f"val/{name}", float("nan")) for one in known] for name in OBJECTIVES]
        paths.append(folder / f"front_{number}.png")
        draw_front(
            paths[-1],
            torch.tensor([point.values() for point in points], dtype=torch.float64),
            torch.tensor([point in configuration.front for point in points]),
            [f"val/{name}" for name in OBJECTIVES],
            labels=[describe(point).splitlines()[0] for point in points],
            baseline=[sum(column) / len(column) for column in values] if known else None,
            title=configuration.name,
        )
    return paths
