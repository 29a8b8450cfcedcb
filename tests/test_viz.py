from pathlib import Path

import numpy as np
import pytest
import torch
from matplotlib.image import imread
from torch import Tensor

from guidance.pareto import pareto_front
from guidance.viz import GalleryMap, GalleryRow, draw_front, draw_gallery, overlay, robust_limit

METRICS = ("val/f1_micro", "val/epg", "val/iou")


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def image(height: int = 32, width: int = 48) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(256, (3, height, width), generator=generator, dtype=torch.uint8)


def row(maps: list[GalleryMap], boxes: Tensor | None = None) -> GalleryRow:
    return GalleryRow(image(), torch.zeros(0, 4) if boxes is None else boxes, "dog, p = 0.93", maps)


def size(path: Path) -> tuple[int, int]:
    picture = imread(path)
    assert float(picture[..., :3].std()) > 0  # something was drawn
    return picture.shape[0], picture.shape[1]


def test_evidence_is_coloured_and_all_else_is_grey() -> None:
    attribution = torch.zeros(32, 48)
    attribution[:10, :10], attribution[20:, 30:] = 2.0, -5.0
    picture = overlay(image(), attribution)
    assert picture.shape == (32, 48, 3)
    assert picture.dtype == np.float32
    assert picture.min() >= 0
    assert picture.max() <= 1
    grey = np.ptp(picture, axis=-1) < 1e-6
    assert not grey[:10, :10].any()
    assert grey[10:].all()
    assert grey[:, 10:].all()


def test_overlay_is_at_the_image_size_and_its_limit_sets_the_full_colour() -> None:
    attribution = torch.rand(4, 6, generator=torch.Generator().manual_seed(1))
    assert overlay(image(), attribution).shape == (32, 48, 3)
    assert np.allclose(overlay(image(), 7 * attribution), overlay(image(), attribution), atol=1e-5)
    strong, weak = (overlay(image(), attribution, limit) for limit in (1.0, 100.0))
    assert np.ptp(strong, axis=-1).mean() > np.ptp(weak, axis=-1).mean()


@pytest.mark.parametrize("value", [0.0, -1.0, torch.nan])
def test_map_without_evidence_leaves_the_grey_image(value: float) -> None:
    assert np.ptp(overlay(image(), torch.full((4, 4), value)), axis=-1).max() < 1e-6


def test_limit_is_robust_and_never_zero() -> None:
    spread = torch.arange(10_000.0).view(100, 100)
    spread[-1, -1] = 1e9
    assert robust_limit(spread) == pytest.approx(9949, abs=1)
    lonely = torch.zeros(100, 100)
    lonely[3, 3] = 2.0
    assert robust_limit(lonely) == 2.0
    assert robust_limit(torch.zeros(4, 4)) == 1.0
    assert robust_limit(-torch.ones(4, 4)) == 1.0


def test_gallery_of_one_row_and_of_many(tmp_path: Path) -> None:
    boxes = torch.tensor([[2, 3, 20, 30], [0, 0, 48, 32]])
    before, after = (GalleryMap(name, torch.rand(4, 6), "EPG 47 %") for name in ("before", "after"))
    draw_gallery(tmp_path / "one.png", [row([after], boxes)])
    draw_gallery(tmp_path / "new" / "many.png", [row([before, after], boxes)] * 3, title="Epoch 3")
    (height, width), (tall, wide) = size(tmp_path / "one.png"), size(tmp_path / "new" / "many.png")
    assert wide > 1.4 * width
    assert tall > 2.5 * height
    assert names(tmp_path / "new") == ["many.png"]


def test_gallery_without_boxes_evidence_or_some_maps(tmp_path: Path) -> None:
    empty = GalleryMap("after", torch.zeros(7, 7))
    draw_gallery(tmp_path / "a.png", [row([]), row([empty]), row([empty, empty])])
    size(tmp_path / "a.png")
    with pytest.raises(ValueError, match="at least one row"):
        draw_gallery(tmp_path / "b.png", [])


@pytest.mark.parametrize("count", [0, 1, 40])
def test_front_of_few_and_many_points(count: int, tmp_path: Path) -> None:
    points = torch.rand(count, 3, generator=torch.Generator().manual_seed(2))
    labels = [str(i) for i in range(count)]
    draw_front(tmp_path / "a.png", points, pareto_front(points), METRICS, labels, baseline=[0.8, 0.47, 0.01])
    size(tmp_path / "a.png")
    assert names(tmp_path) == ["a.png"]


def test_front_with_equal_and_nan_points_in_two_metrics(tmp_path: Path) -> None:
    points = torch.tensor([[0.5, 0.5], [0.5, 0.5], [0.4, torch.nan], [0.6, 0.2]])
    draw_front(tmp_path / "a.png", points, pareto_front(points), METRICS[:2], ["0", "1", "2", "3"])
    size(tmp_path / "a.png")


def test_front_refuses_sizes_that_do_not_fit(tmp_path: Path) -> None:
    points, front = torch.rand(4, 3), torch.ones(4, dtype=torch.bool)
    for wrong in (
        (points, front, METRICS[:2]),
        (points, front[:3], METRICS),
        (points[:, :1], front, METRICS[:1]),
        (points, front, METRICS, ["0"]),
        (points, front, METRICS, None, [0.5]),
    ):
        with pytest.raises(ValueError, match="do not fit"):
            draw_front(tmp_path / "a.png", *wrong)
    assert names(tmp_path) == []
