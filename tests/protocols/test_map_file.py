"""Maps on the disk: sums per cell, slots, and what is read back."""

from pathlib import Path

import pytest
import torch

from guidance.protocols.map_file import MapFile


def test_maps_are_pooled_within_their_cells(tmp_path: Path) -> None:
    file = MapFile(tmp_path, grids=5, n=2, side=3)
    generator = torch.Generator().manual_seed(0)
    maps = torch.randn(2, 24, 24, generator=generator)
    assert not file.has(["input"])
    file.write([3, 1], {"input": maps, "a.b:input": maps[:, ::4, ::4]}, (24, 24))
    assert file.has(["input", "a.b:input"])
    kept = file.read("input", [1, 3, 0])
    assert kept.shape == (3, 6, 6)
    for number, own in ((1, maps[0]), (0, maps[1])):
        for row in range(6):
            for column in range(6):
                window = own[4 * row : 4 * row + 4, 4 * column : 4 * column + 4]
                assert kept[number, row, column].item() == pytest.approx(window.clamp(min=0).mean().item())
    assert kept[2].eq(0).all()  # not written yet
    file.write([0], {"input": maps[:1]}, (24, 24))
    assert torch.equal(file.read("input", [0]), file.read("input", [3]))


def test_cells_do_not_leak_where_sizes_do_not_divide(tmp_path: Path) -> None:
    file = MapFile(tmp_path, grids=1, n=2, side=3)
    maps = torch.zeros(1, 10, 10)
    maps[:, :5, :5] = 1
    file.write([0], {"input": maps}, (10, 10))
    kept = file.read("input", [0])[0]
    assert kept[:3, :3].eq(1).all()
    assert kept.sum() == 9
