"""The command: what it writes, and how it answers what is wrong."""

import subprocess
from pathlib import Path

import pytest
from matplotlib.image import imread

from guidance.checkpoints.reading import register_checkpoint_config
from guidance.command_line import check_overrides
from guidance.errors import InputError
from tests.commands import run_command
from tests.data.voc_tree import annotation_xml, object_xml
from tests.explain.small import composed, explained, write_checkpoint, write_image


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_checkpoint(tmp_path_factory.mktemp("before") / "a.ckpt")


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Other weights, another model, another image size."""
    overrides = ["model.width=4", "data.image_size=48"]
    return write_checkpoint(tmp_path_factory.mktemp("after") / "a.ckpt", *overrides, seed=1)


def test_one_image_with_boxes(checkpoint: Path, tmp_path: Path) -> None:
    image = write_image(tmp_path / "a.png")
    rows, printed, problems = explained(
        tmp_path / "out",
        f"image={image}",
        "class=[ring,0]",
        "boxes=[[2,3,20,11],[30,0,40,9]]",
        checkpoints=[checkpoint],
    )
    assert problems == []
    assert [row["class"] for row in rows] == ["ring", "disk"]
    for row in rows:
        value = {key: float(row[key]) for key in list(row)[4:-1]}
        assert value["contributions"] + value["bias"] == pytest.approx(value["logit"], abs=1e-4)
        assert value["inside"] + value["outside"] == pytest.approx(value["positive_evidence"], rel=1e-5)
        assert 0 < value["share_inside"] < 1
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["a.png", "explanations.csv"]
    assert imread(tmp_path / "out" / "a.png").std() > 0
    assert f"written: {tmp_path / 'out' / 'a.png'}" in printed


def test_no_boxes_and_the_most_probable_classes(checkpoint: Path, tmp_path: Path) -> None:
    image = write_image(tmp_path / "a.png")
    rows, printed, _ = explained(tmp_path / "out", f"image={image}", "top=2", checkpoints=[checkpoint])
    assert len(rows) == 2
    assert float(rows[0]["probability"]) >= float(rows[1]["probability"])
    assert all(row["share_inside"] == "" for row in rows)
    assert "inside" not in printed


def test_a_folder_with_an_image_that_cannot_be_read(checkpoint: Path, tmp_path: Path) -> None:
    write_image(tmp_path / "in" / "a.png", 20, 10)
    write_image(tmp_path / "in" / "sub" / "a.png", 20, 10)
    (tmp_path / "in" / "broken.jpg").write_bytes(b"no image")
    (tmp_path / "xml").mkdir()
    (tmp_path / "xml" / "a.xml").write_text(annotation_xml([object_xml("star", (1, 1, 9, 9))]))
    rows, printed, problems = explained(
        tmp_path / "out", f"image={tmp_path / 'in'}", f"boxes={tmp_path / 'xml'}", checkpoints=[checkpoint]
    )
    assert len(problems) == 1
    assert f"Left out: cannot read the image {tmp_path / 'in' / 'broken.jpg'}" in printed
    assert [row["image"] for row in rows] == ["a.png"] * 3 + ["sub/a.png"] * 3
    assert rows[0]["class"] == "star", "classes with a box come first"
    assert [row["share_inside"] != "" for row in rows] == [True] + [False] * 5
    pictures = {path.name for path in (tmp_path / "out").glob("*.png")}
    assert pictures == {"a.png", "sub-a.png"}


def test_two_checkpoints_of_other_sizes_side_by_side(checkpoint: Path, other: Path, tmp_path: Path) -> None:
    image = write_image(tmp_path / "a.png")
    arguments = [f"image={image}", "class=star"]
    rows, printed, _ = explained(
        tmp_path / "both", *arguments, "names=[before,after]", checkpoints=[checkpoint, other]
    )
    alone = [
        explained(tmp_path / name, *arguments, checkpoints=[path])[0][0]
        for name, path in (("first", checkpoint), ("second", other))
    ]
    assert [row["checkpoint"] for row in rows] == ["before", "after"]
    assert [row["logit"] for row in rows] == [row["logit"] for row in alone]
    assert rows[0]["logit"] != rows[1]["logit"]
    assert "before" in printed
    one, two = (imread(tmp_path / name / "a.png").shape[0] for name in ("first", "both"))
    assert two > 1.6 * one


def test_images_of_the_checkpoints_own_split(checkpoint: Path, tmp_path: Path) -> None:
    overrides = ["split=test", "number=2", "top=1", "attributor=gradcam", "layer=[mid2,final]"]
    rows, printed, _ = explained(tmp_path / "out", *overrides, checkpoints=[checkpoint])
    assert [row["layer"] for row in rows] == ["mid2", "final"] * 2
    assert all(row["share_inside"] and not row["bias"] for row in rows)
    assert "images, chosen by seed 0" in printed


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["image={image}", "class=sta"], "unknown class 'sta'. Did you mean 'star'"),
        (["image={image}", "boxes=[[90,90,99,99]]"], "boxes: .90, 90, 99, 99.: it lies outside the image"),
        (["image={image}", "split=test"], "and only one of them"),
        ([], "name what to explain"),
        (["split=test", "boxes=[[1,2,3,4]]"], "a split has its own boxes"),
        (["split=tset"], "unknown split 'tset'. Did you mean 'test'"),
        (["image={image}", "top=0"], "top is 0; it must be an integer, at least 1"),
        (["split=test", "number=0"], "number is 0"),
        (["image={folder}"], "none of the 2 images can be explained"),
        (["image={folder}/x.jpg"], "cannot read the image"),
    ],
)
def test_bad_input_is_named(overrides: list[str], message: str, checkpoint: Path, tmp_path: Path) -> None:
    image, folder = write_image(tmp_path / "a.png"), tmp_path / "broken"
    folder.mkdir()
    for name in ("x.jpg", "y.jpg"):
        (folder / name).write_bytes(b"")
    given = [override.format(image=image, folder=folder) for override in overrides]
    with pytest.raises(InputError, match=message):
        explained(tmp_path / "out", *given, checkpoints=[checkpoint])


def test_a_split_needs_a_data_set(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"split=\.\.\. needs a checkpoint, or a data set"):
        explained(tmp_path, "split=test", "model=efficientnet_lite0", "attributor=gradcam")
    with pytest.raises(InputError, match="ckpt_path: no file"):
        composed(tmp_path, checkpoints=[tmp_path / "gone.ckpt"])


def command(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return run_command("guidance.explain", *arguments, cwd=cwd, check=False)


def test_command_line(checkpoint: Path, other: Path, tmp_path: Path) -> None:
    write_image(tmp_path / "in" / "a.png")
    (tmp_path / "in" / "b.png").write_bytes(b"")
    result = command(
        f"ckpt_path=[{checkpoint},{other}]", "image=in", "class=star", "hydra.run.dir=out", cwd=tmp_path
    )
    assert result.returncode == 1, "an image was left out"
    assert "Left out: cannot read the image" in result.stdout, result.stderr
    assert (tmp_path / "out" / "a.png").is_file()


def test_a_wrong_key_gets_the_right_one(checkpoint: Path) -> None:
    arguments = [f"ckpt_path={checkpoint}", "image=in", "clas=star"]
    register_checkpoint_config(arguments, "explain", instead=())
    with pytest.raises(InputError, match=r"unknown key 'clas'. Did you mean 'class'\?"):
        check_overrides("explain", arguments)


def test_help(tmp_path: Path) -> None:
    text = command("--help", cwd=tmp_path).stdout
    assert "python -m guidance.explain ckpt_path=FILE" in text
    assert "\nboxes: null" in text
    assert not list(tmp_path.iterdir())
