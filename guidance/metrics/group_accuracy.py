"""Accuracy of a single-label data set: over all images, per group, of the worst group, of the mean group."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torchmetrics import Metric


class GroupAccuracy(Metric):
    """The share of images whose class has the largest logit; of equal ones the first counts.

    On Waterbirds (Sagawa et al., ICLR 2020) a group is a pair of label and background; the accuracy of the
    worst group tells whether a classifier relies on the background.

    Args:
        groups: The names of the G groups; may be none.
    """

    is_differentiable = False
    higher_is_better = True
    full_state_update = False

    correct: Tensor
    images: Tensor

    def __init__(self, groups: Sequence[str] = ()) -> None:
        super().__init__()
        self.groups = tuple(groups)
        # The last bin counts the images without a group.
        for name in ("correct", "images"):
            state = torch.zeros(len(self.groups) + 1, dtype=torch.int64)
            self.add_state(name, state, dist_reduce_fx="sum")

    def update(self, logits: Tensor, labels: Tensor, groups: Tensor) -> None:
        """Add N images; N may be 0.

        Args:
            logits: floating point [N, K].
            labels: bool [N, K], one True per image.
            groups: int64 [N] in [-1, G); -1 for an image without a group.

        Raises:
            ValueError: If shapes do not fit.
        """
        if logits.ndim != 2 or logits.shape != labels.shape or groups.shape != logits.shape[:1]:
            raise ValueError(
                "logits, labels and groups must be [N, K], [N, K] and [N]; "
                f"got {list(logits.shape)}, {list(labels.shape)} and {list(groups.shape)}"
            )
        hits = labels.gather(1, logits.argmax(dim=1, keepdim=True))[:, 0].long()
        bins = torch.where(groups < 0, len(self.groups), groups)
        self.correct = self.correct.index_add(0, bins, hits)
        self.images = self.images.index_add(0, bins, torch.ones_like(hits))

    def compute(self) -> dict[str, Tensor]:
        """Return the accuracies, each float64 [] in [0, 1].

        Returns:
            ``accuracy`` over all images and, if there are groups, ``worst_group_accuracy`` and
            ``mean_group_accuracy`` over the groups that occur, and ``accuracy/GROUP`` for every group; nan
            for what has no image.
        """
        values = {"accuracy": self.correct.sum().double() / self.images.sum()}
        if self.groups:
            each = self.correct[:-1].double() / self.images[:-1]
            occurs = self.images[:-1] > 0
            worst = each[occurs].min() if occurs.any() else each.new_tensor(torch.nan)
            values |= {"worst_group_accuracy": worst, "mean_group_accuracy": each[occurs].mean()}
            values |= {f"accuracy/{name}": each[number] for number, name in enumerate(self.groups)}
        return values
