import multiprocessing
import os
import pickle
import re
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader

from guidance.data import VOC, Annotation, ImageDataset, PreparedDataset, Shapes, image_cache
from guidance.data.image_cache import ImageCache
from guidance.data.image_file import read_image
from guidance.errors import InputError

SIZE = 16
COUNT = 30  # fewer than are read in one go: no worker process is started


class Files(ImageDataset):
    """All images of a folder; every one that is decoded adds its number to a log, in whatever process."""

    classes = ("a",)

    def __init__(self, folder: Path, seconds: float = 0.0) -> None:
        self._paths = sorted(folder.glob("*.png"))
        self._log = folder / "decoded.txt"
        self._seconds = seconds

    def __len__(self) -> int:
        return len(self._paths)

    def annotation(self, index: int) -> Annotation:
        none = torch.zeros(0, dtype=torch.int64)
        return Annotation((20, 24), torch.tensor([False]), torch.zeros(0, 4), none)

    def image(self, index: int, least: int | None = None) -> Tensor:
        time.sleep(self._seconds)
        with self._log.open("a") as log:
            log.write(f"{index}\n")
        return read_image(self._paths[index], least=least)

    def name(self, index: int) -> str:
        return str(self._paths[index])

    def decoded(self) -> list[int]:
        """Return the numbers decoded since the last call, in order."""
        numbers = [int(line) for line in self._log.read_text().split()] if self._log.exists() else []
        self._log.unlink(missing_ok=True)
        return sorted(numbers)


def write_images(folder: Path, count: int, first: int = 0) -> Path:
    folder.mkdir(exist_ok=True)
    for number in range(first, first + count):
        pixels = np.random.default_rng(number).integers(0, 256, (20, 24, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{number:04d}.png", compress_level=0)
    return folder


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files(write_images(tmp_path / "images", COUNT))


def uncached(dataset: ImageDataset, size: int = SIZE) -> Tensor:
    prepared = PreparedDataset(dataset, size)
    return torch.stack([prepared[index].image for index in range(len(dataset))])


def cached(dataset: ImageDataset, folder: Path, label: str = "train", num_workers: int = 0) -> ImageCache:
    return ImageCache(dataset, SIZE, folder, label, num_workers)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.suffix != ".lock")


# What it holds


@pytest.mark.parametrize(("num_workers", "batch_size"), [(0, 32), (0, 7), (1, 7), (2, 4), (2, 1)])
def test_the_images_are_those_without_a_cache(
    files: Files, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, num_workers: int, batch_size: int
) -> None:
    monkeypatch.setattr(image_cache, "_BATCH_SIZE", batch_size)
    cache = cached(files, tmp_path / "new" / "cache", num_workers=num_workers)
    assert files.decoded() == list(range(COUNT))
    assert torch.equal(cache[range(COUNT)], uncached(files))
    assert len(cache) == COUNT
    [name] = names(tmp_path / "new" / "cache")
    assert re.fullmatch(r"train-[0-9a-f]{16}\.npy", name)
    array = np.load(tmp_path / "new" / "cache" / name, allow_pickle=False)
    assert (array.shape, array.dtype) == ((COUNT, 3, SIZE, SIZE), np.uint8)


def test_images_come_in_any_order_and_as_copies(files: Files, tmp_path: Path) -> None:
    cache, expected = cached(files, tmp_path / "cache"), uncached(files)
    for indices in ([3, 29, 0, 3, 3], [5], [], torch.tensor([2, 1]).tolist(), (4, 4)):
        images = cache[indices]
        assert torch.equal(images, expected[list(indices)])
        assert images.dtype == torch.uint8
        assert images.untyped_storage().nbytes() == len(indices) * 3 * SIZE * SIZE
        images.fill_(7)
    assert torch.equal(cache[range(COUNT)], expected)
    with pytest.raises(IndexError):
        cache[[COUNT]]


def test_a_prepared_data_set_reads_it(files: Files, tmp_path: Path) -> None:
    plain, fast = PreparedDataset(files, SIZE), PreparedDataset(files, SIZE, cache=cached(files, tmp_path))
    files.decoded()
    batch = fast.__getitems__([7, (2, 0), 7])
    assert torch.equal(fast[9].image, fast.__getitems__([9]).images[0])
    assert files.decoded() == []
    assert torch.equal(batch.images, plain.__getitems__([7, 0, 7]).images)


def test_a_data_set_without_files(tmp_path: Path) -> None:
    dataset = Shapes("val", image_size=40, length={"val": 9})
    assert torch.equal(cached(dataset, tmp_path)[range(9)], uncached(dataset))
    other = Shapes("val", image_size=40, length={"val": 9}, seed=1)
    assert torch.equal(cached(other, tmp_path)[range(9)], uncached(other))
    assert len(names(tmp_path)) == 2


def test_building_draws_nothing_from_the_global_generator(
    files: Files, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(image_cache, "_BATCH_SIZE", 10)
    before = torch.get_rng_state()
    cached(files, tmp_path, num_workers=2)
    assert torch.equal(torch.get_rng_state(), before)


# When it is built


def test_it_is_built_once(files: Files, tmp_path: Path) -> None:
    cached(files, tmp_path)
    assert files.decoded() == list(range(COUNT))
    again = cached(files, tmp_path)
    assert files.decoded() == []
    assert torch.equal(again[[4]], uncached(files)[[4]])


def rewrite(folder: Path) -> None:
    write_images(folder, 1, first=3)


def add(folder: Path) -> None:
    write_images(folder, 1, first=COUNT)


def rename(folder: Path) -> None:
    (folder / "0003.png").rename(folder / "0003a.png")


@pytest.mark.parametrize("change", [rewrite, add, rename])
def test_a_changed_image_gives_a_new_file_and_the_old_one_stays(
    files: Files, tmp_path: Path, change: Callable[[Path], None]
) -> None:
    cached(files, tmp_path / "cache")
    change(tmp_path / "images")
    changed = Files(tmp_path / "images")
    cache = cached(changed, tmp_path / "cache")
    assert len(names(tmp_path / "cache")) == 2
    assert torch.equal(cache[range(len(changed))], uncached(changed))


def test_size_and_label_tell_files_apart(files: Files, tmp_path: Path) -> None:
    cached(files, tmp_path / "cache", label="train")
    cached(files, tmp_path / "cache", label="val")
    other = ImageCache(files, 8, tmp_path / "cache", "val")
    assert other[[0]].shape == (1, 3, 8, 8)
    assert [name.split("-")[0] for name in names(tmp_path / "cache")] == ["train", "val", "val"]


def empty(path: Path) -> None:
    path.write_bytes(b"")


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def lengthen(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b"x")


def no_array(path: Path) -> None:
    path.write_bytes(b"no array" * 10_000)


def other_shape(path: Path) -> None:
    np.save(path, np.load(path).reshape(COUNT, SIZE, SIZE, 3))


def other_type(path: Path) -> None:
    np.save(path, np.load(path).astype(np.int8))


def other_order(path: Path) -> None:
    np.save(path, np.asfortranarray(np.load(path)))


def pickled(path: Path) -> None:
    np.save(path, np.array([{"run": "me"}], dtype=object))


def archive(path: Path) -> None:
    with path.open("wb") as file:
        np.savez(file, np.zeros(3))


SPOILERS = [empty, truncate, lengthen, no_array, other_shape, other_type, other_order, pickled, archive]


@pytest.mark.parametrize("spoil", SPOILERS)
def test_a_wrong_file_is_built_again(files: Files, tmp_path: Path, spoil: Callable[[Path], None]) -> None:
    cached(files, tmp_path / "cache")
    [name] = names(tmp_path / "cache")
    spoil(tmp_path / "cache" / name)
    files.decoded()
    cache = cached(files, tmp_path / "cache")
    assert files.decoded() == list(range(COUNT))
    assert torch.equal(cache[range(COUNT)], uncached(files))
    assert names(tmp_path / "cache") == [name]


# Stopped builds


@pytest.mark.parametrize("num_workers", [1, 2])
def test_an_unreadable_image_stops_the_build_which_then_goes_on(
    files: Files, tmp_path: Path, num_workers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(image_cache, "_BATCH_SIZE", 10)
    path = tmp_path / "images" / "0027.png"
    content, stat = path.read_bytes(), path.stat()
    path.write_bytes(b"x" * len(content))
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    with pytest.raises(InputError) as error:
        cached(files, tmp_path / "cache", num_workers=num_workers)
    assert str(error.value).startswith(f"cannot read the image {path}: Unsupported image file")
    assert "Traceback" not in str(error.value)
    assert [name.split(".", 1)[1] for name in names(tmp_path / "cache")] == ["npy.part", "npy.progress"]

    path.write_bytes(content)
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    files.decoded()
    cache = cached(files, tmp_path / "cache", num_workers=num_workers)
    assert files.decoded() == list(range(20, COUNT))
    assert torch.equal(cache[range(COUNT)], uncached(files))
    assert [name.split(".", 1)[1] for name in names(tmp_path / "cache")] == ["npy"]


def test_note_of_a_build_that_was_killed_at_its_very_end_is_removed(tmp_path: Path) -> None:
    dataset = Shapes("val", image_size=40, length={"val": 3})
    ImageCache(dataset, 40, tmp_path, "val")
    [cache] = tmp_path.glob("*.npy")
    note = cache.with_name(cache.name + ".progress")
    note.write_text('{"rows": 3}')
    ImageCache(dataset, 40, tmp_path, "val")
    assert not note.exists()


def interrupted(files: Files, folder: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path]:
    """Stop a build after 20 rows; return the begun file and its note."""
    batches = image_cache._batches

    def stopping(*arguments: Any) -> Iterator[Tensor]:
        for number, images in enumerate(batches(*arguments)):
            if number == 2:
                raise KeyboardInterrupt
            yield images

    with monkeypatch.context() as patch:
        patch.setattr(image_cache, "_BATCH_SIZE", 10)
        patch.setattr(image_cache, "_batches", stopping)
        with pytest.raises(KeyboardInterrupt):
            cached(files, folder, num_workers=1)
    files.decoded()
    [part], [note] = folder.glob("*.part"), folder.glob("*.progress")
    return part, note


def test_an_interrupted_build_goes_on(files: Files, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    interrupted(files, tmp_path / "cache", monkeypatch)
    cache = cached(files, tmp_path / "cache")
    assert files.decoded() == list(range(20, COUNT))
    assert torch.equal(cache[range(COUNT)], uncached(files))


@pytest.mark.parametrize(
    "text", [None, "", "{", "[]", "{}", "null", '{"rows": "9"}', '{"rows": 31}', '{"rows": -1}']
)
def test_without_a_sound_note_it_starts_again(
    files: Files, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str | None
) -> None:
    _, note = interrupted(files, tmp_path / "cache", monkeypatch)
    if text is None:
        note.unlink()
    else:
        note.write_text(text)
    cache = cached(files, tmp_path / "cache")
    assert files.decoded() == list(range(COUNT))
    assert torch.equal(cache[range(COUNT)], uncached(files))


@pytest.mark.parametrize("spoil", [empty, truncate, no_array, Path.unlink])
def test_without_a_sound_begun_file_it_starts_again(
    files: Files, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, spoil: Callable[[Path], None]
) -> None:
    part, _ = interrupted(files, tmp_path / "cache", monkeypatch)
    spoil(part)
    cache = cached(files, tmp_path / "cache")
    assert files.decoded() == list(range(COUNT))
    assert torch.equal(cache[range(COUNT)], uncached(files))


KILLED = """
import sys
from pathlib import Path
from guidance.data import image_cache
from tests.data.test_image_cache import Files, cached
image_cache._SECONDS_BETWEEN_NOTES = 0.0
image_cache._BATCH_SIZE = 5
cached(Files(Path(sys.argv[1]), seconds=0.15), Path(sys.argv[2]), num_workers=2)
"""


def test_a_killed_build_goes_on(files: Files, tmp_path: Path) -> None:
    folder = tmp_path / "cache"
    build = subprocess.Popen([sys.executable, "-c", KILLED, str(tmp_path / "images"), str(folder)])
    deadline = time.monotonic() + 60
    while not any('"rows": 5' not in note.read_text() for note in folder.glob("*.progress")):
        assert build.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.005)
    build.send_signal(signal.SIGKILL)
    build.wait()
    assert list(folder.glob("*.part"))
    cache = cached(files, folder)  # waits for the orphaned workers to end, which hold the lock too
    counts = Counter(files.decoded())
    assert set(counts) == set(range(COUNT))
    assert all(counts[index] == 1 for index in range(10))
    assert torch.equal(cache[range(COUNT)], uncached(files))


def build_slowly(images: Path, folder: Path) -> None:
    torch.set_num_threads(1)
    cached(Files(images, seconds=0.02), folder, num_workers=1)


def test_of_several_processes_one_builds(files: Files, tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    arguments = (tmp_path / "images", tmp_path / "cache")
    builders = [context.Process(target=build_slowly, args=arguments) for _ in range(3)]
    for builder in builders:
        builder.start()
    for builder in builders:
        builder.join(60)
    assert [builder.exitcode for builder in builders] == [0, 0, 0]
    assert files.decoded() == list(range(COUNT))
    assert torch.equal(cached(files, tmp_path / "cache")[range(COUNT)], uncached(files))


# Folders that will not do


def test_a_disk_that_is_too_small_is_named(
    files: Files, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = type("Usage", (), {"free": COUNT * 3 * SIZE * SIZE - 1})
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage)
    with pytest.raises(
        InputError, match=r"data\.cache_dir: the cache needs 0\.0 GB more, but the disk of .*cache"
    ):
        cached(files, tmp_path / "cache")
    assert files.decoded() == []
    usage.free += 1  # type: ignore[attr-defined]
    cached(files, tmp_path / "cache")


def test_a_begun_build_needs_space_for_the_rest_only(
    files: Files, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    interrupted(files, tmp_path / "cache", monkeypatch)
    usage = type("Usage", (), {"free": (COUNT - 20) * 3 * SIZE * SIZE})
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage)
    cached(files, tmp_path / "cache")
    assert files.decoded() == list(range(20, COUNT))


def test_a_folder_that_cannot_be_written_to_is_named(files: Files, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for folder in (tmp_path / "file", tmp_path / "file" / "cache"):
        with pytest.raises(
            InputError, match=rf"data\.cache_dir: cannot write to {folder}: .*data\.cache=false"
        ):
            cached(files, folder)


@pytest.mark.skipif(os.geteuid() == 0, reason="the superuser may write anywhere")
def test_a_read_only_folder(files: Files, tmp_path: Path) -> None:
    cached(files, tmp_path / "full")
    (tmp_path / "empty").mkdir()
    for name in ("full", "empty"):
        (tmp_path / name).chmod(0o555)
    files.decoded()
    cached(files, tmp_path / "full")
    assert files.decoded() == []
    with pytest.raises(InputError, match=r"data\.cache_dir: cannot write to .*empty: Permission denied"):
        cached(files, tmp_path / "empty")


def test_a_full_disk_in_mid_build_is_named(
    files: Files, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(InputError, match=r"data\.cache_dir: .*No space left on device"):
            cached(files, tmp_path / "cache", num_workers=1)
    assert torch.equal(cached(files, tmp_path / "cache")[[2]], uncached(files)[[2]])


def test_an_image_that_is_gone_is_named(files: Files, tmp_path: Path) -> None:
    (tmp_path / "images" / "0009.png").unlink()
    with pytest.raises(InputError, match=r"cannot read the image .*0009\.png: No such file"):
        cached(files, tmp_path / "cache")


def test_a_file_that_is_deleted_before_a_worker_opens_it(files: Files, tmp_path: Path) -> None:
    cache = cached(files, tmp_path / "cache")
    cache[[0]]
    copy = pickle.loads(pickle.dumps(cache))  # noqa: S301
    shutil.rmtree(tmp_path / "cache")
    assert torch.equal(cache[[1]], uncached(files)[[1]])
    with pytest.raises(FileNotFoundError, match="was deleted or damaged; start again"):
        copy[[0]]


# Memory


def test_pickling_carries_no_pixels(files: Files, tmp_path: Path) -> None:
    cache, expected = cached(files, tmp_path), uncached(files)
    for made in (cache, cached(files, tmp_path)):
        made[[1]]
        text = pickle.dumps(made)
        assert len(text) < 1000
        assert torch.equal(pickle.loads(text)[range(COUNT)], expected)  # noqa: S301


def test_worker_processes_read_it(files: Files, tmp_path: Path) -> None:
    prepared = PreparedDataset(files, SIZE, cache=cached(files, tmp_path / "cache"))
    files.decoded()
    loader = DataLoader(prepared, batch_size=10, num_workers=1, collate_fn=as_it_is)
    images = torch.cat([batch.images for batch in loader])
    assert files.decoded() == []
    assert torch.equal(images, uncached(files))


def as_it_is(batch: object) -> object:
    return batch


def anonymous_memory() -> int:
    status = Path("/proc/self/status").read_text()
    return 1024 * int(re.findall(r"RssAnon:\s+(\d+) kB", status)[0])


class Large(Files):
    """300 images of 224 x 224 that cost nothing to make."""

    def __init__(self) -> None:
        pass

    def __len__(self) -> int:
        return 300

    def image(self, index: int, least: int | None = None) -> Tensor:
        return torch.full((3, 224, 224), index % 256, dtype=torch.uint8)

    def fingerprint(self, index: int) -> str:
        return str(index)


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="only Linux tells RssAnon")
def test_the_file_is_not_held_in_memory(tmp_path: Path) -> None:
    before = anonymous_memory()
    cache = ImageCache(Large(), 224, tmp_path, "train", num_workers=1)
    for start in range(0, 300, 10):
        images = cache[range(start, start + 10)]
        assert images[:, 0, 0, 0].tolist() == [index % 256 for index in range(start, start + 10)]
    assert anonymous_memory() - before < 25e6 < 300 * 3 * 224 * 224


# Real images


@pytest.mark.skipif("GUIDANCE_DATA" not in os.environ, reason="GUIDANCE_DATA names no folder of real images")
def test_real_photographs(tmp_path: Path) -> None:
    dataset = VOC(Path(os.environ["GUIDANCE_DATA"]) / "voc2007-part", 2007, "val")
    cache = ImageCache(dataset, 224, tmp_path, "val")
    indices = list(range(0, len(dataset), len(dataset) // 20))
    expected = PreparedDataset(dataset, 224).__getitems__(indices).images
    assert torch.equal(cache[indices], expected)
