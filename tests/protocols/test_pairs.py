"""Which pairs are explained."""

from pathlib import Path

import pytest

from guidance.errors import InputError
from guidance.protocols.candidates import SelectionRule
from guidance.protocols.pairs import annotated_pairs, confident_pairs
from tests.protocols.boxed import boxed_evaluation
from tests.protocols.colours import coloured_evaluation, seeing_classifier


def test_images_of_one_class_that_all_models_know(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    evaluation = coloured_evaluation(tmp_path, seeing_classifier(), seeing_classifier(prefer=2))
    pairs, rule = confident_pairs(100, SelectionRule("most_confident"), evaluation)
    assert pairs.classes.tolist() == [2] * 6  # the second model knows blue only
    assert sorted(pairs.indices.tolist()) == list(range(12, 18))
    assert "but 6 images qualify" in caplog.text
    assert rule.probability == "sigmoid"


def test_drawn_or_most_confident(tmp_path: Path) -> None:
    evaluation = coloured_evaluation(tmp_path)
    drawn, _ = confident_pairs(5, SelectionRule("confident", min_confidence=0.5), evaluation)
    again, _ = confident_pairs(5, SelectionRule("confident", min_confidence=0.5), evaluation)
    assert drawn.indices.tolist() == again.indices.tolist()
    assert len(set(drawn.indices.tolist())) == 5
    assert drawn.digest(evaluation) == again.digest(evaluation)
    other, _ = confident_pairs(4, SelectionRule("confident", min_confidence=0.5), evaluation)
    assert other.digest(evaluation) != again.digest(evaluation)


def test_no_image_qualifies(tmp_path: Path) -> None:
    evaluation = coloured_evaluation(tmp_path, seeing_classifier(scale=0.1))
    with pytest.raises(InputError, match=r"at least 0.99: lower protocol.min_confidence"):
        confident_pairs(5, SelectionRule("confident"), evaluation)


def test_pairs_with_boxes(tmp_path: Path) -> None:
    pairs = annotated_pairs(boxed_evaluation(tmp_path))
    assert len(pairs) == 15 + 2 * 2
    assert list(zip(pairs.indices.tolist(), pairs.classes.tolist(), strict=True))[-4:] == [
        (15, 0), (15, 1), (16, 0), (16, 1),
    ]  # fmt: skip
    with pytest.raises(InputError, match="no image of the split 'test' has a box"):
        annotated_pairs(boxed_evaluation(tmp_path, boxes=False))


def test_masks_are_loaded_on_demand(tmp_path: Path) -> None:
    datamodule = boxed_evaluation(tmp_path).datamodule
    (without,) = datamodule.chosen_loader("test", [3, 0])
    (with_masks,) = datamodule.chosen_loader("test", [3, 0], with_masks=True)
    assert with_masks.indices.tolist() == without.indices.tolist() == [3, 0]
    assert not without.has_masks().any()
    assert with_masks.has_masks().sum() == 2
