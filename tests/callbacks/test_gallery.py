"""The gallery: the same images before and after, chosen by the seed, kept over a resume."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from guidance.callbacks import Gallery, LastCheckpoint
from guidance.errors import InputError
from guidance.runs.run import train
from tests.tiny import tiny_config

SHORT = ("trainer.max_epochs=1", "test_front=false", "loss=none")


def test_maps_before_are_kept_and_the_picture_is_drawn(tmp_path: Path) -> None:
    train(tiny_config(tmp_path / "a", *SHORT))
    train(tiny_config(tmp_path / "b", *SHORT))
    train(tiny_config(tmp_path / "c", *SHORT, "seed=1"))
    first, same, other = (load_file(tmp_path / run / "gallery" / "before.safetensors") for run in "abc")
    assert first["maps"].shape == (2, 32, 32)
    assert torch.equal(first["maps"], same["maps"])
    assert not torch.equal(first["maps"], other["maps"])
    # An untrained B-cos network gives every class the probability 1/K, of six classes.
    torch.testing.assert_close(first["probabilities"], torch.full((2,), 1 / 6), rtol=0.01, atol=0)
    assert (tmp_path / "a" / "gallery" / "before_after.png").stat().st_size > 10_000


def test_run_that_was_killed_after_its_last_epoch_is_drawn_when_it_goes_on(tmp_path: Path) -> None:
    train(tiny_config(tmp_path, *SHORT))
    picture = tmp_path / "gallery" / "before_after.png"
    drawn = picture.read_bytes()
    picture.unlink()
    train(tiny_config(tmp_path, *SHORT, "ckpt_path=last"))
    assert picture.read_bytes() == drawn


def test_no_images_draw_nothing(tmp_path: Path) -> None:
    train(tiny_config(tmp_path, *SHORT, "callbacks.gallery.num_images=0"))
    assert not (tmp_path / "gallery").exists()


def test_wrong_numbers_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"callbacks.gallery.num_images must be at least 0; got -1"):
        Gallery(tmp_path, num_images=-1)
    with pytest.raises(InputError, match=r"callbacks.last.every_n_steps must be at least 0; got -5"):
        LastCheckpoint(tmp_path, every_n_steps=-5)
