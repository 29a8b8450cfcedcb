"""Exports that are broken, foreign or mixed up."""

import json
from pathlib import Path
from typing import Any

import pytest

from guidance.errors import InputError
from guidance.export import load_exported, write_exported
from guidance.models import bcos_small

NODE = {"_target_": "guidance.models.bcos_small", "width": 4}
BCOS = {"_target_": "guidance.attribution.BcosContributions"}


def write(folder: Path) -> None:
    write_exported(folder, bcos_small(2, width=4).state_dict(), NODE, BCOS, ["a", "b"], 32)


def change(folder: Path, **values: Any) -> None:
    path = folder / "model.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"format_version": 2}, "has format 2, this version reads up to 1"),
        ({"format_version": None}, "describes no export"),
        ({"classes": "ab"}, "'classes' is missing or of a wrong type"),
        ({"weights_sha256": None}, "'weights_sha256' is missing"),
        ({"classes": ["a", "b", "c"]}, "the weights belong to another model"),
        ({"model": {"_target_": "os.system", "command": "exit"}}, "names 'os.system', which is not built"),
        ({"model": {}}, "makes no guidance.models.Classifier"),
        ({"attributor": NODE | {"num_classes": 2}}, "makes no guidance.attribution.Attributor"),
        ({"attributor": BCOS | {"layer": "mid9"}}, "unknown layer 'mid9'"),
        ({"weights_sha256": "0" * 64}, "is damaged, or not what"),
    ],
)
def test_a_wrong_description_gets_one_clear_error(
    tmp_path: Path, values: dict[str, Any], message: str
) -> None:
    write(tmp_path)
    change(tmp_path, **values)
    with pytest.raises(InputError, match=message):
        load_exported(tmp_path)


def test_missing_and_broken_files(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"holds no export: model\.safetensors is missing"):
        load_exported(tmp_path)
    write(tmp_path)
    (tmp_path / "model.json").write_text("{")
    with pytest.raises(InputError, match=r"model\.json is not readable"):
        load_exported(tmp_path)
    (tmp_path / "model.json").unlink()
    with pytest.raises(InputError, match=r"model\.json is missing"):
        load_exported(tmp_path)


def test_an_export_replaces_an_older_one(tmp_path: Path) -> None:
    write(tmp_path)
    write(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model.json", "model.safetensors"]
    assert load_exported(tmp_path).classes == ("a", "b")
