"""Builds tiny folders of CUB-200-2011, Places365 and Waterbirds, in their real layouts."""

import colorsys
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

ALBATROSS = "001.Black_footed_Albatross/Black_Footed_Albatross_0046_18.jpg"
ANI = "004.Groove_billed_Ani/Groove_Billed_Ani_0002_1670.jpg"

WIDTH, HEIGHT = 40, 32
BIRD = (12.0, 8.0, 16.0, 16.0)
"""x, y, width, height of every bird's box; its segmentation is 255 there, with a rim of 128 around."""

BIRD_COLOUR = (250, 20, 20)
SPECIES = (
    "001.Black_footed_Albatross", "004.Groove_billed_Ani", "009.Brewer_Blackbird", "017.Cardinal",
    "059.California_Gull", "100.Brown_Pelican",
)  # fmt: skip


def bird_names(count: int) -> list[str]:
    """Return file names that go through the species in turn; half of them are landbirds."""
    return [f"{SPECIES[i % 6]}/{SPECIES[i % 6][4:]}_{i:04d}_{7 * i + 18}.jpg" for i in range(count)]


def bird_mask() -> np.ndarray[tuple[int, int], np.dtype[np.uint8]]:
    """Return the segmentation of every bird."""
    x, y, width, height = (int(value) for value in BIRD)
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    mask[y - 1 : y + height + 1, x - 1 : x + width + 1] = 128
    mask[y : y + height, x : x + width] = 255
    return mask


def write_cub_lists(cub: Path, names: Sequence[str], training: Mapping[str, bool] | None = None) -> None:
    cub.mkdir(parents=True, exist_ok=True)
    numbered = list(enumerate(names, start=1))
    (cub / "images.txt").write_text("".join(f"{number} {name}\n" for number, name in numbered))
    box = " ".join(str(value) for value in BIRD)
    (cub / "bounding_boxes.txt").write_text("".join(f"{number} {box}\n" for number, _ in numbered))
    if training is not None:
        lines = (f"{number} {int(training[name])}\n" for number, name in numbered)
        (cub / "train_test_split.txt").write_text("".join(lines))


def write_segmentations(cub: Path, names: Sequence[str]) -> None:
    for name in names:
        path = cub / "segmentations" / Path(name).with_suffix(".png")
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(bird_mask()).save(path)


def write_image(path: Path, colour: tuple[int, int, int], size: tuple[int, int] = (WIDTH, HEIGHT)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, colour).save(path, quality=95)


def write_cub(cub: Path, names: Sequence[str], training: Mapping[str, bool]) -> Path:
    """Write photographs in one colour, their segmentations and the lists."""
    write_cub_lists(cub, names, training)
    write_segmentations(cub, names)
    for name in names:
        write_image(cub / "images" / name, BIRD_COLOUR)
    return cub


def write_places(places: Path, counts: Mapping[str, int]) -> dict[str, tuple[int, int, int]]:
    """Write so many images into each folder; return the colour of each ``/file``, which no two share."""
    files = [f"{folder}/{i:08d}.jpg" for folder, count in counts.items() for i in range(1, count + 1)]
    colours = {}
    for index, file in enumerate(files):
        r, g, b = colorsys.hsv_to_rgb(0.2 + 0.6 * index / len(files), 0.8, 0.8)
        colours[f"/{file}"] = (round(255 * r), round(255 * g), round(255 * b))
        write_image(places / file, colours[f"/{file}"], size=(30 + index % 3 * 20, 50))
    return colours


def write_released(root: Path, rows: Sequence[tuple[str, int, int, int]]) -> Path:
    """Write a folder as it is released, CUB's lists in it, of rows (file name, y, split, place)."""
    names = [row[0] for row in rows]
    write_cub_lists(root, names)
    lines = ["img_id,img_filename,y,split,place,place_filename"]
    for number, (name, bird, split, place) in enumerate(rows, start=1):
        lines.append(f"{number},{name},{bird},{split},{place},/o/ocean/{number:08d}.jpg")
        write_image(root / name, (10 * number % 256, 80, 80))
    (root / "metadata.csv").write_text("\n".join(lines) + "\n")
    return root
