"""A baseline is trained once, whoever asks, and continued after a kill."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from time import sleep

import pytest
from omegaconf import DictConfig
from pytorch_lightning.utilities import rank_zero_only

from guidance.errors import InputError
from guidance.runs.baseline import baseline_config, start_from_baseline
from tests.tiny import composed

SHARED = ("baseline=shared", "baseline.changes.trainer.max_epochs=3")


def config(tmp_path: Path, *overrides: str) -> DictConfig:
    return composed(tmp_path / "run", f"baseline.dir={tmp_path / 'baselines'}", *SHARED, *overrides)


class Training:
    """Stands in for a training; the first time it dies if told so, with a checkpoint behind it."""

    def __init__(self, dies: bool = False) -> None:
        self.dies, self.seen = dies, list[DictConfig]()

    def __call__(self, config: DictConfig) -> None:
        self.seen.append(config)
        checkpoints = Path(config.paths.output_dir) / "checkpoints"
        checkpoints.mkdir(parents=True, exist_ok=True)
        sleep(0.1)
        (checkpoints / "last.ckpt").touch()
        if self.dies and len(self.seen) == 1:
            raise RuntimeError("killed")
        (checkpoints / "best.ckpt").touch()
        (checkpoints.parent / "results.json").touch()


def test_two_runs_at_once_train_one_baseline(tmp_path: Path) -> None:
    training = Training()
    runs = [config(tmp_path, "loss=energy"), config(tmp_path, "loss=l1", "trainer.max_epochs=7")]
    runs[1].trainer.max_epochs = 10
    with ThreadPoolExecutor() as pool:
        started = list(pool.map(lambda run: start_from_baseline(run, training), runs))
    assert len(training.seen) == 1
    assert training.seen[0].loss.localization is None
    assert training.seen[0].trainer.max_epochs == 3
    assert started[0].model.checkpoint == started[1].model.checkpoint
    assert Path(started[0].model.checkpoint).is_file()
    assert runs[0].model.checkpoint is None, "the given configuration stays as it is"


def test_killed_baseline_is_continued_by_the_next_run(tmp_path: Path) -> None:
    training = Training(dies=True)
    with pytest.raises(RuntimeError, match="killed"):
        start_from_baseline(config(tmp_path), training)
    start_from_baseline(config(tmp_path), training)
    start_from_baseline(config(tmp_path), training)
    first, second = training.seen
    assert first.ckpt_path is None
    assert second.ckpt_path == f"{second.paths.output_dir}/checkpoints/last.ckpt"
    assert first.paths.output_dir == second.paths.output_dir


@pytest.mark.parametrize(
    ("override", "shared"),
    [
        ("loss=l1", True),
        ("loss.weight=5", True),
        ("trainer.max_epochs=7", True),
        ("data.annotated_fraction=0.01", True),
        ("data.box_dilation=0.5", True),
        ("data.target=mask", True),
        ("paths.runs_dir=/elsewhere", True),
        ("logger=tensorboard", True),
        ("seed=1", False),
        ("optimizer.lr=1", False),
        ("model.width=8", False),
        ("model.checkpoint=start.ckpt", False),
        ("attributor.layer=mid2", False),
        ("data.length.train=7", False),
        ("data=shapes_spurious", False),
        ("baseline.changes.trainer.max_epochs=4", False),
    ],
)
def test_runs_share_a_baseline_unless_it_would_be_another(
    tmp_path: Path, override: str, shared: bool
) -> None:
    one, other = baseline_config(config(tmp_path)), baseline_config(config(tmp_path, override))
    assert (one.paths.output_dir == other.paths.output_dir) == shared


def test_start_weights_are_the_baseline_s(tmp_path: Path) -> None:
    given = config(tmp_path, "model.checkpoint=imagenet.pth")
    assert baseline_config(given).model.checkpoint == "imagenet.pth"


def test_wrong_change_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"baseline.changes: .*max_epoch"):
        baseline_config(config(tmp_path, "+baseline.changes.trainer.max_epoch=3"))


def test_without_a_baseline_nothing_changes(tmp_path: Path) -> None:
    plain = composed(tmp_path)
    assert start_from_baseline(plain, Training()) is plain


def test_ranks_that_start_at_once_do_what_rank_zero_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {
        "PROCID": "0",
        "NTASKS": "2",
        "JOB_ID": "7",
        "STEP_ID": "0",
        "RESTART_COUNT": "0",
    }.items():
        monkeypatch.setenv(f"SLURM_{name}", value)
    zero, one = Training(), Training()
    start_from_baseline(config(tmp_path), zero)
    monkeypatch.setattr(rank_zero_only, "rank", 1)
    start_from_baseline(config(tmp_path), one)
    assert (len(zero.seen), len(one.seen)) == (1, 1), "rank 1 trains with rank 0, even if it comes late"

    monkeypatch.setenv("SLURM_JOB_ID", "8")
    monkeypatch.setattr(rank_zero_only, "rank", 0)
    start_from_baseline(config(tmp_path), zero)
    monkeypatch.setattr(rank_zero_only, "rank", 1)
    start_from_baseline(config(tmp_path), one)
    assert (len(zero.seen), len(one.seen)) == (1, 1), "and finds it finished where rank 0 did"
