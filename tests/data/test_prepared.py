import pytest
import torch
from torch import Tensor

from guidance.data import Annotation, ImageDataset, PreparedDataset, collate
from guidance.errors import InputError


class Fixed(ImageDataset):
    """Two images: 20 x 10 with two boxes, 8 x 8 with none."""

    classes = ("a", "b")

    def __len__(self) -> int:
        return 2

    def annotation(self, index: int) -> Annotation:
        if index == 0:
            boxes = torch.tensor([[10.0, 0.0, 20.0, 10.0], [0.0, 9.0, 1.0, 10.0]])
            return Annotation((10, 20), torch.tensor([True, True]), boxes, torch.tensor([0, 1]), True, 3)
        none = torch.zeros(0, dtype=torch.int64)
        return Annotation((8, 8), torch.tensor([False, False]), torch.zeros(0, 4), none)

    def image(self, index: int, least: int | None = None) -> Tensor:
        if index == 0:
            image = torch.full((3, 10, 20), 7, dtype=torch.uint8)
            image[:, :, 10:] = 200
            return image
        return torch.arange(3 * 64, dtype=torch.uint8).reshape(3, 8, 8)

    def masks(self, index: int) -> tuple[Tensor, Tensor]:
        if index == 0:
            mask = torch.zeros(1, 10, 20, dtype=torch.bool)
            mask[0, :, 10:] = True
            return torch.tensor([1]), mask
        return super().masks(index)

    def name(self, index: int) -> str:
        return str(index)


def test_boxes_follow_the_squashed_image() -> None:
    sample = PreparedDataset(Fixed(), image_size=8)[0]
    assert sample.image.dtype == torch.uint8
    assert sample.image.shape == (3, 8, 8)
    assert sample.boxes.tolist() == [[4, 0, 8, 8], [0, 7, 1, 8]]
    assert (sample.image[:, :, 5:] == 200).all()
    assert (sample.image[:, :, :3] == 7).all()
    assert (sample.labels.tolist(), sample.box_classes.tolist(), sample.index) == ([True, True], [0, 1], 0)


def test_an_image_of_the_right_size_is_left_alone() -> None:
    assert torch.equal(PreparedDataset(Fixed(), image_size=8)[1].image, Fixed().image(1))


def test_boxes_are_dilated_in_the_original_image() -> None:
    sample = PreparedDataset(Fixed(), image_size=20, box_dilation=0.5)[0]
    assert sample.boxes.tolist() == [[5, 0, 20, 20], [0, 17, 2, 20]]


@pytest.mark.parametrize("annotated", [None, torch.tensor([False, True])])
def test_the_annotated_flag_travels_with_the_image(annotated: Tensor | None) -> None:
    prepared = PreparedDataset(Fixed(), 8, annotated)
    expected = [True, True] if annotated is None else annotated.tolist()
    assert [prepared[index].annotated for index in range(2)] == expected


def test_flags_for_another_number_of_images_are_refused() -> None:
    with pytest.raises(ValueError, match=r"annotated must be \[2\]"):
        PreparedDataset(Fixed(), 8, torch.ones(3, dtype=torch.bool))


def test_collate_numbers_the_boxes_by_their_image() -> None:
    prepared = PreparedDataset(Fixed(), 8, torch.tensor([True, False]))
    batch = collate([prepared[1], prepared[0], prepared[0]])
    assert batch.images.shape == (3, 3, 8, 8)
    assert batch.images.dtype == torch.uint8
    assert batch.labels.tolist() == [[False, False], [True, True], [True, True]]
    assert batch.boxes.tolist() == [[4, 0, 8, 8], [0, 7, 1, 8]] * 2
    assert batch.boxes.dtype == torch.int64
    assert batch.box_images.tolist() == [1, 1, 2, 2]
    assert batch.box_classes.tolist() == [0, 1, 0, 1]
    assert batch.annotated.tolist() == [False, True, True]
    assert batch.indices.tolist() == [1, 0, 0]


def test_masks_follow_the_squashed_image_if_they_are_wanted() -> None:
    sample = PreparedDataset(Fixed(), image_size=8, with_masks=True)[0]
    assert sample.runs.tolist() == [[8 * row + 4, 8 * row + 8] for row in range(8)]
    assert sample.run_classes.tolist() == [1] * 8
    assert len(PreparedDataset(Fixed(), image_size=8)[0].runs) == 0
    assert len(PreparedDataset(Fixed(), image_size=8, with_masks=True)[1].runs) == 0


def test_a_batch_in_one_go_is_that_of_its_samples() -> None:
    prepared = PreparedDataset(Fixed(), 8, target="mask", with_masks=True)
    batch = prepared.__getitems__([1, (3, 0), 0])
    expected = collate([prepared[1], prepared[0], prepared[0]], "mask")
    for name, value in vars(expected).items():
        assert (
            torch.equal(getattr(batch, name), value) if isinstance(value, Tensor) else batch.target == "mask"
        )
    assert batch.run_images.tolist() == [1] * 8 + [2] * 8
    assert batch.outside.tolist() == [False, True, True]
    assert batch.groups.tolist() == [-1, 3, 3]


def test_collate_without_any_box() -> None:
    batch = collate([PreparedDataset(Fixed(), 8)[1]])
    assert batch.boxes.shape == (0, 4)
    assert batch.box_images.shape == batch.box_classes.shape == (0,)
    assert not batch.has_boxes().any()


@pytest.mark.parametrize(
    ("value", "finite"), [(0.5, ""), (float("nan"), ", with values that are not finite")]
)
def test_images_that_are_no_pixels_are_named(value: float, finite: str) -> None:
    class Floats(Fixed):
        def image(self, index: int, least: int | None = None) -> Tensor:
            return torch.full((3, 8, 8), value) if index == 1 else super().image(index, least)

    prepared = PreparedDataset(Floats(), image_size=8)
    assert len(prepared.__getitems__([0])) == 1
    with pytest.raises(InputError, match=rf"the image 1 is torch\.float32{finite}; a data set's images are"):
        prepared.__getitems__([0, 1])
