"""Which images qualify."""

import pytest
import torch
from torch import Tensor, nn

from guidance.data import GuidanceDataModule, Shapes
from guidance.errors import InputError
from guidance.protocols.candidates import Candidates, SelectionRule, find_candidates, single_labels

# Three images of classes 0, 1, 2 whose logits a network returns as they are.
LOGITS = torch.tensor([[5.0, 4.0, -9.0], [5.0, 4.9, 0.0], [-9.0, -9.0, 0.1]])
LABELS = torch.tensor([0, 1, 2])


class Says(nn.Module):
    def __init__(self, logits: Tensor) -> None:
        super().__init__()
        self.logits = logits

    def forward(self, images: Tensor) -> Tensor:
        return self.logits[(images[:, 0, 0, 0] * 255).round().long()]


def found(rule: SelectionRule, *logits: Tensor, labels: Tensor = LABELS) -> Candidates:
    datamodule = GuidanceDataModule(lambda *, split: Shapes(split, length={"test": 3}), 32, 2)
    batches = list(datamodule.chosen_loader("test", [2, 0, 1]))
    for batch in batches:  # the first pixel tells the network which image it is
        batch.images[:, 0, 0, 0] = batch.indices.to(torch.uint8)
    return find_candidates([Says(one) for one in logits or (LOGITS,)], batches, rule, labels)


def test_only_confident_and_right_images_qualify() -> None:
    candidates = found(SelectionRule(min_confidence=0.9))
    assert candidates.indices.tolist() == [0]  # 1 is sure of the wrong class, 2 is not sure
    assert candidates.confidences[0] == pytest.approx(float(torch.tensor(5.0).double().sigmoid()))
    assert found(SelectionRule(rule="most_confident")).indices.tolist() == [0, 2]
    assert found(SelectionRule()).indices.tolist() == [0]  # sigmoid(5) = 0.9933
    assert found(SelectionRule(min_confidence=0.995)).indices.tolist() == []


def test_softmax_sees_the_other_classes() -> None:
    rule = SelectionRule(min_confidence=0.7, probability="softmax")
    candidates = found(rule)
    assert candidates.indices.tolist() == [0, 2]
    torch.testing.assert_close(candidates.confidences, LOGITS.double().softmax(1)[[0, 2], [0, 2]])


def test_all_models_must_be_right_and_sure() -> None:
    unsure, wrong = LOGITS.clone(), LOGITS.clone()
    unsure[0, 0], wrong[2, 2] = 4.5, -20
    rule = SelectionRule(rule="most_confident")
    candidates = found(rule, LOGITS, unsure, wrong)
    assert candidates.indices.tolist() == [0]
    assert candidates.confidences[0] == pytest.approx(float(torch.tensor(4.5).double().sigmoid()))


def test_predicted_labels() -> None:
    rule = SelectionRule(labels="predicted", min_confidence=0.5)
    candidates = found(rule, labels=torch.full((3,), -1))
    assert (candidates.indices.tolist(), candidates.labels.tolist()) == ([0, 1, 2], [0, 0, 2])
    other = LOGITS.roll(1, dims=1)
    assert found(rule, LOGITS, other).indices.tolist() == []


def test_images_of_exactly_one_class() -> None:
    dataset = Shapes("test", length={"test": 20}, context_correlation={"test": 0.5})
    labels = single_labels(dataset)
    for index, label in enumerate(labels.tolist()):
        present = dataset.annotation(index).labels.nonzero().flatten().tolist()
        assert present == [label] if len(present) == 1 else label == -1
    assert -1 in labels
    assert labels.max() >= 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rule": "sure"}, "unknown protocol.rule 'sure'"),
        ({"labels": "predcted"}, "Did you mean 'predicted'"),
        ({"probability": "tanh"}, "unknown protocol.probability"),
        ({"min_confidence": 1.2}, "min_confidence must lie between 0 and 1; got 1.2"),
    ],
)
def test_wrong_options(options: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        SelectionRule(**options)  # type: ignore[arg-type]
