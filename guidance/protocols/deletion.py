"""Deletion and insertion: how a network's confidence answers to the pixels that a map calls important."""

import logging
from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.table import Table
from torch import Tensor

from guidance.attribution.no_evidence import NoEvidence
from guidance.data import Batch
from guidance.figures.curves import CurveLine, CurvePanel, draw_curves
from guidance.metrics.removal_curves import area_under, removal_ranks
from guidance.protocols.attributors import NamedAttributor
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
from guidance.protocols.removal import blurred, confidence_curves
from guidance.protocols.statistics import mean_and_error, write_csv
from guidance.protocols.unit import Unit

log = logging.getLogger(__name__)

CURVES = {
    "most_first": "most important deleted first (lower is better)",
    "least_first": "least important deleted first (higher is better)",
    "insertion": "most important inserted first (higher is better)",
}
"""The curves, and what a figure says of them."""


class Deletion(PairProtocol):
    """Deletes the pixels of an image in the order of a map, and inserts them; watches the class probability.

    * ``most_first`` deletes the most important pixels first (deletion in Petsiuk et al., "RISE", BMVC 2018):
      the probability should fall at once.
    * ``least_first`` deletes the least important first (Srinivas and Fleuret, NeurIPS 2019; the CoDA and
      B-cos papers): it should stay.
    * ``insertion`` starts from the blurred image and puts back the most important pixels first (RISE).

    What is deleted becomes 0 in what the network reads after the encoding: no colour at all for a B-cos
    network, whose pixels have six channels; the mean colour for a network that normalises. ``gap`` is the
    area under ``least_first`` minus that under ``most_first``: 0 for an order that knows nothing, whatever
    the network makes of images with holes. The row ``random`` is a map without evidence, which removes pixels
    in a random order.

    Costs ``3 * (steps + 1)`` forward passes for each map.

    Args:
        images: How many images, each of exactly one class.
        steps: Of each curve.
        rule: See :class:`guidance.protocols.candidates.SelectionRule`; so are the next three.
        labels: What the label of an image is.
        min_confidence: The least confidence.
        probability: What the confidence is, before and after deletion.
        chunk: The most images in one forward pass.
        **options: Those of :class:`PairProtocol`.

    Raises:
        InputError: If an option is wrong.
    """

    title = "Deletion"

    def __init__(
        self,
        images: int = 100,
        steps: int = 50,
        rule: Rule = "most_confident",
        labels: Labels = "annotated",
        min_confidence: float | None = None,
        probability: Probability | None = None,
        chunk: int = 128,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        check_at_least(images=(images, 1), steps=(steps, 1), chunk=(chunk, 1))
        self.images = images
        self.steps = steps
        self.rule = SelectionRule(rule, labels, min_confidence, probability)
        self.chunk = chunk

    def select(self, evaluation: Evaluation) -> Pairs:
        """Return the images that all models are sure of."""
        pairs, self.rule = confident_pairs(self.images, self.rule, evaluation)
        return pairs

    def controls(self) -> Sequence[NamedAttributor]:
        """Return the random order."""
        return [NamedAttributor("random", "", NoEvidence(), {"no_evidence": True})]

    def identity(self) -> list[Any]:
        """Return what decides the curves beside images, models and attributions."""
        return [*super().identity(), self.steps, self.rule.probability]

    def measure(self, unit: Unit, batch: Batch, classes: Tensor, evaluation: Evaluation) -> Measured:
        """Return each curve at each layer, [N, steps + 1]."""
        images = rgb(batch)
        classifier = unit.compared.classifier
        blur = blurred(classifier, images)
        measured = {}
        for layer, maps in explain(unit, images, classes).items():
            size = (images.shape[-2], images.shape[-1])
            most, least = (removal_ranks(maps, size, first, evaluation.seed) for first in (True, False))
            # What is inserted last is what is still blurred first.
            last_inserted = size[0] * size[1] - 1 - most
            for curve, ranks, replacement in (
                ("most_first", most, None),
                ("least_first", least, None),
                ("insertion", last_inserted, blur),
            ):
                values = confidence_curves(
                    classifier, images, classes, ranks, replacement, self.steps,
                    self.rule.probability or "sigmoid", self.chunk,
                )  # fmt: skip
                measured[f"{curve}@{layer}"] = values.flip(1) if curve == "insertion" else values
        return measured

    def report(self, units: Sequence[Unit], pairs: Pairs, evaluation: Evaluation) -> dict[str, Any]:
        """Write ``curves.csv``, ``scores.csv`` (areas of each image), ``curves.png``; print a table."""
        fractions = [step / self.steps for step in range(self.steps + 1)]
        points: list[dict[str, Any]] = []
        areas: list[dict[str, Any]] = []
        summaries: list[dict[str, Any]] = []
        lines: dict[tuple[str, str], list[CurveLine]] = {}
        for unit in units:
            of_unit = collected(unit)
            for layer in unit.named.attributor.layers:
                identity = unit.identity | {"layer": layer}
                own = {curve: of_unit[f"{curve}@{layer}"] for curve in CURVES}
                for curve, values in own.items():
                    means, errors = (part.tolist() for part in mean_and_error(values))
                    points += [
                        identity | {"curve": curve, "fraction": x, "mean": mean, "standard_error": error}
                        for x, mean, error in zip(fractions, means, errors, strict=True)
                    ]
                    control = unit.named.method == "random"
                    label = "random order" if control else f"{unit.named.label} at {layer}"
                    lines.setdefault((unit.compared.name, curve), []).append(
                        CurveLine(label, [100 * m for m in means], [100 * e for e in errors], control=control)
                    )
                under = {curve: area_under(values) for curve, values in own.items()}
                under["gap"] = under["least_first"] - under["most_first"]
                for number, (image, of_class) in enumerate(
                    zip(pairs.indices.tolist(), pairs.classes.tolist(), strict=True)
                ):
                    row = identity | {"image": image, "class": of_class}
                    areas.append(row | {name: float(area[number]) for name, area in under.items()})
                summary: dict[str, Any] = identity | {"images": len(pairs)}
                for name, area in under.items():
                    mean, error = mean_and_error(area)
                    summary |= {name: float(mean), f"{name}_error": float(error)}
                summaries.append(summary)
        folder = evaluation.output_dir
        write_csv(folder / "curves.csv", points)
        write_csv(folder / "scores.csv", areas)
        panels = [
            CurvePanel(model, CURVES[curve].replace(" (", "\n("), own)
            for (model, curve), own in lines.items()
        ]
        draw_curves(
            folder / "curves.png", panels, [100 * x for x in fractions],
            "pixels deleted or inserted (%)", "class probability (%)", f"Deletion, {len(pairs)} images",
        )  # fmt: skip
        Console().print(_table(summaries, len(pairs)))
        for name in ("curves.csv", "scores.csv", "curves.png"):
            log.info("written: %s", folder / name)
        return {"protocol": self.title, "steps": self.steps, "scores": summaries}


def _table(summaries: Sequence[dict[str, Any]], images: int) -> Table:
    """Return the mean areas, one line per model, attribution and layer."""
    table = Table(title=f"Deletion: mean area under the curve in percent, {images} images")
    for name in ("model", "attribution", "layer"):
        table.add_column(name, overflow="fold")
    headings = {"most_first": "most first\n(low)", "least_first": "least first\n(high)",
                "insertion": "insertion\n(high)", "gap": "gap ± its\nerror (high)"}  # fmt: skip
    for heading in headings.values():
        table.add_column(heading, justify="right", no_wrap=True)
    for row in summaries:
        table.add_row(
            row["model"],
            f"{row['method']} {row['setting']}".strip(),
            row["layer"],
            *(f"{100 * row[name]:.1f}" for name in headings if name != "gap"),
            f"{100 * row['gap']:.1f} ± {100 * row['gap_error']:.1f}",
        )
    return table
