"""Pointing: whether maps point at the objects of their class, by the size of the objects."""

import logging
from collections.abc import Sequence
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor

from guidance.data import Batch
from guidance.errors import InputError
from guidance.figures.bars import Bar, draw_bars
from guidance.maps import energy_in_mask
from guidance.metrics.object_size import SIZES, pair_sizes
from guidance.metrics.on_object_energy import on_object_energy
from guidance.metrics.pointing_game import hits_by_chance, pointing_game_hits
from guidance.protocols.pair_protocol import Measured, PairProtocol, collected, explain, rgb
from guidance.protocols.pairs import Pairs, annotated_pairs
from guidance.protocols.protocol import Evaluation
from guidance.protocols.statistics import mean_and_error, write_csv
from guidance.protocols.unit import Unit

log = logging.getLogger(__name__)

METRICS = {"pointing_game": "pointing game", "epg": "EPG", "on_object_epg": "on-object EPG"}
"""What is measured, and its name in figures."""


class Pointing(PairProtocol):
    """Scores the maps of every (image, present class) pair with a box, and tells sizes of objects apart.

    ``pointing_game`` is the share of maps whose maximum lies in a box of the class or near it (Zhang et al.,
    ECCV 2016), ``epg`` the energy pointing game, ``on_object_epg`` the share of the evidence in the boxes
    that lies on the objects, where there are segmentation masks. The paper's mean over classes is reported
    beside that over pairs. Sizes are those of COCO relative to the image, see
    :data:`guidance.metrics.object_size.SMALL`; pairs whose boxes are of several sizes are ``mixed``.

    Chance is the score of a map that knows nothing: of the pointing game the share of the image that is a
    hit, of EPG the share that lies in the boxes, of on-object EPG the share of these that is object.

    Args:
        tolerance: Pixels of the squashed image that the maximum may lie beside the box; None is the paper's
            15 for images of 224 pixels, and in proportion for others.
        **options: Those of :class:`PairProtocol`.

    Raises:
        InputError: If an option is wrong.
    """

    title = "Pointing"
    with_masks = True

    def __init__(self, tolerance: float | None = None, **options: Any) -> None:
        super().__init__(**options)
        if tolerance is not None and (not isinstance(tolerance, int | float) or not tolerance >= 0):
            raise InputError(f"protocol.tolerance must be a number of pixels, at least 0; got {tolerance}")
        self.tolerance = tolerance

    def select(self, evaluation: Evaluation) -> Pairs:
        """Return every image with every present class that has a box."""
        if self.tolerance is None:
            self.tolerance = 15 * evaluation.datamodule.image_size / 224
        if any(model.own_head for model in evaluation.models):
            raise InputError("protocol=pointing explains the classes of the data: name a checkpoint")
        return annotated_pairs(evaluation)

    def identity(self) -> list[Any]:
        """Return what decides the scores beside images, models and attributions."""
        return [*super().identity(), self.tolerance]

    def measure(self, unit: Unit, batch: Batch, classes: Tensor, evaluation: Evaluation) -> Measured:
        """Return the scores of each pair at each layer, and its size and chance levels, [N] each."""
        here = torch.arange(len(batch), device=classes.device)
        masks = batch.masks(here, classes)
        known = batch.has_masks()[here, classes] & ~batch.outside
        objects = batch.object_masks(here, classes)
        tolerance = self.tolerance or 0.0
        inside = (masks & objects).flatten(1).sum(dim=1) / masks.flatten(1).sum(dim=1).double()
        measured: dict[str, Tensor] = {
            "size": pair_sizes(batch, here, classes),
            "chance_epg": masks.flatten(1).double().mean(dim=1),
            "chance_pointing_game": hits_by_chance(masks, tolerance),
            "chance_on_object_epg": torch.where(known, inside, torch.nan),
        }
        for layer, maps in explain(unit, rgb(batch), classes).items():
            measured[f"pointing_game@{layer}"] = pointing_game_hits(maps, masks, tolerance)
            measured[f"epg@{layer}"] = energy_in_mask(maps, masks)
            on_object = on_object_energy(maps, masks, objects)
            measured[f"on_object_epg@{layer}"] = torch.where(known, on_object, torch.nan)
        return measured

    def report(self, units: Sequence[Unit], pairs: Pairs, evaluation: Evaluation) -> dict[str, Any]:
        """Write ``scores.csv``, ``pairs.csv`` (of each pair) and ``pointing.png``; print a table."""
        rows: list[dict[str, Any]] = []
        each: list[dict[str, Any]] = []
        bars: list[Bar] = []
        for unit in units:
            of_unit = {name: values[:, 0] for name, values in collected(unit).items()}
            sizes = of_unit["size"].long()
            groups = {"all": torch.ones_like(sizes, dtype=torch.bool)}
            groups |= {name: sizes == number for number, name in enumerate(SIZES)}
            for layer in unit.named.attributor.layers:
                identity = unit.identity | {"layer": layer}
                for metric in METRICS:
                    values, chance = of_unit[f"{metric}@{layer}"], of_unit[f"chance_{metric}"]
                    for group, members in groups.items():
                        row = _summary(values[members], chance[members])
                        if row["pairs"] == 0:
                            continue
                        classes = _class_mean(values[members], pairs.classes[members])
                        rows.append(
                            identity | {"metric": metric, "size": group} | row | {"class_mean": classes}
                        )
                        bars.append(
                            Bar(unit.compared.name, METRICS[metric], f"{unit.named.label} at {layer}", group,
                                row["mean"], row["standard_error"], row["chance"])
                        )  # fmt: skip
                names = [SIZES[number] for number in sizes.tolist()]
                for number, (image, of_class) in enumerate(
                    zip(pairs.indices.tolist(), pairs.classes.tolist(), strict=True)
                ):
                    pair = {"image": image, "class": of_class, "size": names[number]}
                    scores = {metric: float(of_unit[f"{metric}@{layer}"][number]) for metric in METRICS}
                    each.append(identity | pair | scores)
        folder = evaluation.output_dir
        write_csv(folder / "scores.csv", rows)
        write_csv(folder / "pairs.csv", each)
        draw_bars(folder / "pointing.png", bars, f"Pointing, {len(pairs)} (image, class) pairs")
        for metric in METRICS:
            if any(row["metric"] == metric for row in rows):
                Console().print(_table(rows, metric))
        for name in ("scores.csv", "pairs.csv", "pointing.png"):
            log.info("written: %s", folder / name)
        return {"protocol": self.title, "tolerance": self.tolerance, "scores": rows}


def _summary(values: Tensor, chance: Tensor) -> dict[str, Any]:
    """Return number of pairs, mean, standard error and chance level; nan is left out."""
    known = values[~values.isnan()]
    if not len(known):
        return {"pairs": 0, "mean": torch.nan, "standard_error": torch.nan, "chance": torch.nan}
    mean, error = mean_and_error(known)
    return {
        "pairs": len(known),
        "mean": float(mean),
        "standard_error": float(error),
        "chance": float(chance.nanmean()),
    }


def _class_mean(values: Tensor, classes: Tensor) -> float:
    """Return the mean over classes of the mean over each class's pairs; nan is left out."""
    known = ~values.isnan()
    count = int(classes.max()) + 1
    sums = torch.zeros(count, dtype=torch.float64).index_add(0, classes[known], values[known])
    counts = torch.bincount(classes[known], minlength=count)
    return float((sums / counts)[counts > 0].mean())


def _table(rows: Sequence[dict[str, Any]], metric: str) -> Table:
    """Return a metric's mean scores by size, one line per model, attribution and layer."""
    table = Table(title=f"{METRICS[metric]}: mean score in percent (chance)")
    for name in ("model", "attribution", "layer"):
        table.add_column(name, overflow="fold")
    of_metric = [row for row in rows if row["metric"] == metric]
    pairs = {row["size"]: row["pairs"] for row in of_metric}
    groups = [group for group in ("all", *SIZES) if group in pairs]
    for group in groups:
        table.add_column(f"{group}\nn = {pairs[group]}", justify="right", no_wrap=True)
    merged: dict[tuple[str, ...], dict[str, str]] = {}
    for row in of_metric:
        line = (row["model"], f"{row['method']} {row['setting']}".strip(), row["layer"])
        merged.setdefault(line, {})[row["size"]] = f"{100 * row['mean']:.1f} ({100 * row['chance']:.0f})"
    for key, cells in merged.items():
        table.add_row(*key, *(cells.get(group, "") for group in groups))
    return table
