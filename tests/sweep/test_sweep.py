"""What a sweep runs, skips, continues and reports; the launcher and the jobs are stand-ins."""

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import pytest
from hydra.core.config_loader import ConfigLoader
from hydra.core.utils import JobReturn, JobStatus
from hydra.plugins.launcher import Launcher
from omegaconf import DictConfig, OmegaConf

from guidance.errors import InputError
from guidance.run_directory import register_resolvers
from guidance.sweep import sweep


def config(folder: Path) -> DictConfig:
    register_resolvers()
    return OmegaConf.create(
        {
            "a": 0,
            "b": 0,
            "ckpt_path": None,
            "trainer": {"strategy": "auto"},
            "hydra": {
                "job": {"num": 0, "id": None},
                "sweep": {"dir": str(folder), "subdir": "${job_dir:${hydra.sweep.dir},${hydra.job.num}}"},
            },
        }
    )


class Loader:
    def load_sweep_config(self, master: DictConfig, overrides: Sequence[str]) -> DictConfig:
        if "a=13" in overrides:
            raise ValueError("no such value\nmore")
        return cast(DictConfig, OmegaConf.merge(master, OmegaConf.from_dotlist(list(overrides))))


class LocalLauncher(Launcher):
    """Writes what a run writes; jobs whose overrides hold a word of `fails` fail."""

    def __init__(self, fails: Sequence[str] = (), dies_at: str = "") -> None:
        self.fails, self.dies_at, self.launched = fails, dies_at, list[str]()

    def setup(self, **_: Any) -> None: ...

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        returned = []
        for overrides in job_overrides:
            job = Loader().load_sweep_config(config(Path()), overrides)
            folder = Path(job.hydra.sweep.dir) / job.hydra.sweep.subdir
            (folder / ".hydra").mkdir(parents=True, exist_ok=True)
            del job["hydra"]
            OmegaConf.save(job, folder / ".hydra" / "config.yaml")
            self.launched.append(f"{job.a}{job.b}")
            if self.dies_at in overrides:
                raise RuntimeError("a worker was killed")
            failed = any(word in overrides for word in self.fails)
            if not failed:
                (folder / "results.json").write_text("{}")
            result = JobReturn(status=JobStatus.FAILED if failed else JobStatus.COMPLETED)
            result._return_value = InputError("no such layer") if failed else None
            returned.append(result)
        return returned


def run(folder: Path, launcher: Launcher, *arguments: str, lines: Sequence[str] = ()) -> None:
    sweep(lines, arguments, config(folder), cast(ConfigLoader, Loader()), launcher)


def table(folder: Path) -> list[dict[str, str]]:
    with (folder / "jobs.csv").open() as file:
        return list(csv.DictReader(file))


def test_failed_jobs_are_listed_and_rerun_and_the_others_go_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    launcher = LocalLauncher(fails=["a=2"])
    with pytest.raises(SystemExit) as stopped:
        run(tmp_path, launcher, "a=1,2,3")
    assert stopped.value.code == 1
    assert launcher.launched == ["10", "20", "30"]
    error = capsys.readouterr().err
    assert "1 of 3 jobs failed" in error
    assert "a=2\n    no such layer" in error
    assert [(row["state"], row["reason"], row["overrides"]) for row in table(tmp_path)] == [
        ("finished", "", "a=1"),
        ("failed", "no such layer", "a=2"),
        ("finished", "", "a=3"),
    ]

    repaired = LocalLauncher()
    run(tmp_path, repaired, "a=1,2,3")
    assert repaired.launched == ["20"]
    assert [row["state"] for row in table(tmp_path)] == ["finished"] * 3
    run(tmp_path, repaired, "a=1,2,3")
    assert repaired.launched == ["20"], "finished jobs are not repeated"


def test_a_launcher_that_stops_leaves_the_rest_to_the_next_time(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        run(tmp_path, LocalLauncher(dies_at="a=2"), "a=1,2,3")
    assert "2 of 3 jobs failed" in capsys.readouterr().err
    launcher = LocalLauncher()
    run(tmp_path, launcher, "a=1,2,3")
    assert launcher.launched == ["20", "30"]


def test_folders_survive_added_and_reordered_values(tmp_path: Path) -> None:
    run(tmp_path, LocalLauncher(), "a=2,1")
    before = {path.name for path in tmp_path.iterdir()}
    launcher = LocalLauncher()
    run(tmp_path, launcher, "a=0,1,2", "b=0,5")
    assert sorted(launcher.launched) == ["00", "05", "15", "25"]
    names = {path.name for path in tmp_path.iterdir()}
    assert before < names
    assert all(len(name.partition("-")[2]) == 10 for name in names - {"jobs.csv"})


def test_one_configuration_is_one_job(tmp_path: Path) -> None:
    launcher = LocalLauncher()
    run(tmp_path, launcher, lines=["a=1 b=0", "a=1", "a=1 ckpt_path=x", "b=7"])
    assert launcher.launched == ["10", "07"]


def test_own_names_of_folders_are_kept_and_never_hold_another_run(tmp_path: Path) -> None:
    own = config(tmp_path)
    own.hydra.sweep.subdir = "${a}"
    loader = cast(ConfigLoader, Loader())
    sweep([], ["a=1,2"], own, loader, LocalLauncher())
    assert (tmp_path / "1" / "results.json").is_file()
    with pytest.raises(InputError, match="holds the run of another configuration"):
        sweep([], ["a=1", "b=5"], own, loader, LocalLauncher())
    with pytest.raises(InputError, match="gives 3 to jobs of different configurations"):
        sweep([], ["a=3", "b=5,6"], own, loader, LocalLauncher())


def test_what_is_wrong_is_said_before_anything_runs(tmp_path: Path) -> None:
    launcher = LocalLauncher()
    with pytest.raises(InputError, match=r"job 'a=13': no such value$"):
        run(tmp_path, launcher, "a=1,13")
    with pytest.raises(InputError, match="a sweep cannot start several processes per job"):
        run(tmp_path, launcher, "trainer.strategy=ddp")
    assert not launcher.launched
