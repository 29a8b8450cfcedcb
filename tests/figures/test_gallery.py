from pathlib import Path

import pytest
import torch
from torch import Tensor

from guidance.figures import GalleryMap, GalleryRow, draw_gallery
from tests.figures.drawn import names, size


def image(height: int = 32, width: int = 48) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(256, (3, height, width), generator=generator, dtype=torch.uint8)


def row(maps: list[GalleryMap], boxes: Tensor | None = None) -> GalleryRow:
    return GalleryRow(image(), torch.zeros(0, 4) if boxes is None else boxes, "dog, p = 0.93", maps)


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
