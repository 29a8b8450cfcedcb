"""Links in a stranger's folder lead no write out of it; links in a user's own data are followed."""

import os
from pathlib import Path

import pytest
from filelock import FileLock
from PIL import Image

from guidance.data import Folder
from guidance.data.archive import extract
from guidance.download import download
from guidance.errors import InputError
from guidance.files import write_atomically, write_json
from guidance.report.__main__ import main
from guidance.report.checkpoints import _keep
from guidance.report.run_folder import find_runs
from tests.data.test_archive import write
from tests.report.run_folders import write_run


@pytest.fixture
def precious(tmp_path: Path) -> Path:
    path = tmp_path / "precious"
    path.write_text("mine")
    return path


def test_a_temporary_file_that_is_a_link_is_not_followed(tmp_path: Path, precious: Path) -> None:
    """A run's folder may bring ``front.json.tmp``, a link to what the next report would overwrite."""
    folder = tmp_path / "run"
    folder.mkdir()
    for name in ("front.json", "report.html"):
        (folder / f"{name}.tmp").symlink_to(precious)
        (folder / name).symlink_to(precious)
    write_json(folder / "front.json", {"a": 1})
    write_atomically(folder / "report.html", "page")
    assert precious.read_text() == "mine"
    assert (folder / "report.html").read_text() == "page"
    assert not (folder / "report.html").is_symlink()


def test_an_archive_is_not_unpacked_through_a_link(tmp_path: Path, precious: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "a.txt.tmp").symlink_to(precious)
    extract(write(tmp_path / "x.zip", {"a.txt": b"hello"}), tmp_path / "out")
    assert precious.read_text() == "mine"
    assert (tmp_path / "out" / "a.txt").read_bytes() == b"hello"


def test_a_lock_that_is_a_link_is_not_followed(tmp_path: Path, precious: Path) -> None:
    (tmp_path / "x.lock").symlink_to(precious)
    with pytest.raises(OSError, match="symbolic link"), FileLock(tmp_path / "x.lock", timeout=1):
        pass
    assert precious.read_text() == "mine"


def test_data_that_the_user_has_linked_is_read(tmp_path: Path) -> None:
    """Decided: data sets lie on other disks, and reading a picture through a link shows it to nobody else."""
    disk, root = tmp_path / "disk", tmp_path / "data"
    for folder in (disk, root):
        folder.mkdir()
    for number in range(3):
        Image.new("RGB", (8, 8), (number, 0, 0)).save(disk / f"{number}.png")
    (root / "images").symlink_to(disk)
    rows = "".join(f"{number}.png,cat,0,0,4,4\n" for number in range(3))
    (root / "annotations.csv").write_text("image,class,xmin,ymin,xmax,ymax\n" + rows)
    for split, number in (("train", 0), ("val", 1), ("test", 2)):
        (root / f"{split}.txt").write_text(f"{number}.png\n")
    assert len(Folder(root, "train")) == 1


def test_devices_pipes_and_circles_are_no_images(tmp_path: Path) -> None:
    (tmp_path / "zero.png").symlink_to("/dev/zero")
    (tmp_path / "circle.png").symlink_to(tmp_path / "circle.png")
    (tmp_path / "again").symlink_to(tmp_path)
    os.mkfifo(tmp_path / "pipe.png")
    os.mkfifo(tmp_path / "annotations.csv")
    (tmp_path / "annotations.json").symlink_to("/dev/zero")
    with pytest.raises(InputError, match=r"no image|no annotations"):
        Folder(tmp_path, "train")


def test_a_report_is_not_written_through_a_link(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = write_run(tmp_path / "study" / "run", [(0.8, 0.5, 0.2)])
    (tmp_path / "home").mkdir()
    (tmp_path / "study" / "report").symlink_to(tmp_path / "home")
    with pytest.raises(SystemExit):
        main([str(tmp_path / "study"), str(run)])
    assert "is a link to another folder; name a folder: --output DIR" in capsys.readouterr().err
    assert not list((tmp_path / "home").iterdir())


def test_metrics_are_not_added_to_a_front_of_another_folder(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", [(0.8, 0.5, 0.2)])
    (run / "pareto").rename(tmp_path / "elsewhere")
    (run / "pareto").symlink_to(tmp_path / "elsewhere")
    before = (tmp_path / "elsewhere" / "front.json").read_text()
    ((found,), _) = find_runs([run])
    for point in found.points:
        _keep(point, {"test/f1_micro": 0.125})
    assert (tmp_path / "elsewhere" / "front.json").read_text() == before


def test_a_download_is_not_continued_into_a_link(tmp_path: Path, precious: Path) -> None:
    part = tmp_path / "x.tar.part"
    part.symlink_to(precious)
    with pytest.raises(InputError, match="cannot download"):
        download("http://127.0.0.1:1/x.tar", tmp_path / "x.tar", "sha256:00000000")
    assert not part.is_symlink()
    assert precious.read_text() == "mine"
