"""What GridPG, DiFull and DiPart share: grids, maps of their cells, scores that outlive the process."""

import logging
from abc import abstractmethod
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

from guidance.attribution import Attributor, attribute_pairs
from guidance.data import Batch
from guidance.errors import InputError, unknown_name
from guidance.metrics.cell_shares import cell_shares
from guidance.models import Classifier
from guidance.progress import progress_over
from guidance.protocols.aggregates import KeptMaps, draw_all_aggregates
from guidance.protocols.attributors import Entry, read_attributors
from guidance.protocols.candidates import Labels, Probability, Rule, SelectionRule
from guidance.protocols.cells import to_grids
from guidance.protocols.choosing import choose_grids, read_grids
from guidance.protocols.manifest import GridManifest
from guidance.protocols.map_file import MapFile
from guidance.protocols.protocol import Evaluation, Protocol
from guidance.protocols.report import Scored, report
from guidance.protocols.score_file import Chunk
from guidance.protocols.unit import Fit, Unit, cost_of, find_fits, make_units

log = logging.getLogger(__name__)

ScoredCells = Literal["all", "corners"]


class GridProtocol(Protocol):
    """Scores maps of grids of n x n images by the share of their evidence in the cell they explain.

    Every attribution is taken at the same layers (ML-Att in Rao et al., CVPR 2022), several of them from one
    forward pass where the method permits. An attribution that does not fit a model is left out for it.

    Args:
        attributors: What is compared, see :func:`guidance.protocols.attributors.read_attributors`.
        layers: Where all maps are taken; None is each method's own layer.
        n: Cells along each side.
        grids: How many grids are drawn.
        rule: See :class:`guidance.protocols.candidates.SelectionRule`; so are the next three.
        labels: What the label of an image is.
        min_confidence: The least confidence.
        probability: What the confidence is.
        manifest: Grids of an earlier evaluation to use instead; None draws grids.
        cells: ``all``, or ``corners``: the top left and the bottom right one.
        batch_size: Grids of a forward pass.
        aggregate: Positions along each side of a cell at which the maps of the first scored cell are kept,
            for AggAtt; 0 keeps none and draws no such figure.

    Raises:
        InputError: If an option is wrong.
    """

    def __init__(
        self,
        attributors: Sequence[Entry],
        layers: Sequence[str] | None = None,
        n: int = 2,
        grids: int = 100,
        rule: Rule = "confident",
        labels: Labels = "annotated",
        min_confidence: float | None = None,
        probability: Probability | None = None,
        manifest: str | None = None,
        cells: ScoredCells = "all",
        batch_size: int = 8,
        aggregate: int = 32,
    ) -> None:
        least_values = (
            ("n", n, 2),
            ("grids", grids, 1),
            ("batch_size", batch_size, 1),
            ("aggregate", aggregate, 0),
        )
        for name, value, least in least_values:
            if not isinstance(value, int) or value < least:
                raise InputError(f"protocol.{name} must be an integer, at least {least}; got {value}")
        if cells not in get_args(ScoredCells):
            raise unknown_name("protocol.cells", str(cells), get_args(ScoredCells))
        self.rule = SelectionRule(rule, labels, min_confidence, probability)
        self.attributors = read_attributors(attributors, layers)
        self.n = n
        self.count = grids
        self.manifest = None if manifest is None else Path(manifest)
        self.cells = list(range(n * n)) if cells == "all" else [0, n * n - 1]
        self.batch_size = batch_size
        self.aggregate = aggregate

    # What the three protocols differ in -----------------------------------------------------------------

    title: str

    @abstractmethod
    def model_for(self, classifier: Classifier, layers: Sequence[str], image_size: int) -> nn.Module:
        """Return the network from grids [N, 3, n * H, n * W] to logits, whose layers are explained.

        Raises:
            InputError: If the classifier cannot read grids in this way.
        """

    @abstractmethod
    def targets(self, labels: Tensor, num_classes: int) -> Tensor:
        """Return which logit stands for the label of each cell, int64 [G, n * n] like the labels."""

    def identity(self) -> list[Any]:
        """Return what decides the scores beside grids, models and attributions."""
        return [type(self).__name__, self.cells]

    # What other protocols may use -----------------------------------------------------------------------

    def choose(self, evaluation: Evaluation) -> tuple[GridManifest, Tensor]:
        """Return the grids, and the indices of their images in the split, int64 [G, n * n]."""
        if self.manifest is not None:
            return read_grids(self.manifest, self.n, self.rule.labels, evaluation)
        return choose_grids(self.n, self.count, self.rule, evaluation)

    def load(self, evaluation: Evaluation, indices: Tensor) -> Iterator[Tensor]:
        """Yield the grids of images [G, n * n] as pictures, ``batch_size`` at a time.

        Returns:
            RGB in [0, 1], float32 [N, 3, n * S, n * S] on the device.
        """
        images = self.batch_size * self.n * self.n
        loader = evaluation.datamodule.chosen_loader(evaluation.split, indices.flatten().tolist(), images)
        batch: Batch
        for batch in loader:
            yield to_grids(batch.images.to(evaluation.device).float() / 255, self.n)

    def explain(
        self, model: nn.Module, attributor: Attributor, grids: Tensor, targets: Tensor, cells: Sequence[int]
    ) -> dict[str, Tensor]:
        """Explain the logits of some cells of every grid.

        Args:
            model: Of :meth:`model_for`.
            attributor: Makes the maps.
            grids: [N, 3, n * S, n * S].
            targets: Of :meth:`targets`, [N, n * n].
            cells: C of them.

        Returns:
            Signed maps of whole grids, [N, C, h, w] of each layer.
        """
        pair_grids = torch.arange(len(grids), device=grids.device).repeat_interleave(len(cells))
        pair_targets = targets[:, cells].flatten().to(grids.device)
        _, maps = attribute_pairs(attributor, model, grids, pair_grids, pair_targets)
        return {layer: of_pairs.unflatten(0, (len(grids), -1)) for layer, of_pairs in maps.items()}

    # The evaluation -------------------------------------------------------------------------------------

    def run(self, evaluation: Evaluation) -> dict[str, Any]:
        """Draw or read the grids, score all attributions of all models on them, and report."""
        size = evaluation.datamodule.image_size
        fits = find_fits(
            evaluation,
            self.attributors,
            lambda classifier, layers: self.model_for(classifier, layers, size),
        )
        manifest, indices = self.choose(evaluation)
        manifest.write(evaluation.output_dir / "manifest.json")
        units = self._units(evaluation, fits, manifest)
        labels = manifest.target_classes()
        waiting = {unit: [g for g in range(len(labels)) if g not in unit.file.done] for unit in units}
        chunks = sum(-(-len(grids) // self.batch_size) for grids in waiting.values())
        with progress_over(
            self._work(evaluation, waiting, indices), f"{self.title}: explaining", total=chunks
        ) as work:
            for unit, numbers, grids in work:
                unit.file.append(self._score(evaluation, unit, numbers, grids, labels[numbers]))
        scored = [Scored(unit.compared.name, unit.named, unit.file) for unit in units]
        if self.aggregate:
            self._draw_aggregates(units, evaluation)
        return report(self.title, self.n, self.cells, scored, evaluation.output_dir)

    def _draw_aggregates(self, units: Sequence[Unit], evaluation: Evaluation) -> None:
        """Draw AggAtt of the first scored cell."""
        kept = []
        for unit in units:
            scores: dict[str, list[float]] = {}
            for layer, _, of_cells in unit.file.scores():
                scores.setdefault(layer, []).append(of_cells[0])
            maps = self._maps(unit, evaluation)
            kept.append(KeptMaps(unit.compared.name, unit.named.label, maps, scores))
        folder = evaluation.output_dir / "aggatt"
        for path in draw_all_aggregates(folder, self.title, self.n, self.cells[0], kept):
            log.info("written: %s", path)

    def _units(self, evaluation: Evaluation, fits: Sequence[Fit], manifest: GridManifest) -> list[Unit]:
        identity = [self.identity(), manifest.digest()]
        units = make_units(evaluation, fits, identity, len(manifest.grids))
        for unit in units:
            if self.aggregate and not self._maps(unit, evaluation).has(unit.named.attributor.layers):
                unit.file.clear()  # scores alone are not enough
        return units

    def _maps(self, unit: Unit, evaluation: Evaluation) -> MapFile:
        """Return where the maps for AggAtt are."""
        side = min(self.aggregate, evaluation.datamodule.image_size)
        folder = evaluation.output_dir / "maps" / f"{unit.file.path.stem}-{side}"
        return MapFile(folder, unit.file.count, self.n, side)

    def _work(
        self, evaluation: Evaluation, waiting: dict[Unit, list[int]], indices: Tensor
    ) -> Iterator[tuple[Unit, list[int], Tensor]]:
        """Yield which grids to explain how, with their pictures."""
        for unit, grids in waiting.items():
            if not grids:
                continue
            pictures = self.load(evaluation, indices[grids])
            for start, picture in zip(range(0, len(grids), self.batch_size), pictures, strict=True):
                yield unit, grids[start : start + self.batch_size], picture

    def _score(
        self, evaluation: Evaluation, unit: Unit, numbers: list[int], grids: Tensor, labels: Tensor
    ) -> Chunk:
        """Explain some grids and score the maps."""
        targets = self.targets(labels, unit.compared.classifier.num_classes)
        with cost_of(unit.model, grids.device) as cost:
            maps = self.explain(unit.model, unit.named.attributor, grids, targets, self.cells)
        cells = torch.tensor(self.cells, device=grids.device)
        size = (grids.shape[-2], grids.shape[-1])
        if self.aggregate:
            kept = {layer: of_layer[:, 0] for layer, of_layer in maps.items()}
            self._maps(unit, evaluation).write(numbers, kept, size)
        scores = {}
        for layer, of_layer in maps.items():
            shares = cell_shares(of_layer.flatten(0, 1), self.n, size).unflatten(0, of_layer.shape[:2])
            scores[layer] = shares[:, torch.arange(len(cells)), cells].double().tolist()
        return Chunk(numbers, scores, cost.seconds, cost.passes)
