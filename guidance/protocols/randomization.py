"""Randomisation: whether a map changes when the network forgets what it has learned."""

import copy
import logging
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, get_args

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor
from torchmetrics.functional.image import structural_similarity_index_measure

from guidance.data import Batch
from guidance.errors import unknown_name
from guidance.figures.curves import CurveLine, CurvePanel, draw_curves
from guidance.maps import divide_by_maximum, upsample
from guidance.metrics.rank_correlation import rank_correlation
from guidance.models.randomized import Cascade, Stage, cascade_stages, randomise
from guidance.protocols.candidates import Labels, Probability, Rule, SelectionRule
from guidance.protocols.pair_protocol import (
    Measured,
    PairProtocol,
    check_at_least,
    collected,
    explain,
    rgb,
)
from guidance.protocols.pairs import Pairs, confident_pairs
from guidance.protocols.protocol import Evaluation
from guidance.protocols.statistics import mean_and_error, write_csv
from guidance.protocols.unit import Unit

log = logging.getLogger(__name__)

SIMILARITIES = {
    "rank_correlation": "rank correlation",
    "rank_correlation_absolute": "rank correlation\nof absolute values",
    "ssim": "SSIM",
}
"""How maps are compared, and what a figure says of it."""


class Randomization(PairProtocol):
    """Randomises a network from the top down and compares its maps with those of the trained one.

    Adebayo et al., "Sanity Checks for Saliency Maps", NeurIPS 2018, cascading randomisation: a map that stays
    as it was does not depend on what the network has learned. Each tensor's entries are permuted, see
    :func:`guidance.models.randomized.randomise`. Similarities are Spearman's rank correlation of the signed
    maps and of their absolute values, and SSIM of the maps divided by their largest absolute value, at the
    size of the image.

    The level to compare with is the similarity of the trained network's map with that of another image (the
    next one in its batch, for the class of that image): what maps of a method have in common anyway. A map
    that is no more alike than this after randomisation has forgotten all.

    Args:
        images: How many images, each of exactly one class.
        cascade: ``blocks`` randomises what lies between the named layers at once; ``layers`` one module after
            the other.
        rule: See :class:`guidance.protocols.candidates.SelectionRule`; so are the next three.
        labels: What the label of an image is.
        min_confidence: The least confidence.
        probability: What the confidence is.
        **options: Those of :class:`PairProtocol`.

    Raises:
        InputError: If an option is wrong.
    """

    title = "Randomization"

    def __init__(
        self,
        images: int = 100,
        cascade: Cascade = "blocks",
        rule: Rule = "most_confident",
        labels: Labels = "annotated",
        min_confidence: float | None = None,
        probability: Probability | None = None,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        check_at_least(images=(images, 1))
        if cascade not in get_args(Cascade):
            raise unknown_name("protocol.cascade", str(cascade), get_args(Cascade))
        self.images = images
        self.cascade: Cascade = cascade
        self.rule = SelectionRule(rule, labels, min_confidence, probability)

    def select(self, evaluation: Evaluation) -> Pairs:
        """Return the images that all models are sure of."""
        return confident_pairs(self.images, self.rule, evaluation)[0]

    def identity(self) -> list[Any]:
        """Return what decides the similarities beside images, models and attributions."""
        return [*super().identity(), self.cascade, self.batch_size]

    def measure(self, unit: Unit, batch: Batch, classes: Tensor, evaluation: Evaluation) -> Measured:
        """Return each similarity at each layer, [N, stages], and that with another image, [N]."""
        images = rgb(batch)
        size = (images.shape[-2], images.shape[-1])
        trained = explain(unit, images, classes)
        measured: dict[str, Tensor] = {}
        for layer, maps in trained.items():
            for name, values in _similarities(maps, maps.roll(-1, dims=0), size).items():
                # The only image of a batch has no other to be compared with.
                measured[f"{name}_of_others@{layer}"] = values if len(maps) > 1 else values * torch.nan
        randomised = copy.deepcopy(unit.compared.classifier)
        changed = replace(unit, model=randomised)
        found: dict[str, list[Tensor]] = {}
        for stage in self._stages(unit, evaluation):
            randomise(randomised, stage.modules, evaluation.seed)
            for layer, maps in explain(changed, images, classes).items():
                for name, values in _similarities(trained[layer], maps, size).items():
                    found.setdefault(f"{name}@{layer}", []).append(values)
        return measured | {name: torch.stack(values, dim=1) for name, values in found.items()}

    def _stages(self, unit: Unit, evaluation: Evaluation) -> list[Stage]:
        size = evaluation.datamodule.image_size
        image = torch.full((1, 3, size, size), 0.5, device=evaluation.device)
        return cascade_stages(unit.compared.classifier, image, self.cascade)

    def report(self, units: Sequence[Unit], pairs: Pairs, evaluation: Evaluation) -> dict[str, Any]:
        """Write ``scores.csv`` and a figure for each model's cascade; print a table."""
        rows: list[dict[str, Any]] = []
        levels: list[dict[str, Any]] = []
        lines: dict[str, dict[str, list[CurveLine]]] = {}
        stages_of: dict[str, list[str]] = {}
        for unit in units:
            model = unit.compared.name
            if model not in stages_of:
                stages_of[model] = ["trained", *(stage.name for stage in self._stages(unit, evaluation))]
            of_unit = collected(unit)
            for layer in unit.named.attributor.layers:
                identity = unit.identity | {"layer": layer}
                for name in SIMILARITIES:
                    values = of_unit[f"{name}@{layer}"]
                    others = of_unit[f"{name}_of_others@{layer}"]
                    level = float(others.nanmean())
                    mean, error = (part.tolist() for part in mean_and_error(values))
                    means, errors = [1.0, *mean], [0.0, *error]
                    rows += [
                        identity | {"similarity": name, "stage": stage, "mean": m, "standard_error": e}
                        for stage, m, e in zip(stages_of[model], means, errors, strict=True)
                    ]
                    levels.append(identity | {"similarity": name, "of_others": level, "end": means[-1]})
                    lines.setdefault(model, {}).setdefault(name, []).append(
                        CurveLine(f"{unit.named.label} at {layer}", means, errors, level)
                    )
        folder = evaluation.output_dir
        level_of = {_key(row): row["of_others"] for row in levels}
        write_csv(folder / "scores.csv", [row | {"of_other_images": level_of[_key(row)]} for row in rows])
        # Models whose stages have the same names share a figure.
        cascades = list(dict.fromkeys(tuple(stages) for stages in stages_of.values()))
        pictures = []
        for number, stages in enumerate(cascades):
            name = "randomization.png" if len(cascades) == 1 else f"randomization_{number}.png"
            panels = [
                CurvePanel(model, SIMILARITIES[key], own)
                for model, of_model in lines.items()
                if tuple(stages_of[model]) == stages
                for key, own in of_model.items()
            ]
            draw_curves(
                folder / name, panels, stages, "randomised down to", "similarity",
                f"Randomization, {len(pairs)} images (dotted: maps of other images)",
            )  # fmt: skip
            pictures.append(name)
        Console().print(_table(levels, len(pairs)))
        for name in ("scores.csv", *pictures):
            log.info("written: %s", folder / name)
        return {"protocol": self.title, "images": len(pairs), "scores": levels, "stages": stages_of}


def _similarities(first: Tensor, second: Tensor, size: tuple[int, int]) -> dict[str, Tensor]:
    """Compare maps [N, h, w], each with its counterpart: [N] of each similarity."""
    one, other = (divide_by_maximum(upsample(maps, size))[:, None] for maps in (first, second))
    ssim = structural_similarity_index_measure(one, other, reduction="none", data_range=2.0)
    return {
        "rank_correlation": rank_correlation(first, second),
        "rank_correlation_absolute": rank_correlation(first.abs(), second.abs()),
        "ssim": torch.as_tensor(ssim).reshape(len(first)),
    }


def _key(row: dict[str, Any]) -> tuple[str, ...]:
    return tuple(row[name] for name in ("model", "method", "setting", "layer", "similarity"))


def _table(levels: Sequence[dict[str, Any]], images: int) -> Table:
    """Return how alike maps are when all is randomised, and those of other images."""
    table = Table(title=f"All layers randomised: similarity with the trained network's maps, {images} images")
    for name in ("model", "attribution", "layer"):
        table.add_column(name, overflow="fold")
    for name in SIMILARITIES:
        heading = SIMILARITIES[name].replace("\nof absolute values", " (abs.)")
        table.add_column(f"{heading}\n(other images)", justify="right")
    merged: dict[tuple[str, ...], dict[str, dict[str, Any]]] = {}
    for row in levels:
        attribution = f"{row['method']} {row['setting']}".strip()
        merged.setdefault((row["model"], attribution, row["layer"]), {})[row["similarity"]] = row
    for key, of_key in merged.items():
        cells = (f"{of_key[name]['end']:.2f} ({of_key[name]['of_others']:.2f})" for name in SIMILARITIES)
        table.add_row(*key, *cells)
    return table
