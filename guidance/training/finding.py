"""What is not finite in a step: which quantity, of which images, in which parameters."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import get_total_norm

from guidance.training.step_record import StepRecord

_SHOWN = 3
_ORDER = (
    "weights",
    "input",
    "teacher's map",
    "logits",
    "classification loss",
    "map",
    "localization loss",
    "loss",
    "gradient",
)


@dataclass(frozen=True)
class Finding:
    """One quantity with values that are not finite.

    Attributes:
        what: The quantity, e.g. ``logits``, ``gradient`` or ``weights``.
        kind: ``nan``, ``infinite``, or ``too large`` for finite values whose square is not.
        images: Indices in the data set of the images it is of; empty where it is of no single image.
        names: The parameters it is of; empty where it is of none.
        rank: The process that found it; None for what is the same in all.
    """

    what: str
    kind: str
    images: tuple[int, ...] = ()
    names: tuple[str, ...] = ()
    rank: int | None = None

    def plain(self) -> dict[str, Any]:
        """Return plain data, which loads weights-only."""
        return {**asdict(self), "images": list(self.images), "names": list(self.names)}


def findings_of(record: StepRecord, rank: int | None = None) -> list[Finding]:
    """Return what is not finite in a record, in the order of its computation.

    Args:
        record: Of a step.
        rank: Of the process that made it, if there are several.
    """
    found: list[Finding] = []
    for quantity in record.quantities:
        values = quantity.values.detach()
        if bool(torch.isfinite(values).all()):
            continue
        images: tuple[int, ...] = ()
        if values.ndim:
            bad = ~torch.isfinite(values[..., None].flatten(1)).all(dim=1)
            rows = bad.nonzero()[:, 0] if quantity.rows is None else quantity.rows[bad]
            images = tuple(sorted(set(record.indices[rows].tolist())))
        found.append(Finding(quantity.name, _kind(values), images, rank=rank))
    return found


def gradient_finding(module: nn.Module) -> Finding | None:
    """Return which parameters have a gradient that is not finite, or one whose square is not.

    A square that overflows counts, since it makes the second moment of Adam infinite for good: the parameter
    would never move again.
    """
    gradients = [(name, p.grad) for name, p in module.named_parameters() if p.grad is not None]
    found = _of_tensors("gradient", gradients)
    if found is None and not get_total_norm([gradient for _, gradient in gradients]).isfinite():
        return Finding("gradient", "too large")
    return found


def weights_finding(module: nn.Module) -> Finding | None:
    """Return which parameters are not finite, or have a square that is not, and which running statistics.

    A layer that divides its weights by an infinite norm returns zeros and has no gradient: nothing in a step
    would be wrong but that it teaches nothing.
    """
    statistics = [(name, b) for name, b in module.named_buffers() if "running_" in name.rpartition(".")[2]]
    bad = [(name, values) for name, values in statistics if not values.isfinite().all()]
    return _of_tensors("weights", [*module.named_parameters(), *bad])


def _of_tensors(what: str, tensors: Iterable[tuple[str, Tensor]]) -> Finding | None:
    """Return which tensors have a norm that is not finite."""
    bad = [(name, values.detach()) for name, values in tensors if not values.detach().norm().isfinite()]
    if not bad:
        return None
    kinds = {_kind(values) for _, values in bad}
    kind = next(kind for kind in ("nan", "infinite", "too large") if kind in kinds)
    return Finding(what, kind, names=tuple(name for name, _ in bad))


def _kind(values: Tensor) -> str:
    if bool(torch.isnan(values).any()):
        return "nan"
    return "infinite" if bool(torch.isinf(values).any()) else "too large"


def describe(
    findings: Sequence[Finding],
    image_name: Callable[[int], str],
    shown: int | None = _SHOWN,
) -> str:
    """Say what is not finite: the first quantity of the computation in full, what follows from it by name.

    Args:
        findings: At least one.
        image_name: Names an image by its index.
        shown: The most images and parameters that are named; None for all.
    """
    # "map at mid2" stands where "map" does.
    places = {finding.what: _ORDER.index(finding.what.partition(" at ")[0]) for finding in findings}
    order = sorted(places, key=lambda what: places[what])
    causes = [finding for finding in findings if finding.what == order[0]]
    kinds = sorted({finding.kind for finding in causes})
    text = f"{order[0]} ({', '.join(kinds)})"
    images = [image_name(index) for finding in causes for index in finding.images]
    if images:
        text += f" of {len(images)} image{'s'[: len(images) > 1]}: {_listed(images, shown)}"
    names = list(dict.fromkeys(name for finding in causes for name in finding.names))
    if names:
        text += f" in {len(names)} tensor{'s'[: len(names) > 1]}: {_listed(names, shown)}"
    ranks = sorted({finding.rank for finding in causes if finding.rank is not None})
    if ranks:
        text += f", rank {', '.join(map(str, ranks))}"
    return text + (f"; then {', '.join(order[1:])}" if len(order) > 1 else "")


def _listed(names: Sequence[str], shown: int | None) -> str:
    text = ", ".join(names[:shown])
    return text if shown is None or len(names) <= shown else f"{text}, ..."
