import itertools
import math
from collections import Counter
from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from guidance.data import Annotation, Augmentation, ImageDataset, PreparedDataset
from guidance.data import augmentation as augmentation_module
from guidance.data.runs import union_runs
from guidance.errors import InputError

RED, GREEN = torch.tensor([[255, 0, 0], [0, 255, 0]], dtype=torch.uint8)
NO_MASKS = torch.zeros(0, 5, 5, dtype=torch.bool)


def scene(height: int, width: int, *rectangles: tuple[int, int, int, int]) -> tuple[Tensor, Tensor, Tensor]:
    """Paint red rectangles on blue ramps; return the image, its boxes and one mask of all of them."""
    image = torch.zeros(3, height, width, dtype=torch.uint8)
    image[2] = torch.arange(height * width).reshape(height, width) % 200 + 1
    mask = torch.zeros(1, height, width, dtype=torch.bool)
    for x0, y0, x1, y1 in rectangles:
        image[:, y0:y1, x0:x1] = RED[:, None, None]
        mask[0, y0:y1, x0:x1] = True
    return image, torch.tensor(rectangles, dtype=torch.float64).reshape(-1, 4), mask


def extent(pixels: Tensor) -> list[int]:
    """Return the smallest box around the True pixels of [H, W]."""
    rows, columns = pixels.any(1).nonzero().flatten(), pixels.any(0).nonzero().flatten()
    return [int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1]


def is_red(image: Tensor) -> Tensor:
    red: Tensor = (image == RED[:, None, None]).all(0)
    return red


# Options


@pytest.mark.parametrize(
    ("option", "value"),
    [
        *[("crop", value) for value in (0, -0.1, 1.1, math.nan, math.inf, "half")],
        *[("min_visible", value) for value in (-0.1, 1.1, math.nan, "half", None)],
        *[("flip", value) for value in (-0.1, 1.1, math.nan, "often", None)],
        *[("jitter", value) for value in (-0.1, 1, 1.0, math.nan, "some", None)],
    ],
)
def test_a_bad_option_is_named(option: str, value: object) -> None:
    with pytest.raises(InputError, match=rf"data\.augmentation\.{option} is {value}; it must be a number"):
        Augmentation(**{option: value})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("augmentation", "active", "crops"),
    [
        (Augmentation(), False, False),
        (Augmentation(min_visible=0.1, seed=3), False, False),
        (Augmentation(crop=1), True, True),
        (Augmentation(flip=0.1), True, False),
        (Augmentation(jitter=0.1), True, False),
    ],
)
def test_what_is_active(augmentation: Augmentation, active: bool, crops: bool) -> None:
    assert (augmentation.active, augmentation.crops) == (active, crops)


def test_without_options_nothing_changes() -> None:
    image, boxes, masks = scene(9, 7, (1, 1, 3, 3))
    augmentation = Augmentation()
    draw = augmentation.generator(0, 0)
    state = draw.get_state()
    assert augmentation.crop(image, boxes, torch.tensor([0]), masks, draw)[0] is image
    assert torch.equal(draw.get_state(), state)
    for epoch in range(20):
        changed = augmentation.flip_and_jitter(image, boxes.long(), masks, augmentation.generator(epoch, 0))
        assert changed[0] is image
        assert torch.equal(changed[1], boxes.long())
        assert changed[2] is masks


# Crop


@settings(max_examples=300, deadline=None)
@given(
    size=st.tuples(st.integers(1, 60), st.integers(1, 60)),
    corners=st.tuples(*[st.floats(0, 0.999)] * 4),
    least=st.floats(0.05, 1),
    min_visible=st.floats(0, 1),
    index=st.integers(0, 10**6),
)
def test_boxes_and_masks_stay_with_what_they_mark(
    size: tuple[int, int], corners: tuple[float, ...], least: float, min_visible: float, index: int
) -> None:
    height, width = size
    x0, x1 = sorted(int(corner * width) for corner in corners[:2])
    y0, y1 = sorted(int(corner * height) for corner in corners[2:])
    image, boxes, mask = scene(height, width, (x0, y0, x1 + 1, y1 + 1))
    augmentation = Augmentation(crop=least, min_visible=min_visible, flip=0.5, seed=1)
    draw = augmentation.generator(0, index)
    cut, cut_boxes, classes, cut_mask = augmentation.crop(image, boxes, torch.tensor([4]), mask, draw)
    assert cut.shape[1:] == cut_mask.shape[1:]
    assert cut_boxes.dtype == torch.float64
    assert classes.tolist() == [4]
    assert cut_boxes.long().tolist() == [extent(is_red(cut))] == [extent(cut_mask[0])]
    assert cut_mask.sum() >= min_visible * mask.sum() - 1e-6
    turned, turned_boxes, turned_mask = augmentation.flip_and_jitter(cut, cut_boxes.long(), cut_mask, draw)
    assert turned_boxes.dtype == torch.int64
    assert turned_boxes.tolist() == [extent(is_red(turned))]
    assert torch.equal(is_red(turned), turned_mask[0])
    assert {type(value) for value in (cut, cut_boxes, cut_mask, turned, turned_boxes, turned_mask)} == {
        Tensor
    }


def test_a_window_is_a_piece_of_the_image() -> None:
    image = torch.arange(40 * 60).reshape(1, 40, 60).repeat(3, 1, 1)
    augmentation, none = Augmentation(crop=0.3), torch.zeros(0, 4, dtype=torch.float64)
    lefts, tops, areas, ratios = [], [], [], []
    for index in range(2000):
        draw = augmentation.generator(0, index)
        cut, boxes, classes, masks = augmentation.crop(
            image, none, torch.zeros(0, dtype=torch.int64), NO_MASKS, draw
        )
        (top, left), (height, width) = divmod(int(cut[0, 0, 0]), 60), cut.shape[1:]
        assert torch.equal(cut, image[:, top : top + height, left : left + width])
        assert (boxes.shape, classes.shape, len(masks)) == ((0, 4), (0,), 0)
        areas.append(height * width / 2400)
        ratios.append((width / 60) / (height / 40))
        if height < 40 and width < 60:
            tops.append(top / (40 - height))
            lefts.append(left / (60 - width))
    areas_drawn, ratios_drawn = torch.tensor(areas), torch.tensor(ratios)
    assert 0.3 - 0.02 < areas_drawn.min() < 0.33
    assert 0.97 < areas_drawn.max() <= 1
    quartiles = areas_drawn.quantile(torch.tensor([0.25, 0.5, 0.75]))
    assert torch.allclose(quartiles, torch.tensor([0.475, 0.65, 0.825]), atol=0.03)
    assert 3 / 4 - 0.05 < ratios_drawn.min() < 0.8
    assert 1.25 < ratios_drawn.max() < 4 / 3 + 0.05
    assert ratios_drawn[areas_drawn < 0.7].log().mean().abs() < 0.02
    for places in (torch.tensor(tops), torch.tensor(lefts)):
        assert abs(float(places.mean()) - 0.5) < 0.03
        assert places.min() == 0
        assert places.max() == 1


@pytest.mark.parametrize("min_visible", [0.0, 0.3, 0.5, 1.0])
def test_boxes_of_which_too_little_is_left_are_dropped(min_visible: float) -> None:
    rectangles = [(0, 0, 20, 20), (25, 10, 35, 30), (36, 36, 40, 40)]
    places = torch.arange(1600, dtype=torch.int32).reshape(1, 40, 40)
    classes = torch.tensor([2, 2, 2])
    augmentation = Augmentation(crop=0.1, min_visible=min_visible)
    boxes = torch.tensor(rectangles, dtype=torch.float64)
    dropped = 0
    for index in range(300):
        cut, left, left_classes, _ = augmentation.crop(
            places, boxes, classes, NO_MASKS, augmentation.generator(2, index)
        )
        expected = []
        for x0, y0, x1, y1 in rectangles:
            inside = torch.isin(cut[0].clone(), places[0, y0:y1, x0:x1].clone())
            part = int(inside.sum()) / ((x1 - x0) * (y1 - y0))
            if part >= min_visible and part > 0:
                expected.append(extent(inside))
        assert left.tolist() == expected != []
        assert left_classes.tolist() == [2] * len(expected)
        dropped += 3 - len(expected)
    assert dropped > 100


def test_every_class_keeps_a_box() -> None:
    image, boxes, _ = scene(40, 40, (0, 0, 8, 8), (4, 4, 9, 9), (32, 32, 40, 40))
    classes = torch.tensor([0, 0, 1])
    augmentation = Augmentation(crop=0.2, min_visible=0.6)
    whole = 0
    for index in range(300):
        cut, _, left, _ = augmentation.crop(image, boxes, classes, NO_MASKS, augmentation.generator(0, index))
        assert set(left.tolist()) == {0, 1}
        whole += cut.shape == image.shape
    assert 20 < whole < 280


def test_what_no_window_can_keep_is_kept_whole() -> None:
    image, boxes, masks = scene(30, 30, (0, 0, 30, 30), (14, 14, 15, 15))
    augmentation = Augmentation(crop=0.1, min_visible=1.0)
    results = [
        augmentation.crop(image, boxes, torch.tensor([0, 1]), masks, augmentation.generator(0, index))
        for index in range(50)
    ]
    assert all(
        torch.equal(one, other)
        for cut in results
        for one, other in zip(cut, (image, boxes, torch.tensor([0, 1]), masks), strict=True)
    )


def test_an_image_of_one_pixel() -> None:
    image, boxes, masks = scene(1, 1, (0, 0, 1, 1))
    augmentation = Augmentation(crop=0.01, flip=1.0, jitter=0.5)
    draw = augmentation.generator(0, 0)
    cut, boxes, _, masks = augmentation.crop(image, boxes, torch.tensor([0]), masks, draw)
    cut, boxes, masks = augmentation.flip_and_jitter(cut, boxes.long(), masks, draw)
    assert (cut.shape, boxes.tolist(), masks.tolist()) == ((3, 1, 1), [[0, 0, 1, 1]], [[[True]]])


# Flip and jitter


def test_a_flip_mirrors_image_boxes_and_masks() -> None:
    image, boxes, masks = scene(8, 8, (0, 2, 1, 3), (5, 0, 8, 8))
    augmentation = Augmentation(flip=1.0)
    flipped, mirrored, mask = augmentation.flip_and_jitter(
        image, boxes.long(), masks, augmentation.generator(0, 0)
    )
    assert torch.equal(flipped, image.flip(2))
    assert torch.equal(mask, masks.flip(2))
    assert mirrored.tolist() == [[7, 2, 8, 3], [0, 0, 3, 8]]
    none = torch.zeros(0, 4, dtype=torch.int64)
    no_masks = torch.zeros(0, 8, 8, dtype=torch.bool)
    _, mirrored, mask = augmentation.flip_and_jitter(image, none, no_masks, augmentation.generator(0, 0))
    assert (mirrored.shape, mirrored.dtype, mask.shape) == ((0, 4), torch.int64, (0, 8, 8))


def test_flips_come_with_their_probability() -> None:
    image, boxes, masks = scene(4, 4, (0, 0, 1, 1))
    augmentation = Augmentation(flip=0.3)
    flips = sum(
        not torch.equal(
            augmentation.flip_and_jitter(image, boxes.long(), masks, augmentation.generator(1, index))[0],
            image,
        )
        for index in range(2000)
    )
    assert abs(flips / 2000 - 0.3) < 0.04


def test_jitter_changes_brightness_contrast_and_saturation_within_its_bounds() -> None:
    augmentation = Augmentation(jitter=0.2)
    none, no_masks = torch.zeros(0, 4, dtype=torch.int64), torch.zeros(0, 2, 2, dtype=torch.bool)

    def jittered(image: Tensor, index: int) -> Tensor:
        return augmentation.flip_and_jitter(image, none, no_masks, augmentation.generator(0, index))[
            0
        ].float()

    flat = torch.full((3, 2, 2), 100, dtype=torch.uint8)  # only brightness changes it
    bright = torch.tensor([float(jittered(flat, index)[0, 0, 0]) for index in range(400)])
    assert 78 <= bright.min() < 83
    assert 117 < bright.max() <= 121
    steps = torch.tensor([[[80, 120], [120, 80]]] * 3, dtype=torch.uint8)  # grey: saturation has no effect
    contrast = torch.tensor(
        [
            float(pixels.max() - pixels.min()) / 40
            for pixels in (jittered(steps, index) for index in range(400))
        ]
    )
    assert 0.6 < contrast.min() < 0.75
    assert 1.3 < contrast.max() < 1.5
    colour = torch.tensor([120, 100, 80], dtype=torch.uint8)[:, None, None].expand(3, 2, 2)
    spread = [jittered(colour, index) for index in range(400)]
    chroma = torch.tensor(
        [float(pixels[0, 0, 0] - pixels[2, 0, 0]) / float(pixels.mean()) for pixels in spread]
    )
    # It is 0.4 times the factors of contrast and of saturation; one alone would stay within 0.32 and 0.48.
    assert 0.24 < chroma.min() < 0.3
    assert 0.53 < chroma.max() < 0.62


def test_the_colour_changes_come_in_any_order_with_factors_in_any_place(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen: list[tuple[int, float]] = []

    def recorder(number: int) -> Callable[[Tensor, float], Tensor]:
        return lambda image, factor: seen.append((number, factor)) or image  # type: ignore[func-returns-value]

    monkeypatch.setattr(
        augmentation_module, "_COLOUR_CHANGES", tuple(recorder(number) for number in range(3))
    )
    image, boxes, masks = scene(4, 4)
    augmentation = Augmentation(jitter=0.3)
    for index in range(600):
        augmentation.flip_and_jitter(image, boxes.long(), masks, augmentation.generator(0, index))
    orders = Counter(tuple(number for number, _ in seen[start : start + 3]) for start in range(0, 1800, 3))
    assert set(orders) == set(itertools.permutations(range(3)))
    assert min(orders.values()) > 60
    for change in range(3):
        factors = torch.tensor([factor for number, factor in seen if number == change])
        quartiles = factors.quantile(torch.tensor([0.0, 0.25, 0.5, 0.75, 1.0]))
        assert torch.allclose(quartiles, torch.tensor([0.7, 0.85, 1.0, 1.15, 1.3]), atol=0.04)
        assert factors.min() >= 0.7
        assert factors.max() <= 1.3


# Repeatability


def test_one_image_in_one_epoch_is_always_changed_alike() -> None:
    image, boxes, masks = scene(30, 50, (3, 4, 20, 20))
    options = {"crop": 0.2, "flip": 0.5, "jitter": 0.3}

    def changed(seed: int, epoch: int, index: int) -> list[float]:
        augmentation = Augmentation(**options, seed=seed)
        draw = augmentation.generator(epoch, index)
        cut, cut_boxes, _, cut_masks = augmentation.crop(image, boxes, torch.tensor([0]), masks, draw)
        cut, cut_boxes, _ = augmentation.flip_and_jitter(cut, cut_boxes.long(), cut_masks, draw)
        return cut.flatten().tolist() + cut_boxes.flatten().tolist()

    before = torch.get_rng_state()
    assert changed(3, 1, 7) == changed(3, 1, 7)
    keys = [(3, 1, 7), (4, 1, 7), (3, 2, 7), (3, 1, 8), (3, 7, 1)]
    results = [changed(*key) for key in keys]
    assert all(results[i] != results[j] for i in range(5) for j in range(i))
    assert torch.equal(torch.get_rng_state(), before)


def test_the_boxes_decide_nothing_about_later_draws() -> None:
    image, boxes, masks = scene(40, 40, (0, 0, 40, 40), (14, 14, 15, 15))
    augmentation = Augmentation(crop=0.1, min_visible=1.0, flip=0.5, jitter=0.4)
    for index in range(20):
        with_boxes, without = augmentation.generator(0, index), augmentation.generator(0, index)
        augmentation.crop(image, boxes, torch.tensor([0, 1]), masks, with_boxes)
        augmentation.crop(image, boxes[:0], torch.zeros(0, dtype=torch.int64), NO_MASKS, without)
        assert torch.equal(with_boxes.get_state(), without.get_state())


# In a prepared data set


class OneImage(ImageDataset):
    """A red rectangle, 100 x 80, whose evidence is said to lie outside it."""

    classes = ("a",)
    has_masks = True

    def __len__(self) -> int:
        return 1

    def annotation(self, index: int) -> Annotation:
        box = torch.tensor([[30.0, 20.0, 70.0, 60.0]])
        return Annotation((80, 100), torch.tensor([True]), box, torch.tensor([0]), outside=True)

    def image(self, index: int, least: int | None = None) -> Tensor:
        return scene(80, 100, (30, 20, 70, 60))[0]

    def masks(self, index: int) -> tuple[Tensor, Tensor]:
        return torch.tensor([0]), scene(80, 100, (30, 20, 70, 60))[2]

    def name(self, index: int) -> str:
        return "one"


@pytest.mark.parametrize("with_masks", [False, True])
def test_the_squashed_crop_is_still_marked(with_masks: bool) -> None:
    augmentation = Augmentation(crop=0.3, flip=0.5, min_visible=0.5)
    prepared = PreparedDataset(OneImage(), 64, with_masks=with_masks, augmentation=augmentation)
    plain = prepared[0]
    differ = 0
    for epoch in range(60):
        sample = prepared[epoch, 0]
        red = (sample.image[0] > 128) & (sample.image[2] < 100)
        found = torch.tensor(extent(red))
        assert (sample.boxes[0] - found).abs().max() <= 1
        assert sample.outside
        if with_masks:
            drawn = union_runs(sample.runs, torch.zeros(len(sample.runs), dtype=torch.int64), 1, (64, 64))[0]
            assert (torch.tensor(extent(drawn)) - found).abs().max() <= 1
        else:
            assert len(sample.runs) == 0
        differ += not torch.equal(sample.boxes, plain.boxes)
    assert differ > 50
