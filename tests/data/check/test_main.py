import csv
import io
import json
import os
import runpy
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig
from PIL import Image
from rich.console import Console

from guidance.command_line import CONFIG_DIR, check_overrides
from guidance.data.check.__main__ import check
from guidance.errors import InputError
from guidance.run_directory import register_resolvers
from tests.commands import run_command
from tests.data.voc_tree import object_xml, write_voc

TINY_SHAPES = ["data=shapes", "data.image_size=32", "data.length={train: 9, val: 4, test: 4}"]


def composed(output_dir: Path, *overrides: str) -> DictConfig:
    register_resolvers()
    with initialize_config_dir(str(CONFIG_DIR), version_base="1.3"):
        return compose("check", [f"paths.output_dir={output_dir}", *overrides])


def checked(output_dir: Path, *overrides: str) -> tuple[list[str], str, dict[str, Any]]:
    """Return the problems, what is printed and ``check.json``."""
    printed = io.StringIO()
    problems = check(composed(output_dir, *overrides), Console(file=printed, width=200))
    content: dict[str, Any] = json.loads((output_dir / "check.json").read_text())
    return problems, printed.getvalue(), content


@pytest.fixture
def voc(tmp_path: Path) -> Path:
    """A difficult object, a box beside its image, one across the edge, an image in two splits."""
    images = {
        "000001": [
            object_xml("dog", (1, 1, 5, 5)),
            object_xml("dog", (1, 1, 20, 10)),
            object_xml("cat", difficult=1),
        ],
        "000002": [object_xml("cat", (30, 1, 40, 5))],
        "000003": [],
        "000004": [object_xml("dog", (18, 1, 25, 5))],
        "000005": [object_xml("bird")],
    }
    lists = {"train": ["000001", "000002", "000003"], "val": ["000004", "000001"], "test": ["000005"]}
    write_voc(tmp_path, images, lists)
    return tmp_path


def overrides_of(root: Path) -> list[str]:
    return ["data=voc2007", f"data.root={root}", "data.num_workers=0"]


def test_counts_of_a_tree_counted_by_hand(voc: Path, tmp_path: Path) -> None:
    problems, printed, content = checked(tmp_path / "out", *overrides_of(voc))
    assert problems == []
    assert "Training can start" in printed
    assert content["can_train"] is True
    assert content["decoded"] is True
    assert {split: summary["images"] for split, summary in content["splits"].items()} == {
        "train": 3,
        "val": 2,
        "test": 1,
    }
    train = content["splits"]["train"]
    assert {key: train[key] for key in train if key.startswith("images_") and "_per_" not in key} == {
        "images_without_object": 1,
        "images_with_box": 1,
        "images_without_box": 2,
        "images_with_mask": 0,
        "images_to_look_outside": 0,
    }
    assert (train["boxes"], train["boxes_per_image_max"], train["whole_image_boxes"]) == (2, 2, 1)
    assert train["boxes_per_image_mean"] == pytest.approx(2 / 3)
    assert (train["annotated_images"], train["guidable_images"]) == (3, 1)
    assert (train["median_width"], train["median_height"]) == (20, 10)
    present = {name: count for name, count in train["images_per_class"].items() if count}
    assert (present, len(train["images_per_class"])) == ({"dog": 1, "cat": 1}, 20)
    assert {name: count for name, count in train["boxes_per_class"].items() if count} == {"dog": 2}
    reasons = {(item["what"], item["reason"]): item["count"] for item in train["skipped"]}
    assert reasons == {("object", "it is marked difficult"): 1, ("box", "it lies outside the image"): 1}


def test_what_is_skipped_is_listed_and_warned_of(voc: Path, tmp_path: Path) -> None:
    _, printed, content = checked(tmp_path / "out", *overrides_of(voc))
    annotations = voc / "VOCdevkit/VOC2007/Annotations"
    with (tmp_path / "out/skipped.csv").open(newline="") as file:
        rows = list(csv.reader(file))
    assert rows[0] == ["split", "what", "reason", "where"]
    assert sorted(rows[1:]) == sorted(
        [
            ["train", "object", "it is marked difficult", f"{annotations}/000001.xml:1"],
            ["train", "box", "it lies outside the image", f"{annotations}/000002.xml:1"],
            [
                "val",
                "part of a box",
                "it reaches outside the image and was clipped",
                f"{annotations}/000004.xml:1",
            ],
            ["val", "object", "it is marked difficult", f"{annotations}/000001.xml:1"],
        ]
    )
    assert f"      {annotations}/000002.xml:1\n" in printed
    assert [warning.partition(" classes")[0] for warning in content["warnings"][:3]] == [
        "train: no image shows 18 of 20",
        "val: no image shows 19 of 20",
        "test: no image shows 19 of 20",
    ]
    assert "1 image of val is in train too, the first: 000001.jpg" in "\n".join(content["warnings"])
    assert (
        "train: 1 of 3 objects, val: 1 of 4 objects left out: it is marked difficult" in content["warnings"]
    )
    assert all(f"Warning: {warning}\n" in printed for warning in content["warnings"])
    bird = next(line for line in printed.splitlines() if line.strip().startswith("bird"))
    assert bird.split() == ["bird", "*", "0", "0", "0", "0", "1", "1"]


def test_every_unreadable_image_is_a_problem_only_if_they_are_read(voc: Path, tmp_path: Path) -> None:
    for name in ("000002", "000003", "000005"):
        path = voc / "VOCdevkit/VOC2007/JPEGImages" / f"{name}.jpg"
        path.write_bytes(path.read_bytes()[:-100])
    problems, printed, content = checked(tmp_path / "out", *overrides_of(voc))
    assert [problem.partition(": ")[0] for problem in problems] == ["train", "train", "test"]
    for problem, name in zip(problems, ("000002", "000003", "000005"), strict=True):
        assert f"{name}.jpg" in problem
    assert content["problems"] == problems
    assert content["can_train"] is False
    assert "3 problems: training cannot start" in printed
    assert (tmp_path / "out/contact_sheet_train.png").is_file()
    assert checked(tmp_path / "quick", *overrides_of(voc), "decode=false")[0] == []


def test_one_bad_split_does_not_hide_the_others(voc: Path, tmp_path: Path) -> None:
    folder = voc / "VOCdevkit/VOC2007"
    (folder / "ImageSets/Main/val.txt").unlink()
    (folder / "Annotations/000005.xml").write_text("<annotation>")
    problems, printed, content = checked(tmp_path / "out", *overrides_of(voc))
    assert len(problems) == 2
    assert problems[0].startswith("val: ")
    assert "val.txt is missing" in problems[0]
    assert problems[1].startswith("test: cannot read the annotation")
    assert list(content["splits"]) == ["train"]
    assert "val" not in printed.splitlines()[2].split()


def test_a_folder_that_is_not_there_is_one_problem(tmp_path: Path) -> None:
    problems, printed, content = checked(tmp_path / "out", *overrides_of(tmp_path / "gone"))
    (problem,) = problems
    assert problem.startswith("train, val, test: there is no folder")
    assert content["splits"] == {}
    assert "1 problem: training cannot start" in printed


def test_data_without_boxes_cannot_guide(tmp_path: Path) -> None:
    lists = {split: ["1"] for split in ("train", "val", "test")}
    write_voc(tmp_path, {"1": [object_xml("dog", (30, 1, 40, 5))]}, lists)
    (problem,) = checked(tmp_path / "out", *overrides_of(tmp_path))[0]
    assert "use loss=none" in problem


def test_a_sheet_for_each_split_of_the_right_size(voc: Path, tmp_path: Path) -> None:
    checked(tmp_path / "out", *overrides_of(voc), "contact_sheet_images=2")
    widths = {"train": 2 * 390, "val": 2 * 390, "test": 390}
    for split, width in widths.items():
        with Image.open(tmp_path / f"out/contact_sheet_{split}.png") as picture:
            assert picture.width == width
            assert abs(picture.height - 150 * (0.35 + 1.3 + 0.42)) <= 1
    checked(tmp_path / "none", *overrides_of(voc), "contact_sheet_images=0")
    assert sorted(path.name for path in (tmp_path / "none").iterdir()) == ["check.json", "skipped.csv"]


def test_the_cache_stays_empty_and_its_conflicts_show(tmp_path: Path) -> None:
    cache = ["data.cache=true", f"data.cache_dir={tmp_path / 'cache'}", "contact_sheet_images=0"]
    assert checked(tmp_path / "out", *TINY_SHAPES, *cache)[0] == []
    assert not (tmp_path / "cache").exists()
    with pytest.raises(Exception, match=r"data\.augmentation\.crop"):
        checked(tmp_path / "out", *TINY_SHAPES, *cache, "data.augmentation.crop=0.5")


def test_the_annotated_part_is_that_of_training(tmp_path: Path) -> None:
    options = ["data.annotated_fraction=0.3", "data.target=mask", "contact_sheet_images=0"]
    content = checked(tmp_path / "out", *TINY_SHAPES, *options)[2]
    train, val = content["splits"]["train"], content["splits"]["val"]
    assert (train["annotated_images"], train["guidable_images"], train["images_with_mask"]) == (3, 3, 9)
    assert (val["annotated_images"], val["images_with_mask"]) == (4, 4)
    unread = checked(tmp_path / "out", *TINY_SHAPES, *options, "decode=false")
    assert unread[2]["splits"]["train"]["guidable_images"] is None
    assert unread[0] == []
    assert "not read" in unread[1]


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("contact_sheet_images=-1", "contact_sheet_images is -1; it must be an integer from 0 to 240"),
        ("contact_sheet_images=many", "contact_sheet_images is many"),
        ("decode=maybe", "decode is maybe; it must be true or false"),
        ("data.batch_size=0", "data.batch_size is 0"),
    ],
)
def test_a_wrong_option_is_named(override: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=message):
        check(composed(tmp_path, *TINY_SHAPES, override))


def test_overrides_are_checked_as_for_training() -> None:
    check_overrides("check", ["data=voc2007", "data.root=/x", "decode=false"])
    with pytest.raises(InputError, match=r"unknown key 'data.rot'. Did you mean 'data.root'"):
        check_overrides("check", ["data=voc2007", "data.rot=/x"])
    with pytest.raises(InputError, match=r"unknown key 'decod'. Did you mean 'decode'"):
        check_overrides("check", ["decod=false"])


# The command


def command(cwd: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return run_command("guidance.data.check", *arguments, cwd=cwd, check=False)


def test_good_data_end_with_0_and_files_in_a_new_folder(tmp_path: Path) -> None:
    result = command(tmp_path, *TINY_SHAPES, "contact_sheet_images=2")
    assert result.returncode == 0, result.stderr
    assert result.stdout.rstrip().splitlines()[-5] == "Training can start"
    assert result.stderr == ""
    written = {path.name for path in tmp_path.glob("outputs/*/*/*")}
    sheets = {f"contact_sheet_{split}.png" for split in ("train", "val", "test")}
    assert written == sheets | {"check.json", "skipped.csv", "check.log", ".hydra"}


def test_bad_data_end_with_1_in_a_sweep_too(voc: Path, tmp_path: Path) -> None:
    (voc / "VOCdevkit/VOC2007/JPEGImages/000002.jpg").write_text("no image")
    options = [*overrides_of(voc), "contact_sheet_images=0"]
    result = command(tmp_path, "-m", "decode=true,false", *options)
    assert result.returncode == 1, result.stderr
    assert "Problem: train: " in result.stdout
    assert "000002.jpg" in result.stdout
    assert "Training can start" in result.stdout
    assert "Traceback" not in result.stderr


@pytest.mark.filterwarnings("ignore:.*found in sys.modules")
def test_a_wrong_name_ends_with_2_and_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["check", "data=voc207"])
    with pytest.raises(SystemExit) as raised:
        runpy.run_module("guidance.data.check", run_name="__main__")
    assert raised.value.code == 2
    printed = capsys.readouterr().err
    assert printed.startswith("Error: unknown option of data: 'voc207'. Did you mean 'voc2007'?")
    assert printed.count("\n") == 1
    assert not list(tmp_path.iterdir())


# Real images


@pytest.mark.skipif("GUIDANCE_DATA" not in os.environ, reason="GUIDANCE_DATA names no folder of real images")
def test_real_images(tmp_path: Path) -> None:
    root = Path(os.environ["GUIDANCE_DATA"]) / "voc2007-part"
    problems, _, content = checked(tmp_path, *overrides_of(root), "decode=false", "contact_sheet_images=3")
    assert problems == []
    listed = (root / "VOCdevkit/VOC2007/ImageSets/Main/train.txt").read_text().split()
    assert content["splits"]["train"]["images"] == len(listed)
    assert content["splits"]["train"]["guidable_images"] == content["splits"]["train"]["images_with_box"]
