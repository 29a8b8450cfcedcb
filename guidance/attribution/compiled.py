"""Forward pass and explanations of B-cos networks as programs of ``torch.compile``."""

import logging
from collections.abc import Sequence
from typing import Any, cast

import torch
import torch.distributed as dist
from torch import Tensor, nn

from guidance.attribution.attributor import Attributor
from guidance.attribution.backend import Backend, inductor
from guidance.attribution.bcos import BcosContributions, linear_but_for_factors
from guidance.attribution.forward_pass import ForwardPass
from guidance.attribution.pairs import attribute_pairs
from guidance.attribution.program import Function, Program
from guidance.models.factor_tape import FactorTape

log = logging.getLogger(__name__)

_FEWEST = 2
"""Images or pairs of a program that explains any number of them: torch makes a case of its own of one."""

_MANY = 16
"""From so many rows on torch chooses convolutions in another way: fewer have a program of their own."""

_PAIRS_PER_IMAGE = 4
"""How many pairs are explained at once for each image of a batch; a training step needs more memory."""


class CompiledExplanations:
    """Classifies and explains as an attributor does, by compiled programs; equal up to rounding.

    Programs are made when first needed, which takes minutes: for training one that explains all images, and
    one that explains some of them; for evaluation one that classifies, and one that explains pairs.

    Args:
        attributor: Makes the maps.
        batch_size: Images of a batch of this process, for which programs are made; as many in all processes.
        backend: Of ``torch.compile``: a name, or a function.
    """

    def __init__(self, attributor: Attributor, batch_size: int, backend: Backend = inductor) -> None:
        self.batch_size = batch_size
        self._attributor = attributor
        self._backend = backend
        self._programs: dict[Any, Program] = {}
        self._evaluations: dict[Any, _Evaluation] = {}
        self._warned: set[str] = set()

    def fits(self, model: nn.Module) -> bool:
        """Return whether a model, in its present mode, can be compiled with the attributor; if not, say why.

        It has to be a B-cos network that is linear but for its dynamic factors, without dropout or stochastic
        depth, explained by :class:`BcosContributions`.
        """
        if type(self._attributor) is not BcosContributions:
            self.warn(f"{type(self._attributor).__name__} is not compiled, only attributor=bcos")
        elif not linear_but_for_factors(model):
            self.warn(
                "this network is not compiled, only B-cos networks that are linear but for their dynamic "
                "factors, without dropout or stochastic depth"
            )
        else:
            return True
        return False

    def warn(self, obstacle: str) -> None:
        """Say, once and in the first process, why something is computed as if nothing was to be compiled."""
        first = not (dist.is_available() and dist.is_initialized() and dist.get_rank())
        if first and obstacle not in self._warned:
            self._warned.add(obstacle)
            log.warning("trainer.compile=true is without effect: %s", obstacle)

    def explain(
        self,
        model: nn.Module,
        images: Tensor,
        classes: Sequence[Tensor],
        rows: Tensor | None = None,
        same_program: bool = False,
    ) -> tuple[Tensor, list[Tensor]]:
        """Classify a batch and explain some classes of each image, ready to be differentiated.

        Args:
            model: One that :meth:`fits`.
            images: float [N, 3, H, W] for ``batch_size`` images N.
            classes: Each int64 [N], the class to explain in every image; may be empty.
            rows: The images to explain, int64 [P], P >= 0; None: all.
            same_program: Whether one program is to do for any number of ``rows``, which then are filled up:
                processes that train together need the same collectives.

        Returns:
            Logits [N, K], and for each of ``classes`` the signed maps, at least float32, [P, h, w].
        """
        if rows is None or not classes or len(images) == 1:
            logits, maps = self._run(self._explain, model, images, classes)
            return logits, maps if rows is None else [of_class[rows] for of_class in maps]
        # The images to explain come first: gradients of a slice cost less than those of positions.
        others = torch.ones(len(images), dtype=torch.bool, device=images.device)
        others[rows] = False
        order = others.argsort(stable=True)
        places = order.argsort()
        fewest = _MANY if same_program and len(images) >= _MANY else _FEWEST
        count = max(len(rows), fewest)
        first = [each[order[:count]] for each in classes]
        logits, maps = self._run(self._explain_first, model, images[order], first)
        return logits[places], [of_class[places[rows]] for of_class in maps]

    def _run(
        self, function: Function, model: nn.Module, images: Tensor, others: Sequence[Tensor]
    ) -> tuple[Tensor, list[Tensor]]:
        many = bool(others) and len(others[0]) >= _MANY
        key = (function.__name__, len(others), many, *_state(model, images))
        if key not in self._programs:
            every = function == self._explain
            guided = "" if every else f" with {_MANY} or more guided" if many else " with some images guided"
            name = f"the training step{guided}"
            varying = () if every else range(1, 1 + len(others))
            self._programs[key] = Program(function, model, [images, *others], name, self._backend, varying)
        logits, *maps = self._programs[key](images, *others)
        return logits, maps

    def _explain_first(self, model: nn.Module, images: Tensor, *classes: Tensor) -> list[Tensor]:
        forward = self._attributor.forward(model, images)
        some = forward.restrict(slice(classes[0].shape[0]))
        maps = [self._attributor.attribute(some, each, create_graph=True) for each in classes]
        return [forward.logits, *maps]

    def _explain(self, model: nn.Module, images: Tensor, *classes: Tensor) -> list[Tensor]:
        if not classes:
            return [model(images)]
        forward = self._attributor.forward(model, images)
        maps = [self._attributor.attribute(forward, each, create_graph=True) for each in classes]
        return [forward.logits, *maps]

    def attribute_pairs(
        self, model: nn.Module, images: Tensor, pair_images: Tensor, pair_classes: Tensor
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Classify N images and explain P of their (image, class) pairs.

        Arguments and results are those of :func:`guidance.attribution.attribute_pairs`, which a model that
        does not :meth:`fit <fits>`, a batch without pairs and one of more than ``batch_size`` images are left
        to. A smaller batch is filled up.
        """
        if len(pair_images) == 0 or len(images) > self.batch_size or not self.fits(model):
            return attribute_pairs(self._attributor, model, images, pair_images, pair_classes)
        filled = _filled(images, self.batch_size)
        key = _state(model, images)
        if key not in self._evaluations:
            self._evaluations[key] = _Evaluation(self._attributor, self._backend)
        with torch.no_grad():
            logits, maps = self._evaluations[key](model, filled, pair_images, pair_classes)
        return logits[: len(images)], maps


class _Evaluation:
    """Two programs: one classifies a batch and records its factors, one explains pairs by them."""

    def __init__(self, attributor: Attributor, backend: Backend) -> None:
        self._attributor = attributor
        self._backend = backend
        self._record: Program | None = None
        self._play: Program | None = None
        self._of_batch: list[bool] = []

    def __call__(
        self, model: nn.Module, images: Tensor, pair_images: Tensor, pair_classes: Tensor
    ) -> tuple[Tensor, dict[str, Tensor]]:
        if self._record is None:
            self._record = Program(self._recorded, model, [images], "evaluation, logits", self._backend)
        logits, *recorded = self._record(images)
        # As many as one program may vary between.
        few = len(images) < _MANY
        fewest, most = (_FEWEST, _MANY - 1) if few else (_MANY, _PAIRS_PER_IMAGE * len(images))
        found = []
        for rows, classes in zip(pair_images.split(most), pair_classes.split(most), strict=True):
            inputs = [_filled(rows, fewest), _filled(classes, fewest), images, *recorded]
            if self._play is None:
                name = "evaluation, maps"
                self._play = Program(self._played, model, inputs, name, self._backend, varying=(0, 1))
            found.append([of_layer[: len(rows)] for of_layer in self._play(*inputs)])
        maps = (torch.cat(of_layer) for of_layer in zip(*found, strict=True))
        return logits, dict(zip(self._attributor.layers, maps, strict=True))

    def _recorded(self, model: nn.Module, images: Tensor) -> list[Tensor]:
        forward = self._attributor.forward(model, images)
        factors = cast(FactorTape, forward.tape).factors
        self._of_batch = [of_batch for _, of_batch in factors]
        return [forward.logits, *forward.activations.values(), *(factor for factor, _ in factors)]

    def _played(
        self, model: nn.Module, rows: Tensor, classes: Tensor, images: Tensor, *recorded: Tensor
    ) -> list[Tensor]:
        layers = self._attributor.layers
        activations = dict(zip(layers, recorded[: len(layers)], strict=True))
        tape = FactorTape(zip(recorded[len(layers) :], self._of_batch, strict=True))
        forward = ForwardPass(images.new_zeros(0), activations, model, images, tape)
        return list(self._attributor.attribute_layers(forward.restrict(rows), classes).values())


def _state(model: nn.Module, images: Tensor) -> tuple[Any, ...]:
    """Return all that a program depends on besides the number of images."""
    device = images.device.type
    autocast = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else None
    training = tuple(module.training for module in model.modules())
    return images.shape[1:], images.dtype, images.device, autocast, training


def _filled(rows: Tensor, count: int) -> Tensor:
    """Append zeros to rows [P, ...] up to a count, if there are fewer."""
    return torch.cat([rows, rows.new_zeros(max(0, count - len(rows)), *rows.shape[1:])])
