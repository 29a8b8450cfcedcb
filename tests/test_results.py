"""The table a person reads first, and what identifies a run."""

import subprocess
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from guidance import results
from guidance.loggers.wandb_logger import has_api_key

VALUES = {"f1_micro": 0.5, "f1_macro": 0.25, "map": 0.125, "epg": 0.1, "iou": 0.2, "iou_at_0.5": 0.05}


def printed(after: dict[str, float], before: dict[str, float] | None) -> str:
    text = StringIO()
    results.print_table(after, before, Console(file=text, width=120))
    return text.getvalue()


def test_table_before_and_after() -> None:
    after = {f"{s}/{k}": v for s in ("val", "test") for k, v in VALUES.items()}
    before = {key: value / 2 for key, value in after.items()}
    lines = printed(after, before).splitlines()
    row = next(line for line in lines if "EPG" in line)
    assert [cell.strip() for cell in row.split("│")[1:-1]] == [
        "EPG",
        "5.0",
        "10.0",
        "+5.0",
        "5.0",
        "10.0",
        "+5.0",
    ]


def test_table_of_one_split_and_of_nothing_measured() -> None:
    text = printed({f"test/{k}": float("nan") for k in VALUES}, None)
    assert "test" in text
    assert "val" not in text
    assert "nan" in text


def test_versions_and_commit(monkeypatch: pytest.MonkeyPatch) -> None:
    found = results.provenance(3)
    assert found["seed"] == 3
    assert set(found["versions"]) >= {"guidance", "torch", "pytorch-lightning"}

    def fail(*args: object, **kwargs: object) -> None:
        raise subprocess.CalledProcessError(128, "git")

    monkeypatch.setattr(subprocess, "run", fail)
    assert results.git_commit() is None


def test_api_key_is_found_without_asking(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    netrc = tmp_path / "netrc"
    monkeypatch.setenv("NETRC", str(netrc))
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.delenv("WANDB_BASE_URL", raising=False)
    assert not has_api_key()
    netrc.write_text("machine api.wandb.ai login user password key\n")
    netrc.chmod(0o600)
    assert has_api_key()
    monkeypatch.setenv("WANDB_BASE_URL", "https://wandb.example.org")
    assert not has_api_key()
    monkeypatch.setenv("WANDB_API_KEY", "key")
    assert has_api_key()


def test_rows_are_there_where_they_apply() -> None:
    values = {f"test/{k}": 0.5 for k in VALUES}
    more = {"test/worst_group_accuracy": 0.25, "test/on_object_epg": float("nan")}
    assert "worst-group" not in printed(values, None)
    text = printed(values | more, None)
    assert "worst-group accuracy" in text
    assert "25.0" in text
    assert "on-object" not in text
    assert "on-object EPG" in printed(values | {"test/on_object_epg": 0.7}, None)
