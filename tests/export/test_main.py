"""``python -m guidance.export``, from a checkpoint to the same model elsewhere, and what the page shows."""

import json
import os
import re
from pathlib import Path

import pytest
import torch
from hydra import compose, initialize_config_dir
from torchvision.io import write_png

from guidance.command_line import input_error
from guidance.errors import InputError
from guidance.export import load_exported
from guidance.export.__main__ import export
from guidance.run_directory import register_resolvers
from guidance.runs.building import build_data, build_module, build_trainer
from tests.commands import run_command
from tests.tiny import ROOT, composed, tiny_config

PAGE = (ROOT / "docs" / "export.md").read_text()


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint as a run writes it, of weights that were not trained."""
    folder = tmp_path_factory.mktemp("run")
    few = ["data.length={train: 8, val: 2, test: 2}", "+trainer.max_steps=1", "+trainer.limit_val_batches=0"]
    config = tiny_config(folder, *few)
    datamodule = build_data(config)
    module = build_module(config, datamodule)
    trainer = build_trainer(config, [], [])
    trainer.fit(module, datamodule)
    trainer.save_checkpoint(folder / "best.ckpt")
    return folder / "best.ckpt"


def test_the_command_exports_what_the_page_s_code_loads(checkpoint: Path, tmp_path: Path) -> None:
    result = run_command(
        "guidance.export", f"ckpt_path={checkpoint}", f"path={tmp_path / 'bird'}", cwd=tmp_path
    )
    assert [path.name for path in tmp_path.iterdir()] == ["bird"]
    assert f"written: {tmp_path / 'bird' / 'model.json'}" in result.stdout

    model, _, classes = load_exported(tmp_path / "bird")
    state = torch.load(checkpoint, weights_only=True)
    assert list(classes) == state["guidance"]["classes"]
    assert all(torch.equal(v, state["state_dict"][f"model.{k}"]) for k, v in model.state_dict().items())
    described = json.loads((tmp_path / "bird" / "model.json").read_text())
    assert described["image_size"] == 32
    assert described["iou_threshold"] == state["guidance"]["iou_threshold"]
    assert described["provenance"]["global_step"] == 1
    assert str(checkpoint.parent) not in (tmp_path / "bird" / "model.json").read_text()

    (code,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    write_png(torch.randint(256, (3, 50, 40), dtype=torch.uint8), str(tmp_path / "image.png"))
    names: dict[str, object] = {}
    here = Path.cwd()
    os.chdir(tmp_path)
    try:
        exec(code, names)  # noqa: S102 - the page's own code
    finally:
        os.chdir(here)
    probabilities, found = names["probabilities"], names["maps"]
    assert isinstance(probabilities, torch.Tensor)
    assert isinstance(found, torch.Tensor)
    assert probabilities.shape == (1, len(classes))
    assert found.shape == (1, 32, 32)
    assert len([line for line in code.split("\n\n")[1].splitlines() if line]) <= 8


def exporting(*overrides: str) -> Path:
    register_resolvers()
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        return export(compose("export", list(overrides)))


def test_the_folder_is_named_after_the_checkpoint(checkpoint: Path) -> None:
    assert exporting(f"ckpt_path={checkpoint}") == checkpoint.parent / "best"
    assert load_exported(checkpoint.parent / "best").image_size == 32


def test_an_export_starts_a_training(checkpoint: Path, tmp_path: Path) -> None:
    exporting(f"ckpt_path={checkpoint}", f"path={tmp_path / 'a'}")
    start = tmp_path / "a" / "model.safetensors"
    config = composed(tmp_path, "model.width=8", "data.image_size=32", f"model.checkpoint={start}")
    module = build_module(config, build_data(config))
    state = torch.load(checkpoint, weights_only=True)["state_dict"]
    assert all(torch.equal(v, state[f"model.{k}"]) for k, v in module.model.state_dict().items())


def test_what_the_user_gets_wrong(checkpoint: Path, tmp_path: Path) -> None:
    for name in ("file", "broken.ckpt"):
        (tmp_path / name).write_text("")
    for overrides, message in (
        ([], "name the checkpoint to export"),
        (["ckpt_path=null"], "name the checkpoint to export"),
        (["ckpt_path=last"], "name the checkpoint to export"),
        (["ckpt_path=gone.ckpt"], "no file gone.ckpt"),
        ([f"ckpt_path={tmp_path / 'broken.ckpt'}"], "not a readable checkpoint"),
        ([f"ckpt_path={checkpoint}", f"path={tmp_path / 'file'}"], "is a file; name a folder"),
    ):
        with pytest.raises(InputError) as raised:
            exporting(*overrides)
        assert message in (input_error(raised.value) or "")
