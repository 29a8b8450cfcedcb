import logging
import time
from collections.abc import Mapping

import pytest

from guidance.data import Annotation, GuidanceDataModule, ImageDataset, Shapes, Skipped
from guidance.data.batch import Target
from guidance.data.check import quick_check
from guidance.errors import InputError
from tests.data.check.listed import Box, Listed, annotation

CAT, DOG, BIRD = 0, 1, 2
SMALL: Box = (1, 1, 5, 5)
ALL = annotation([CAT, DOG, BIRD], [(k, SMALL) for k in (CAT, DOG, BIRD)])


def module(
    splits: Mapping[str, ImageDataset], fraction: float = 1.0, target: Target = "box"
) -> GuidanceDataModule:
    return GuidanceDataModule(
        lambda split: splits.get(split, Listed([ALL])), 8, 2, annotated_fraction=fraction, target=target
    )


def test_one_line_per_split(caplog: pytest.LogCaptureFixture) -> None:
    skipped = (Skipped("box", "it has no area", "a:1"),) * 2 + (Skipped("image", "it is gone", "b"),)
    train = Listed([ALL, annotation([CAT]), annotation([])], skipped=skipped)
    val = Listed([annotation([DOG], [(DOG, SMALL)])])
    with caplog.at_level(logging.INFO, logger="guidance"):
        warnings = quick_check(module({"train": train, "val": val}), guided=True)
    assert caplog.messages == [
        "train: 3 images, 3 boxes, 3 classes; skipped: 2 boxes (it has no area), 1 image (it is gone)",
        "val: 1 image, 1 box, 1 class",
        "test: 1 image, 3 boxes, 3 classes",
    ]
    assert warnings == ["val: no image shows 2 of 3 classes: cat, bird"]


def test_warnings_of_what_is_absent() -> None:
    splits = {
        "train": Listed([annotation([CAT], [(CAT, SMALL)])]),
        "test": Listed([annotation([CAT, DOG, BIRD])]),
    }
    assert quick_check(module(splits), guided=True) == [
        "train: no image shows 2 of 3 classes: dog, bird",
        "test: no image has a box, so EPG and IoU cannot be measured there",
    ]


def test_no_label() -> None:
    with pytest.raises(InputError, match="no training image carries a label"):
        quick_check(module({"train": Listed([annotation([])] * 3)}), guided=False)


def test_no_box_matters_to_guidance_only() -> None:
    data = module({"train": Listed([annotation([CAT, DOG, BIRD])])})
    assert quick_check(data, guided=False) == []
    with pytest.raises(InputError, match=r"no training image has a box: .* use loss=none"):
        quick_check(data, guided=True)


def test_the_annotated_images_must_have_the_box() -> None:
    annotations = [annotation([CAT]) for _ in range(8)]
    annotated = int(module({"train": Listed(annotations)}, 0.1).prepared("train").annotated.nonzero())
    for index in range(8):
        boxed = list(annotations)
        boxed[index] = ALL
        data = module({"train": Listed(boxed)}, 0.1)
        if index == annotated:
            assert quick_check(data, guided=True) == []
        else:
            with pytest.raises(InputError, match=r"among the 12.50% that are annotated"):
                quick_check(data, guided=True)
    with pytest.raises(InputError, match=r"among the 0.00% .* raise data.annotated_fraction"):
        quick_check(module({}, 0.0), guided=True)


def test_masks_are_taken_on_trust() -> None:
    splits = {split: Listed([annotation([CAT, DOG, BIRD])], masked=[]) for split in ("train", "val", "test")}
    quick_check(module(splits, target="mask"), guided=True)
    with pytest.raises(InputError, match=r"has a segmentation mask: .* or use data.target=box"):
        quick_check(module(splits, fraction=0.0, target="mask"), guided=True)


@pytest.mark.parametrize("split", ["train", "val", "test"])
def test_the_first_image_of_each_split_is_read(split: str) -> None:
    with pytest.raises(InputError, match="cannot read the image a"):
        quick_check(module({split: Listed([ALL], broken=[0])}), guided=False)
    assert quick_check(module({split: Listed([ALL, ALL], broken=[1])}), guided=False) == []


class Slow(Listed):
    """A data set that has to make each annotation, and counts how often."""

    made = 0

    def annotation(self, index: int) -> Annotation:
        self.made += 1
        time.sleep(0.001)
        return super().annotation(index)


def test_annotations_that_must_be_made_are_looked_at_in_part(caplog: pytest.LogCaptureFixture) -> None:
    empty = annotation([CAT], [(CAT, SMALL)])
    train = Slow([empty] * 300, names=["x"] * 300)
    with caplog.at_level(logging.INFO, logger="guidance"):
        warnings = quick_check(module({"train": train}), guided=True)
    assert caplog.messages[0] == "train: 300 images; the first 100 have 100 boxes, 1 class"
    assert warnings == [], "classes may be absent from the first hundred"
    assert train.made < 110


def test_a_label_behind_the_first_hundred_is_found() -> None:
    annotations = [annotation([])] * 200
    with pytest.raises(InputError, match="carries a label"):
        quick_check(module({"train": Slow(annotations)}), guided=False)
    annotations[150] = ALL
    quick_check(module({"train": Slow(annotations)}), guided=True)


def test_the_embedded_data_pass() -> None:
    data = GuidanceDataModule(
        lambda split: Shapes(split, image_size=32, length={"train": 60, "val": 20, "test": 20}), 32, 8
    )
    assert quick_check(data, guided=True) == []
