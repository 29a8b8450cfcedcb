from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from guidance.data import ImageDataset, Shapes
from guidance.data.check.contact_sheet import class_colour, draw_contact_sheet
from tests.data.check.listed import Listed, annotation

CAT, DOG = 0, 1
# One image of 20 x 10 pixels fills 378 dots of its cell's 390 in width, after the title's 52.
LEFT, DOTS = 6, 18.9
TOP = 52.5 + 195 - 189


def draw(path: Path, dataset: ImageDataset, count: int = 1, seed: int = 0) -> NDArray[np.int64]:
    draw_contact_sheet(path, dataset, count, seed, "title")
    return np.asarray(Image.open(path).convert("RGB")).astype(np.int64)


def dot(picture: NDArray[np.int64], x: float, y: float) -> list[int]:
    """Return the colour at a place of the image, in its pixels."""
    values: list[int] = picture[round(TOP + y * DOTS), round(LEFT + x * DOTS)].tolist()
    return values


def of_colour(picture: NDArray[np.int64], number: int) -> NDArray[np.bool_]:
    colour = np.array([round(255 * part) for part in class_colour(number)])
    found: NDArray[np.bool_] = (abs(picture - colour) <= 3).all(axis=2)
    return found


def test_boxes_are_where_they_belong(tmp_path: Path) -> None:
    dataset = Listed([annotation([CAT], [(CAT, (5, 2, 15, 8))])])
    picture = draw(tmp_path / "sheet.png", dataset)
    assert picture.shape[1] == 390
    assert abs(picture.shape[0] - (52.5 + 195 + 63)) <= 1
    rows, columns = of_colour(picture, CAT).nonzero()
    found = [columns.min(), rows.min(), columns.max(), rows.max()]
    expected = [LEFT + 5 * DOTS, TOP + 2 * DOTS, LEFT + 15 * DOTS, TOP + 8 * DOTS]
    assert np.abs(np.array(found) - expected).max() <= 4
    assert not of_colour(picture, DOG).any()
    assert dot(picture, 10, 7) == [0, 0, 0]
    assert list(tmp_path.iterdir()) == [tmp_path / "sheet.png"]


def test_masks_are_translucent(tmp_path: Path) -> None:
    picture = draw(tmp_path / "sheet.png", Listed([annotation([CAT])], masked=[0], tone=100))
    blended = [60 + 102 * part for part in class_colour(CAT)]
    assert np.abs(np.array(dot(picture, 5, 5)) - blended).max() <= 2
    assert dot(picture, 15, 5) == [100, 100, 100]


@pytest.mark.parametrize(("masked", "inside", "outside"), [(None, (10, 7), (2, 5)), ([0], (2, 5), (17, 5))])
def test_the_outside_is_hatched(
    tmp_path: Path, masked: list[int] | None, inside: tuple[int, int], outside: tuple[int, int]
) -> None:
    drawn = []
    for is_outside in (False, True):
        content = annotation([CAT], [(CAT, (5, 2, 15, 8))], outside=is_outside)
        drawn.append(draw(tmp_path / "sheet.png", Listed([content], masked=masked)))
    assert dot(drawn[0], *inside) == dot(drawn[1], *inside)
    x, y = (round(LEFT + outside[0] * DOTS), round(TOP + outside[1] * DOTS))
    area = np.s_[y - 15 : y + 15, x - 15 : x + 15]
    assert (drawn[0][area] == 0).all()
    assert len(np.unique(drawn[1][area].reshape(-1, 3), axis=0)) > 1, "no hatching"


def test_an_outside_without_boxes_is_left_alone(tmp_path: Path) -> None:
    plain, outside = (
        draw(tmp_path / "sheet.png", Listed([annotation([CAT], outside=value)])) for value in (False, True)
    )
    assert (plain == outside).all()


def test_an_unreadable_image_is_a_grey_field(tmp_path: Path) -> None:
    picture = draw(tmp_path / "sheet.png", Listed([annotation([CAT], [(CAT, (5, 2, 15, 8))])], broken=[0]))
    assert dot(picture, 2, 2) == [217, 217, 217]
    assert not of_colour(picture, CAT).any()


def test_captions_differ_by_what_no_box_shows(tmp_path: Path) -> None:
    variants = [
        Listed([annotation([CAT])]),
        Listed([annotation([])]),
        Listed([annotation([CAT], group=1)], groups=("a", "b")),
        Listed([annotation([CAT])], names=["$x^{2$ [red]" + "y" * 99]),
    ]
    captions = [draw(tmp_path / "sheet.png", dataset)[round(52.5 + 195) :].tobytes() for dataset in variants]
    assert len(set(captions)) == len(captions)


def test_the_seed_chooses_the_images(tmp_path: Path) -> None:
    dataset = Shapes("train", image_size=32, length={"train": 50})
    path = tmp_path / "sheet.png"
    first = draw(path, dataset, count=8, seed=0)
    assert first.shape[1] == 6 * 390
    assert abs(first.shape[0] - (52.5 + 2 * (390 + 63))) <= 1
    assert (draw(path, dataset, count=8, seed=0) == first).all()
    assert (draw(path, dataset, count=8, seed=1) != first).any()


def test_a_crowd_of_boxes_keeps_one_name_per_class(tmp_path: Path) -> None:
    """However crowded, the second class's colour fills a name's area, not only a thin line."""
    crowd = [(CAT, (float(x), float(y), x + 1.5, y + 1.5)) for x in range(18) for y in range(8)]
    dataset = Listed([annotation([CAT, DOG], [*crowd, (DOG, (9, 5, 9.2, 5.2))])])
    picture = draw(tmp_path / "sheet.png", dataset)
    assert of_colour(picture, DOG).sum() > 150


def test_more_images_than_there_are(tmp_path: Path) -> None:
    assert draw(tmp_path / "sheet.png", Listed([annotation([CAT])] * 2), count=24).shape[1] == 2 * 390
    with pytest.raises(ValueError, match="at least one image"):
        draw(tmp_path / "sheet.png", Listed([annotation([CAT])]), count=0)


def test_colours_of_neighbouring_classes_differ() -> None:
    colours = np.array([class_colour(number) for number in range(20)])
    assert ((colours >= 0) & (colours <= 1)).all()
    distance = np.abs(colours[:, None] - colours[None]).sum(axis=2) + np.eye(20)
    assert distance.min() > 0.15
