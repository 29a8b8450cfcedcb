import pytest

from guidance.data import PreparedDataset
from guidance.data.check.reading import read_images
from tests.data.check.listed import Listed, annotation

CAT, DOG = 0, 1


@pytest.mark.parametrize("num_workers", [0, 2])
def test_every_broken_image_is_named_and_the_others_are_read(num_workers: int) -> None:
    dataset = Listed(
        [annotation([CAT]) for _ in range(40)], names=[f"{i}.jpg" for i in range(40)], broken=[3, 39]
    )
    readings = read_images(PreparedDataset(dataset, 8), num_workers, "")
    assert len(readings) == 40
    assert {i: reading.problem for i, reading in enumerate(readings) if reading.problem} == {
        3: "cannot read the image 3.jpg",
        39: "cannot read the image 39.jpg",
    }
    assert readings[3].digest == ""


@pytest.mark.parametrize("with_masks", [False, True])
def test_masks_are_found_whether_or_not_training_uses_them(with_masks: bool) -> None:
    # The mask of the third image is of a class that it does not show.
    dataset = Listed([annotation([CAT]), annotation([CAT]), annotation([DOG])], masked=[0, 2])
    readings = read_images(PreparedDataset(dataset, 8, with_masks=with_masks), 0, "")
    assert [reading.masked for reading in readings] == [True, False, False]


def test_equal_digests_are_equal_pixels() -> None:
    one = read_images(PreparedDataset(Listed([annotation([CAT])] * 3), 8), 0, "")
    other = read_images(PreparedDataset(Listed([annotation([DOG])] * 3, tone=1), 8), 0, "")
    assert [reading.digest for reading in one[1:]] == [reading.digest for reading in other[:2]]
    assert len({reading.digest for reading in one}) == 3
