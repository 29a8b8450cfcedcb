import json
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from guidance.data.image_file import read_image
from guidance.data.waterbirds import Waterbirds, builder
from guidance.data.waterbirds.__main__ import main
from guidance.data.waterbirds.composition import Composition, blend, compose, fill
from guidance.data.waterbirds.metadata import read_metadata
from guidance.data.waterbirds.places import LAND_PLACES, WATER_PLACES, list_places
from guidance.data.waterbirds.plan import is_waterbird, plan
from guidance.errors import InputError
from tests.data.waterbirds_tree import (
    BIRD_COLOUR,
    HEIGHT,
    SPECIES,
    WIDTH,
    bird_mask,
    bird_names,
    write_cub,
    write_image,
    write_places,
)

# 20 official training images, of which 4 validate, and 10 of the test; as many land- as waterbirds
NAMES = bird_names(30)
TRAINING = {name: i < 20 for i, name in enumerate(NAMES)}
PLACES = {"b/bamboo_forest": 9, "forest/broadleaf": 9, "o/ocean": 9, "lake-natural": 9}


@pytest.fixture(scope="module")
def cub(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_cub(tmp_path_factory.mktemp("cub"), NAMES, TRAINING)


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("places")
    write_places(folder, PLACES)
    return folder


def build(cub: Path, places: Path, out: Path, **options: Any) -> None:
    builder.build_waterbirds(cub, places, out, **{"workers": 1, **options})


def content(out: Path) -> dict[str, bytes]:
    files = (path for path in out.rglob("*") if path.is_file())
    return {path.relative_to(out).as_posix(): path.read_bytes() for path in files}


def place_files(out: Path) -> dict[str, str]:
    """Return the background of each image."""
    header, *lines = (out / "metadata.csv").read_text().splitlines()
    assert header == "img_id,img_filename,y,split,place,place_filename"
    return {line.split(",")[1]: line.split(",")[5] for line in lines}


# What is decided


def test_waterbirds_are_told_by_their_species() -> None:
    assert [is_waterbird(f"{species}/x.jpg") for species in SPECIES] == [
        True,
        False,
        False,
        False,
        True,
        True,
    ]
    for species in (
        "086.Pacific_Loon",
        "064.Ring_billed_Gull",
        "052.Pied_billed_Grebe",
        "045.Northern_Fulmar",
    ):
        assert is_waterbird(f"{species}/x.jpg")
    # as in the release, for the "tern" in their names
    for species in ("021.Eastern_Towhee", "088.Western_Meadowlark", "102.Western_Wood_Pewee"):
        assert is_waterbird(f"{species}/x.jpg")
    # only the species counts, neither the number nor the file's name
    for name in (
        "183.Northern_Waterthrush/Gull_1.jpg",
        "Gull/x.jpg",
        "001.Loon/x.jpg",
    ):
        assert not is_waterbird(name)


def fake_cub(land: tuple[int, int], water: tuple[int, int]) -> tuple[dict[str, str], dict[str, bool]]:
    """Return images and marks of as many (training, test) birds of each kind."""
    names, training = [], {}
    for species, counts in (("001.Sooty_Albatross", water), ("017.Cardinal", land)):
        for in_training, count in zip((True, False), counts, strict=True):
            new = [f"{species}/{in_training}_{i}.jpg" for i in range(count)]
            names += new
            training.update(dict.fromkeys(new, in_training))
    return {str(i): name for i, name in enumerate(names, start=1)}, training


@pytest.mark.parametrize("confounder", [1.0, 0.95, 0.5])
def test_groups_of_the_size_of_cub(confounder: float) -> None:
    images, training = fake_cub(land=(4615, 4510), water=(1379, 1284))
    files = ([f"land/{i}" for i in range(7300)], [f"water/{i}" for i in range(6000)])
    rows = plan(images, training, files, confounder, 0.5, seed=3)
    counts = Counter((row.split, row.group) for row in rows)
    assert [counts[2, group] for group in range(4)] == [2255, 2255, 642, 642]  # as released
    assert sum(counts[1, group] for group in range(4)) == 1199
    for bird in (0, 1):
        total, val = (sum(row.split == split and row.bird == bird for row in rows) for split in (0, 1))
        assert counts[0, 3 * bird] == round(confounder * total)
        assert abs(counts[1, 3 * bird] - val / 2) <= 0.5
    assert len({row.place_file for row in rows}) == len(rows)
    assert all(row.place_file.startswith(("land/", "water/")[row.place]) for row in rows)
    assert all((row.split == 2) != training[row.file_name] for row in rows)
    assert [row.file_name for row in rows] == list(images.values())
    assert [row.number for row in rows] == list(images)


def test_choices_depend_on_the_seed_alone_and_few_places_are_shared_out() -> None:
    images, training = fake_cub(land=(40, 10), water=(30, 10))
    files = (["a", "b", "c"], ["d"])

    def rows(seed: int) -> list[Any]:
        return [(r.split, r.place, r.place_file) for r in plan(images, training, files, 0.95, 0.9, seed)]

    assert rows(0) == rows(0)
    assert rows(0) != rows(1)
    uses = Counter(place_file for _, _, place_file in rows(0))
    assert max(uses[name] for name in "abc") - min(uses[name] for name in "abc") <= 1
    assert uses["d"] == sum(place for _, place, _ in rows(0))


def test_places_in_the_three_layouts(tmp_path: Path) -> None:
    write_places(tmp_path, {**PLACES, "bamboo_forest": 1})
    (tmp_path / "o" / "ocean" / "list.txt").touch()
    land = list_places(tmp_path, LAND_PLACES)
    assert land == [f"b/bamboo_forest/{i:08d}.jpg" for i in range(1, 10)] + [
        f"forest/broadleaf/{i:08d}.jpg" for i in range(1, 10)
    ]
    water = list_places(tmp_path, WATER_PLACES)
    assert [Path(file).parent.as_posix() for file in water] == ["o/ocean"] * 9 + ["lake-natural"] * 9
    with pytest.raises(
        InputError, match=r"no folder of the place 'ski/slope'.*s/ski/slope, ski/slope, ski-slope"
    ):
        list_places(tmp_path, ["ski/slope"])
    (tmp_path / "desert").mkdir()
    with pytest.raises(InputError, match=r"desert holds no image"):
        list_places(tmp_path, ["desert"])


# One image


def test_alpha_mixes_bird_and_place() -> None:
    bird, place = np.full((1, 4, 3), 200, np.uint8), np.full((1, 4, 3), 50, np.uint8)
    blended = blend(bird, np.array([[255, 0, 51, 128]], np.uint8), place)
    assert blended.dtype == np.uint8
    assert blended[0].tolist() == [[200] * 3, [50] * 3, [80] * 3, [125] * 3]


@pytest.mark.parametrize(
    ("shape", "size", "left", "top"),
    [
        ((20, 60), (10, 10), 20, 0),
        ((60, 20), (10, 10), 0, 20),
        ((30, 90), (60, 60), 30, 0),
        ((8, 8), (3, 5), 0, 1.6),
    ],
)
def test_the_middle_of_a_place_fills_the_image(
    shape: tuple[int, int], size: tuple[int, int], left: float, top: float
) -> None:
    rows, columns = np.mgrid[0 : shape[0], 0 : shape[1]].astype(np.uint8)
    place = np.stack([rows, columns, np.zeros_like(rows)], axis=2)
    filled = fill(place, size).astype(float)
    assert filled.shape == (*size, 3)
    # each axis is linear: its mean is the middle, and its ends show where the cut was
    assert filled[:, :, 0].mean() == pytest.approx((shape[0] - 1) / 2, abs=0.6)
    assert filled[:, :, 1].mean() == pytest.approx((shape[1] - 1) / 2, abs=0.6)
    assert filled[0, 0, 0] >= top - 0.6
    assert filled[0, 0, 1] >= left - 0.6
    assert filled[-1, -1, 0] <= shape[0] - top
    assert filled[-1, -1, 1] <= shape[1] - left


@given(st.tuples(*[st.integers(1, 70)] * 4))
def test_any_size_can_be_filled(sizes: tuple[int, int, int, int]) -> None:
    place = np.full((sizes[0], sizes[1], 3), 77, np.uint8)
    filled = fill(place, sizes[2:])
    assert filled.shape == (*sizes[2:], 3)
    assert (filled == 77).all()


def test_a_segmentation_of_another_size_than_its_photograph_is_named(tmp_path: Path) -> None:
    write_image(tmp_path / "bird.jpg", BIRD_COLOUR)
    Image.new("L", (WIDTH, HEIGHT + 1)).save(tmp_path / "bird.png")
    files = Composition(
        *(tmp_path / name for name in ("bird.jpg", "bird.png", "bird.jpg", "out.jpg", "out.png"))
    )
    with pytest.raises(InputError, match=r"bird\.png is 40 x 33 pixels, but its image is 40 x 32"):
        compose(files)
    assert not files.image.exists()


# The whole folder


def test_the_folder_is_what_the_data_set_reads(cub: Path, tmp_path: Path) -> None:
    colours = write_places(tmp_path / "places", PLACES)
    out = tmp_path / "out"
    build(cub, tmp_path / "places", out)
    used = place_files(out)
    assert len(set(used.values())) == 30
    mask = torch.from_numpy(bird_mask())
    seen = Counter[tuple[str, int]]()
    for split, count in (("train", 16), ("val", 4), ("test", 10)):
        dataset = Waterbirds(out, split, val_groups="all")
        twin = Waterbirds(out, split, val_groups="all", task="reversed")
        assert len(dataset) == len(twin) == count
        for index in range(count):
            annotation, image = dataset.annotation(index), dataset.image(index).float()
            assert annotation.boxes.tolist() == twin.annotation(index).boxes.tolist() == [[12, 8, 28, 24]]
            assert torch.equal(dataset.masks(index)[1][0], mask > 127)
            name = Path(dataset.name(index)).relative_to(out).as_posix()
            place = torch.tensor(colours[used[name]]).float()
            bird = torch.tensor(BIRD_COLOUR).float()
            # JPEG keeps colours in blocks of 16 x 16 pixels: well inside and well outside the bird
            assert (image[:, 14:18, 18:22] - bird[:, None, None]).abs().max() < 12
            assert (image[:, :, 36:] - place[:, None, None]).abs().max() < 12
            place_is_water = used[name].startswith(("/o/ocean", "/lake-natural"))
            assert annotation.group == 2 * is_waterbird(name) + place_is_water
            assert twin.annotation(index).labels.tolist() == [not place_is_water, place_is_water]
            seen[split, annotation.group] += 1
    assert seen["train", 1] == seen["train", 2] == 0
    assert seen["train", 0] + seen["val", 0] + seen["val", 1] == 10
    assert abs(seen["test", 0] - seen["test", 1]) <= 1
    assert abs(seen["test", 2] - seen["test", 3]) <= 1
    assert sorted(path.name for path in out.iterdir() if path.is_file()) == [
        "bounding_boxes.txt", "build.json", "images.txt", "metadata.csv",
    ]  # fmt: skip
    assert not list(out.rglob("*.tmp"))


def test_processes_and_the_order_of_files_change_nothing(
    cub: Path, places: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    build(cub, places, tmp_path / "one", seed=5, confounder=0.75)
    build(cub, places, tmp_path / "two", seed=5, confounder=0.75, workers=2)
    in_order = Path.iterdir

    def reversed_order(path: Path) -> Iterator[Path]:
        return iter(sorted(in_order(path), reverse=True))

    monkeypatch.setattr(Path, "iterdir", reversed_order)
    build(cub, places, tmp_path / "three", seed=5, confounder=0.75)
    build(cub, places, tmp_path / "other", seed=6, confounder=0.75)
    one, two, three, other = (content(tmp_path / name) for name in ("one", "two", "three", "other"))
    assert one == two == three
    assert one["metadata.csv"] != other["metadata.csv"]
    assert len(one) == 30 + 30 + 4


def dying_after(count: int, die: Callable[[], None]) -> Callable[[Composition], None]:
    done = 0

    def composing(files: Composition) -> None:
        nonlocal done
        if done == count:
            die()
        done += 1
        compose(files)

    return composing


def test_an_interrupted_build_is_continued(
    cub: Path, places: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"

    def interrupt() -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(builder, "compose", dying_after(7, interrupt))
        with pytest.raises(KeyboardInterrupt):
            build(cub, places, out)
    first = {path: path.stat().st_mtime_ns for path in out.rglob("*.jpg")}
    assert len(first) == 7
    assert not (out / "metadata.csv").exists()
    build(cub, places, out)
    assert {path: path.stat().st_mtime_ns for path in first} == first
    build(cub, places, tmp_path / "whole")
    assert content(out) == content(tmp_path / "whole")


@pytest.mark.skipif(
    not hasattr(os, "mkfifo"), reason="stops the build at a named pipe, which this system has not"
)
def test_a_killed_build_is_continued(cub: Path, tmp_path: Path) -> None:
    places, out = tmp_path / "places", tmp_path / "out"
    write_places(places, PLACES)
    build(cub, places, tmp_path / "whole")
    rows = read_metadata(tmp_path / "whole" / "metadata.csv")
    place = place_files(tmp_path / "whole")[rows[10].file_name]
    pipe = places / place.removeprefix("/")
    image = pipe.read_bytes()
    pipe.unlink()
    os.mkfifo(pipe)
    options = ["--cub", cub, "--places", places, "--out", out, "--workers", "1"]
    command = [
        sys.executable,
        "-W",
        "error::RuntimeWarning",
        "-m",
        "guidance.data.waterbirds",
        *map(str, options),
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
        while process.poll() is None:
            with suppress(OSError):  # until the other end is open to read
                writer = os.open(pipe, os.O_WRONLY | os.O_NONBLOCK)
                process.kill()
                os.close(writer)
            time.sleep(0.01)
        assert process.communicate()[0] == b""
    assert len(list(out.rglob("*.jpg"))) == 10
    assert not (out / "metadata.csv").exists()
    (out / f"{rows[10].file_name}.tmp").write_bytes(image[:50])
    pipe.unlink()
    pipe.write_bytes(image)
    build(cub, places, out)
    assert content(out) == content(tmp_path / "whole")


def test_other_arguments_for_the_same_folder_are_refused(cub: Path, places: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    build(cub, places, out, confounder=0.95)
    with pytest.raises(
        InputError, match=r"out was begun with other .*\(confounder was 0\.95, now it is 1\.0\): give"
    ):
        build(cub, places, out)
    build(cub, places, out, confounder=0.95)
    (out / "build.json").write_text("[]")
    with pytest.raises(InputError, match=r"build\.json was not written by this command"):
        build(cub, places, out, confounder=0.95)
    (out / "build.json").write_text("{")
    with pytest.raises(InputError, match=r"cannot use .*build\.json"):
        build(cub, places, out, confounder=0.95)
    (out / "build.json").unlink()
    with pytest.raises(
        InputError, match=r"out is not empty and was not begun by this command \(there is 001\."
    ):
        build(cub, places, out, confounder=0.95)
    with pytest.raises(InputError, match=r"cannot use .*bounding_boxes\.txt/build\.json"):
        build(cub, places, cub / "bounding_boxes.txt")


def test_places_that_changed_since_are_noticed(cub: Path, tmp_path: Path) -> None:
    write_places(tmp_path / "places", PLACES)
    build(cub, tmp_path / "places", tmp_path / "out")
    write_image(tmp_path / "places" / "o" / "ocean" / "00000000.jpg", (1, 2, 3))
    with pytest.raises(InputError, match=r"other arguments or files \(plan was"):
        build(cub, tmp_path / "places", tmp_path / "out")


def test_the_record_says_what_was_built(cub: Path, places: Path, tmp_path: Path) -> None:
    build(cub, places, tmp_path / "out", seed=4, val_confounder=1, water_places=["ocean"])
    record = json.loads((tmp_path / "out" / "build.json").read_text())
    assert len(record.pop("plan")) == 64
    assert record == {
        "cub": str(cub), "places": str(places), "confounder": 1.0, "val_confounder": 1.0, "seed": 4,
        "land_places": ["bamboo_forest", "forest/broadleaf"], "water_places": ["ocean"],
    }  # fmt: skip
    rows = read_metadata(tmp_path / "out" / "metadata.csv")
    assert all(row.bird == row.place for row in rows if row.split == 1)


def test_too_few_places_are_used_again_with_a_warning(
    cub: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_places(tmp_path / "places", {"ocean": 4, "bamboo_forest": 40})
    build(cub, tmp_path / "places", tmp_path / "out", land_places=["bamboo_forest"], water_places=["ocean"])
    water = sum(row.place for row in read_metadata(tmp_path / "out" / "metadata.csv"))
    (record,) = caplog.records
    assert record.getMessage() == (
        f"{water} images need water for a background, but there are only 4: each is used up to "
        f"{-(-water // 4)} times"
    )


# Bad input, one by one


def test_bad_options_and_files_are_named(cub: Path, places: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    with pytest.raises(InputError, match=r"--confounder is 1\.5; it must be a number in \[0, 1\]"):
        build(cub, places, out, confounder=1.5)
    with pytest.raises(InputError, match=r"--val-confounder is nan"):
        build(cub, places, out, val_confounder=float("nan"))
    with pytest.raises(InputError, match=r"--workers is 0; it must be at least 1"):
        build(cub, places, out, workers=0)
    with pytest.raises(InputError, match=r"a place stands twice .*: ocean, ocean"):
        build(cub, places, out, land_places=["ocean"], water_places=["ocean"])
    with pytest.raises(InputError, match=r"no folder of the place 'bamboo_forest' in .*nowhere; tried"):
        build(cub, tmp_path / "nowhere", out)
    with pytest.raises(InputError, match=r"cannot read .*nowhere/images\.txt: No such file"):
        build(tmp_path / "nowhere", places, out)
    assert not out.exists()


def test_missing_and_broken_files_of_cub_are_named(
    places: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Threads fail like processes and start at once.
    monkeypatch.setattr(builder, "ProcessPoolExecutor", lambda workers, _: ThreadPoolExecutor(workers))
    cub = write_cub(tmp_path / "cub", NAMES[:6], dict.fromkeys(NAMES[:6], True))
    out = tmp_path / "out"
    bird, segmentation = cub / "images" / NAMES[3], cub / "segmentations" / Path(NAMES[2]).with_suffix(".png")
    whole = segmentation.read_bytes()
    segmentation.write_bytes(whole[:30])
    with pytest.raises(InputError, match=rf"cannot read the image {segmentation}"):
        build(cub, places, out, workers=2)
    segmentation.unlink()
    with pytest.raises(
        InputError, match=rf"1 of 6 files are missing, the first: {segmentation}; .*segmentations\.tgz"
    ):
        build(cub, places, out)
    segmentation.write_bytes(whole)
    bird.unlink()
    with pytest.raises(InputError, match=rf"1 of 6 files are missing, the first: {bird}"):
        build(cub, places, out)
    write_image(bird, BIRD_COLOUR)
    boxes = (cub / "bounding_boxes.txt").read_text().splitlines()
    (cub / "bounding_boxes.txt").write_text("\n".join(boxes[1:]))
    with pytest.raises(InputError, match=rf"bounding_boxes\.txt has no box of {NAMES[0]}"):
        build(cub, places, out)


def test_a_disk_that_takes_no_file_is_named(
    cub: Path, places: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Image.Image, "save", full)
    with pytest.raises(InputError, match=r"cannot write .*\.jpg: .*No space left"):
        build(cub, places, tmp_path / "out")


# The command


def test_the_command(cub: Path, places: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    main(["--cub", str(cub), "--places", str(places), "--out", str(out), "--workers", "1"])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["train", "val", "test"]
    counts = Counter((row.group, row.split) for row in read_metadata(out / "metadata.csv"))
    names = ["landbird on land", "landbird on water", "waterbird on land", "waterbird on water"]
    for group, (name, line) in enumerate(zip(names, lines[1:], strict=True)):
        assert line.startswith(name)
        assert line[len(name) :].split() == [str(counts[group, split]) for split in range(3)]
    assert read_image(out / NAMES[0]).shape == (3, HEIGHT, WIDTH)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--cub", "x"], "the following arguments are required: --places, --out (see --help)"),
        (
            ["--cub", "x", "--places", "y", "--out", "z", "--seed", "1.5"],
            "argument --seed: invalid int value",
        ),
        (["--cub", "x", "--places", "y", "--out", "z", "--conf", "1"], "unrecognized arguments: --conf 1"),
        (["--cub", "nowhere", "--places", "y", "--out", "z"], "cannot read nowhere/images.txt"),
    ],
)
def test_the_commands_errors_are_one_line(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"Error: {message}")
