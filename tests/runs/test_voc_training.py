"""Training and evaluation on files on disk: a tiny VOC tree everywhere, real images where there are some."""

from pathlib import Path

import pytest

from guidance.command_line import input_error
from guidance.runs.run import train
from tests.data.test_voc import real_root
from tests.data.voc_tree import object_xml, write_voc
from tests.tiny import composed, results

SMALL = (
    "data=voc2007",
    "data.image_size=64",
    "data.batch_size=4",
    "model=resnet18",
    "attributor=gradcam",
    "trainer.max_epochs=1",
    "trainer.enable_progress_bar=false",
    "callbacks.gallery.num_images=2",
)


def tree(root: Path) -> Path:
    """Twelve images: with one object, with two, with none, and with a difficult one alone."""
    objects = {
        "000001": [object_xml("dog", (1, 1, 9, 9))],
        "000002": [object_xml("cat", (3, 2, 20, 10)), object_xml("dog", (1, 1, 1, 1))],
        "000003": [],
        "000004": [object_xml("person", (5, 5, 9, 9), difficult=1)],
    }
    images = {f"{split}{name[1:]}": value for split in "123" for name, value in objects.items()}
    lists = {
        name: [image for image in images if image[0] == split]
        for name, split in zip(("train", "val", "test"), "123", strict=True)
    }
    return write_voc(root, images, lists)


@pytest.mark.parametrize("workers", [0, 2])
def test_tiny_tree_with_images_without_objects(tmp_path: Path, workers: int) -> None:
    root = tmp_path / "data"
    tree(root)
    config = composed(tmp_path / "run", *SMALL, f"data.root={root}", f"data.num_workers={workers}")
    found = train(config)
    assert found == results(tmp_path / "run") or found["test/epg"] == results(tmp_path / "run")["test/epg"]
    assert 0 <= found["test/epg"] <= 1
    assert found["test/epg/dog"] == found["test/epg/dog"], "dogs were measured"
    assert found["test/epg/person"] != found["test/epg/person"], "the only person is difficult: nan"


@pytest.mark.parametrize("workers", [0, 2])
def test_truncated_image_in_mid_epoch_names_the_file(tmp_path: Path, workers: int) -> None:
    root = tmp_path / "data"
    broken = tree(root) / "JPEGImages" / "100002.jpg"
    broken.write_bytes(broken.read_bytes()[:150])
    config = composed(tmp_path / "run", *SMALL, f"data.root={root}", f"data.num_workers={workers}")
    with pytest.raises(Exception, match="100002") as raised:
        train(config)
    message = input_error(raised.value)
    assert message is not None
    assert str(broken) in message
    assert "\n" not in message


@pytest.mark.skipif(not (real_root() / "VOCdevkit").is_dir(), reason=f"no real VOC images in {real_root()}")
def test_real_images_train(tmp_path: Path) -> None:
    found = train(composed(tmp_path, *SMALL, "debug=fast", f"data.root={real_root()}", "data.num_workers=0"))
    assert 0 < found["test/epg"] < 1
    assert (tmp_path / "gallery" / "before_after.png").is_file()
