"""Multi-label classification: F1 (micro and macro) and mean average precision."""

from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric


def average_precision(logits: Tensor, labels: Tensor) -> Tensor:
    """Compute ``AP = sum_n (R_n - R_(n-1)) P_n`` over the distinct logits of each class.

    Nothing is interpolated. Images with equal logits share one operating point, as in scikit-learn's
    ``average_precision_score``.

    Args:
        logits: floating point [N, K], any monotone score.
        labels: bool [N, K].

    Returns:
        float64 [K] in [0, 1]; nan for a class without positives, or with a logit that is nan.
    """
    if len(logits) == 0:
        return torch.full(logits.shape[1:], torch.nan, dtype=torch.float64, device=logits.device)
    scores, order = logits.sort(dim=0, descending=True)
    hits = labels.gather(0, order)
    rank = torch.arange(len(scores), device=scores.device)[:, None].expand_as(scores)
    # The last rank of each run of equal scores; every image is judged at the end of its run.
    ends = torch.ones_like(hits)
    ends[:-1] = scores[:-1] != scores[1:]
    end = torch.where(ends, rank, len(scores)).flip(0).cummin(0).values.flip(0)
    precision = hits.cumsum(0).gather(0, end).double() / (end + 1)
    mean = (precision * hits).sum(0) / hits.sum(0)
    return torch.where(logits.isnan().any(0), torch.nan, mean)


def _joined(state: Tensor | list[Tensor], empty: Tensor) -> Tensor:
    """Join a list state, which a sync turns into one tensor."""
    return state if isinstance(state, Tensor) else torch.cat([empty, *state])


class ClassificationMetrics(Metric):
    """F1 and mAP of a multi-label classifier over a split.

    * ``f1_micro``: ``2 TP / (2 TP + FP + FN)`` over all (image, class) decisions at logit 0, that is at
      probability 0.5: the F1 of Rao et al., ICCV 2023. nan if nothing is labelled nor predicted.
    * ``f1_macro``: the mean of the classes' F1, over classes with at least one positive in the split.
    * ``map``: the mean of the classes' :func:`average_precision`, over the same classes. It ranks float32
      logits: probabilities would tie where the sigmoid saturates.

    Both means are nan if no class has a positive. The F1 counts are sums; average precision needs every
    score, so N x K logits (float32) and labels (bool) are kept: 16 MB for COCO's 40,504 x 80.

    Args:
        num_classes: K.
    """

    is_differentiable = False
    higher_is_better = True
    full_state_update = False

    true_positives: Tensor
    false_positives: Tensor
    false_negatives: Tensor
    logits: list[Tensor]
    labels: list[Tensor]

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.num_classes = num_classes
        for name in ("true_positives", "false_positives", "false_negatives"):
            self.add_state(name, torch.zeros(num_classes, dtype=torch.int64), dist_reduce_fx="sum")
        self.add_state("logits", [], dist_reduce_fx="cat")
        self.add_state("labels", [], dist_reduce_fx="cat")

    def update(self, logits: Tensor, labels: Tensor) -> None:
        """Add N images; N may be 0.

        Args:
            logits: floating point [N, K].
            labels: The classes present, bool [N, K].

        Raises:
            ValueError: If shapes or dtypes do not fit.
        """
        if logits.ndim != 2 or logits.shape[1] != self.num_classes or logits.shape != labels.shape:
            raise ValueError(
                f"logits and labels must be [N, {self.num_classes}]; "
                f"got {list(logits.shape)} and {list(labels.shape)}"
            )
        if labels.dtype != torch.bool:
            raise ValueError(f"labels must be bool; got {labels.dtype}")
        predicted = logits > 0
        self.true_positives = self.true_positives + (predicted & labels).sum(0)
        self.false_positives = self.false_positives + (predicted & ~labels).sum(0)
        self.false_negatives = self.false_negatives + (~predicted & labels).sum(0)
        self.logits.append(logits.detach().float())
        self.labels.append(labels)

    def sync(self, *args: Any, **kwargs: Any) -> None:
        """Gather the ranks' states; a rank that saw no image takes part with none, of the right type."""
        if len(self.logits) == 0:
            no_logits, no_labels = self._no_images()
            self.logits.append(no_logits)
            self.labels.append(no_labels)
        super().sync(*args, **kwargs)

    def _no_images(self) -> tuple[Tensor, Tensor]:
        logits = torch.zeros(0, self.num_classes, device=self.device)
        return logits, logits.bool()

    def compute(self) -> dict[str, Tensor]:
        """Return ``f1_micro``, ``f1_macro`` and ``map``, each float64 [] in [0, 1] or nan."""
        hits = self.true_positives.double()
        decisions = 2 * hits + self.false_positives + self.false_negatives
        present = self.true_positives + self.false_negatives > 0
        no_logits, no_labels = self._no_images()
        precision = average_precision(_joined(self.logits, no_logits), _joined(self.labels, no_labels))
        return {
            "f1_micro": 2 * hits.sum() / decisions.sum(),
            "f1_macro": (2 * hits / decisions)[present].mean(),
            "map": precision[present].mean(),
        }
