"""What GridPG, DiFull and DiPart share: grids, maps of their cells, scores that outlive the process."""

import hashlib
import json
import logging
import time
from abc import abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
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
from guidance.protocols.attributors import Entry, NamedAttributor, read_attributors
from guidance.protocols.candidates import Labels, Probability, Rule, SelectionRule
from guidance.protocols.cells import to_grids
from guidance.protocols.choosing import choose_grids, read_grids
from guidance.protocols.manifest import GridManifest
from guidance.protocols.protocol import ComparedModel, Evaluation, Protocol
from guidance.protocols.report import Scored, report
from guidance.protocols.score_file import Chunk, ScoreFile

log = logging.getLogger(__name__)

ScoredCells = Literal["all", "corners"]


@dataclass(frozen=True, eq=False)
class _Unit:
    """One model explained by one attribution."""

    compared: ComparedModel
    named: NamedAttributor
    model: nn.Module
    file: ScoreFile


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
    ) -> None:
        for name, value, least in (("n", n, 2), ("grids", grids, 1), ("batch_size", batch_size, 1)):
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
        manifest, indices = self.choose(evaluation)
        manifest.write(evaluation.output_dir / "manifest.json")
        units = self._units(evaluation, manifest)
        labels = manifest.target_classes()
        waiting = {unit: [g for g in range(len(labels)) if g not in unit.file.done] for unit in units}
        chunks = sum(-(-len(grids) // self.batch_size) for grids in waiting.values())
        with progress_over(
            self._work(evaluation, waiting, indices), f"{self.title}: explaining", total=chunks
        ) as work:
            for unit, numbers, grids in work:
                unit.file.append(self._score(unit, numbers, grids, labels[numbers]))
        scored = [Scored(unit.compared.name, unit.named, unit.file) for unit in units]
        return report(self.title, self.n, self.cells, scored, evaluation.output_dir)

    def _units(self, evaluation: Evaluation, manifest: GridManifest) -> list[_Unit]:
        """Return every model with every attribution that fits it."""
        units, refusals = [], []
        for compared in evaluation.models:
            for named in self.attributors:
                layers = named.attributor.layers
                model = self.model_for(compared.classifier, layers, evaluation.datamodule.image_size)
                try:
                    named.attributor.check(model)
                except InputError as error:
                    refusals.append(f"{named.label} of {compared.name}: {error}")
                    continue
                decides = [
                    self.identity(),
                    manifest.digest(),
                    evaluation.datamodule.image_size,
                    compared.weights,
                    named.options,
                ]
                key = hashlib.sha256(json.dumps(decides).encode()).hexdigest()[:16]
                path = evaluation.output_dir / "scores" / f"{key}.jsonl"
                units.append(_Unit(compared, named, model, ScoreFile(path, len(manifest.grids))))
        for refusal in refusals:
            log.warning("left out, %s", refusal)
        if not units:
            raise InputError(f"no attribution of protocol.attributors fits; {refusals[0]}")
        return units

    def _work(
        self, evaluation: Evaluation, waiting: dict[_Unit, list[int]], indices: Tensor
    ) -> Iterator[tuple[_Unit, list[int], Tensor]]:
        """Yield which grids to explain how, with their pictures."""
        for unit, grids in waiting.items():
            if not grids:
                continue
            pictures = self.load(evaluation, indices[grids])
            for start, picture in zip(range(0, len(grids), self.batch_size), pictures, strict=True):
                yield unit, grids[start : start + self.batch_size], picture

    def _score(self, unit: _Unit, numbers: list[int], grids: Tensor, labels: Tensor) -> Chunk:
        """Explain some grids and score the maps."""
        targets = self.targets(labels, unit.compared.classifier.num_classes)
        passes: list[int] = []
        counter = unit.model.register_forward_pre_hook(lambda _, args: passes.append(len(args[0])))
        begin = _now(grids.device)
        try:
            maps = self.explain(unit.model, unit.named.attributor, grids, targets, self.cells)
        finally:
            counter.remove()
        seconds = _now(grids.device) - begin
        cells = torch.tensor(self.cells, device=grids.device)
        size = (grids.shape[-2], grids.shape[-1])
        scores = {}
        for layer, of_layer in maps.items():
            shares = cell_shares(of_layer.flatten(0, 1), self.n, size).unflatten(0, of_layer.shape[:2])
            scores[layer] = shares[:, torch.arange(len(cells)), cells].double().tolist()
        return Chunk(numbers, scores, seconds, sum(passes))


def _now(device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()
