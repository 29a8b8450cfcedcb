"""Keep the checkpoints that no other one beats in every metric."""

import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.trainer.states import TrainerFn
from pytorch_lightning.utilities import rank_zero_warn

from guidance.errors import InputError
from guidance.figures import draw_front
from guidance.files import going_on_without, write_json

Point = dict[str, Any]
"""``{"epoch", "global_step", "metrics": {name: float}}``, and ``"checkpoint"`` while it is on the front."""


@runtime_checkable
class _TableLogger(Protocol):
    """A logger that takes tables and pictures, as Lightning's ``WandbLogger`` does."""

    def log_table(self, key: str, columns: list[str], data: list[list[Any]]) -> None: ...

    def log_image(self, key: str, images: list[Any]) -> None: ...


class ParetoCheckpoint(Callback):
    """Save a checkpoint after each validation whose metrics no earlier one matches, and delete the beaten.

    Rao et al., ICCV 2023: the Pareto front over (F1, EPG, IoU) on validation data. Metrics are
    compared exactly. A point equal to one on the front is not added: the earlier one stays. A point with a
    nan (say, no annotated pair was validated) is left out with a warning.

    ``dirpath`` holds ``front.json``, ``front.png`` and one ``epoch=007.ckpt`` for each front point. At any
    moment, every checkpoint that ``front.json`` names is there, unless a resumed run is about to make it
    again: a new one is saved before ``front.json`` names it, and a beaten one is deleted after. All other
    ``epoch=*.ckpt`` in the folder are deleted, so it must belong to one run.

    To resume, pass Lightning a checkpoint of this run. An entry whose file is gone (deleted by the part of
    the run that is repeated) still counts until the next point is in; if that point does not beat it, it is
    dropped with a warning.

    Args:
        dirpath: Folder of the front, made if needed.
        metrics: At least two names under which metrics are logged at every validation, larger is better,
            fractions. The first is the x axis of the picture.

    Raises:
        InputError: If there are fewer than two metrics or one is named twice.
    """

    def __init__(
        self,
        dirpath: str | Path,
        metrics: tuple[str, ...] = ("val/f1_micro", "val/epg", "val/iou"),
    ) -> None:
        self.dirpath = Path(dirpath)
        self.metrics = tuple(metrics)
        if len(self.metrics) < 2 or len(set(self.metrics)) < len(self.metrics):
            raise InputError(f"a front needs at least two different metrics; got {list(self.metrics)}")
        self._front: list[Point] = []
        self._dominated: list[Point] = []

    @property
    def front(self) -> list[Point]:
        """The points on the front, oldest first: ``epoch``, ``global_step``, ``metrics``, ``checkpoint``."""
        return [{**point, "metrics": dict(point["metrics"])} for point in self._front]

    def state_dict(self) -> dict[str, Any]:
        """Return the points as plain data, which loads weights-only."""
        return {"metrics": list(self.metrics), "front": self.front, "dominated": list(self._dominated)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the points.

        Raises:
            InputError: If they were measured with other metrics, or name a file that is not in the folder.
        """
        if state_dict["metrics"] != list(self.metrics):
            raise InputError(
                f"the checkpoint's front is over {state_dict['metrics']}, not over {list(self.metrics)}"
            )
        for point in state_dict["front"]:
            name = str(point["checkpoint"])
            if not re.fullmatch(r"epoch=[\w=-]+\.ckpt", name):
                raise InputError(f"the checkpoint's front names {name[:200]!r}, no file of the front")
        self._front, self._dominated = list(state_dict["front"]), list(state_dict["dominated"])

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Refuse to mix a new run into the folder of another one.

        Raises:
            InputError: If the folder holds checkpoints of more than one epoch and nothing was resumed. (The
                only one may come from a run that died before it wrote anything to resume from.)
        """
        found = len(list(self.dirpath.glob("epoch=*.ckpt"))) if trainer.is_global_zero else 0
        if trainer.strategy.broadcast(found) > 1 and not self._front:
            raise InputError(
                f"'{self.dirpath}' holds {found} checkpoints of an earlier run, which would be deleted: "
                "resume that run, or choose another folder"
            )

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Decide on the checkpoint of this validation.

        Raises:
            InputError: If a metric was not logged.
        """
        if trainer.sanity_checking or trainer.state.fn != TrainerFn.FITTING:
            return
        point = trainer.strategy.broadcast(self._measure(trainer))
        missing = self._missing(trainer)
        if not all(math.isfinite(value) for value in point["metrics"].values()):
            rank_zero_warn(f"epoch {point['epoch']} cannot be on the front: {point['metrics']}")
            return
        beaten = [p for p in self._front if self._matches(point, p)]
        self._drop([p for p in missing if p not in beaten])
        on_front = not any(self._matches(p, point) for p in self._front)
        if on_front:
            self._front = [p for p in self._front if p not in beaten]
            self._dominated += [{k: v for k, v in p.items() if k != "checkpoint"} for p in beaten]
            self._front.append({**point, "checkpoint": self._name(point)})
            # Every rank saves; the point is already in this callback's part of the checkpoint.
            trainer.save_checkpoint(self.dirpath / self._front[-1]["checkpoint"])
        else:
            self._dominated.append(point)
        if trainer.is_global_zero:
            self._publish()

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Make files and front agree, and hand the front to every logger that takes tables and pictures."""
        self._drop(self._missing(trainer))
        if not trainer.is_global_zero or not (self._front or self._dominated):
            return
        self._publish()
        table = [[p["epoch"], p["global_step"], *p["metrics"].values(), p["checkpoint"]] for p in self._front]
        picture = self.dirpath / "front.png"
        for logger in trainer.loggers:
            if isinstance(logger, _TableLogger):
                columns = ["epoch", "global_step", *self.metrics, "checkpoint"]
                logger.log_table(key="pareto/points", columns=columns, data=table)
                if picture.is_file():
                    logger.log_image(key="pareto/front", images=[str(picture)])

    def add_test_metrics(self, trainer: Trainer, metrics: Mapping[str, Mapping[str, float]]) -> None:
        """Write into ``front.json`` what the front's checkpoints score on the test split.

        Args:
            trainer: Only its rank 0 writes.
            metrics: For each checkpoint's name, flat metrics such as ``test/epg``.
        """
        for point in self._front:
            point["test"] = dict(metrics[point["checkpoint"]])
        if trainer.is_global_zero:
            self._publish()

    def _measure(self, trainer: Trainer) -> Point:
        absent = [name for name in self.metrics if name not in trainer.callback_metrics]
        if absent:
            logged = ", ".join(sorted(trainer.callback_metrics)) or "none"
            raise InputError(f"ParetoCheckpoint: no metric {', '.join(absent)} was logged. Logged: {logged}")
        values = {name: float(trainer.callback_metrics[name]) for name in self.metrics}
        return {"epoch": trainer.current_epoch, "global_step": trainer.global_step, "metrics": values}

    def _matches(self, one: Point, other: Point) -> bool:
        """Whether ``one`` is at least as good as ``other`` in every metric."""
        return all(one["metrics"][name] >= other["metrics"][name] for name in self.metrics)

    def _name(self, point: Point) -> str:
        """Name the point's file; a second validation within the epoch adds its step."""
        name = f"epoch={point['epoch']:03d}"
        taken = any(p["epoch"] == point["epoch"] for p in self._front + self._dominated)
        return f"{name}-step={point['global_step']}.ckpt" if taken else f"{name}.ckpt"

    def _missing(self, trainer: Trainer) -> list[Point]:
        """Return the front points whose file is not there, as rank 0 sees it."""
        gone = [p["checkpoint"] for p in self._front if not (self.dirpath / p["checkpoint"]).is_file()]
        gone = trainer.strategy.broadcast(gone)
        return [p for p in self._front if p["checkpoint"] in gone]

    def _drop(self, points: list[Point]) -> None:
        for point in points:
            rank_zero_warn(f"'{self.dirpath / point['checkpoint']}' is gone: dropped from the Pareto front")
        self._front = [p for p in self._front if p not in points]

    def _publish(self) -> None:
        """Write ``front.json``, delete every checkpoint that it does not name, draw the picture."""
        write_json(
            self.dirpath / "front.json",
            {"metrics": list(self.metrics), "front": self._front, "dominated": self._dominated},
        )
        named = {point["checkpoint"] for point in self._front}
        for file in [*self.dirpath.glob("epoch=*.ckpt"), *self.dirpath.glob("epoch=*.ckpt.tmp")]:
            if file.name not in named:
                file.unlink()
        points = self._front + self._dominated
        with going_on_without("the front's picture"):
            draw_front(
                self.dirpath / "front.png",
                torch.tensor(
                    [[p["metrics"][name] for name in self.metrics] for p in points], dtype=torch.float64
                ),
                torch.arange(len(points)) < len(self._front),
                self.metrics,
                labels=[str(point["epoch"]) for point in points],
                title="Pareto front on validation data, with epochs",
            )
