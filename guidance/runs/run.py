"""Training and evaluation from a configuration. No command line here: any ``DictConfig`` will do."""

import json
import logging
import math
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from omegaconf import DictConfig, OmegaConf
from pytorch_lightning.callbacks import Callback
from pytorch_lightning.loggers import Logger, WandbLogger
from pytorch_lightning.utilities import rank_zero_only

from guidance.callbacks import FiniteGuard, LastCheckpoint, ParetoCheckpoint
from guidance.checkpoints.reading import (
    checkpoint_override,
    checkpoint_paths,
    load_weights,
    newest_readable,
    read_checkpoint,
)
from guidance.data import GuidanceDataModule
from guidance.data.check import quick_check
from guidance.errors import InputError, unknown_name
from guidance.files import write_atomically, write_json
from guidance.loggers.metrics_csv import MetricsCSV
from guidance.processes.allocator import keep_freed_memory
from guidance.processes.orphans import end_when_orphaned
from guidance.processes.stopping import ending_together, stoppable
from guidance.results import print_table, provenance
from guidance.run_directory import resolve_checkpoint
from guidance.runs.baseline import start_from_baseline
from guidance.runs.building import build_data, build_module, build_part, build_trainer
from guidance.runs.cpu_kernels import with_cpu_kernels
from guidance.training.module import GuidedClassifier

log = logging.getLogger(__name__)

_SPLITS = ("val", "test")


@with_cpu_kernels
def train(config: DictConfig) -> dict[str, Any]:
    """Train, evaluate and write everything into ``config.paths.output_dir``.

    Args:
        config: As composed from ``conf/train.yaml``.

    Returns:
        The content of ``results.json``: flat keys ``val/f1_micro``, ``test/epg``, ... of the final weights,
        ``before/...`` of the start weights if ``model.checkpoint`` gave some, seed, versions, commit, and
        ``skipped_steps`` if there were any.

    Raises:
        InputError: If the configuration or the data are wrong.
        StoppedError: If a signal asked the training to stop (see :mod:`guidance.processes.stopping`).
    """
    with stoppable():
        return _train(config)


def _train(config: DictConfig) -> dict[str, Any]:
    quiet_lightning()
    _prepare_memory(config)
    output_dir = Path(config.paths.output_dir)
    output_dir.mkdir(parents=True, exist_ok=True)
    checkpoint = resolve_checkpoint(config.ckpt_path, output_dir)
    config = start_from_baseline(config, train)
    _refuse_untrainable(config)
    pl.seed_everything(config.seed, workers=True, verbose=False)
    datamodule = build_data(config)
    guided = config.loss.localization is not None and config.loss.weight > 0
    for warning in quick_check(datamodule, guided):
        rank_zero_only(log.warning)("%s", warning)
    module = build_module(config, datamodule)
    callbacks: list[Callback] = [build_part(node, "callbacks") for node in config.callbacks.values() if node]
    # It saves the state of the other checkpoint callbacks too, which is complete when they are done.
    callbacks.sort(key=lambda callback: isinstance(callback, LastCheckpoint))
    metrics_csv = MetricsCSV(output_dir / "metrics.csv")
    loggers: list[Logger] = [metrics_csv]
    loggers += [build_part(node, "logger") for node in config.logger.values() if node]
    try:
        trainer = build_trainer(config, callbacks, loggers)
        end_when_orphaned(trainer)
        # The trainer does not know its rank before it has started the other processes; this function does.
        rank_zero_only(write_atomically)(output_dir / "config.yaml", OmegaConf.to_yaml(config, resolve=True))
        for logger in loggers:
            logger.log_hyperparams(module.config)
        content: dict[str, Any] = _check_fits(module, checkpoint) if checkpoint else {"global_step": 0}
        metrics_csv.rewind(int(content["global_step"]))
        if "unlogged" in content:
            unlogged = content["unlogged"] | {"epoch": content["epoch"]}
            metrics_csv.log_unlogged(unlogged, content["global_step"] - 1)
        with _says_how_to_go_on(output_dir), ending_together(trainer):
            before = _evaluate_start(
                config, trainer, module, datamodule, output_dir, resumed=checkpoint is not None
            )
            start = str(checkpoint) if checkpoint else None
            trainer.fit(module, datamodule, ckpt_path=start, weights_only=True)
            after = evaluate_splits(trainer, module, datamodule, _SPLITS)
            results = after | {f"before/{k}": v for k, v in (before or {}).items()} | provenance(config.seed)
            for callback in callbacks:
                if isinstance(callback, FiniteGuard) and callback.skipped:
                    results["skipped_steps"] = callback.skipped
            if config.test_front:
                _test_front(trainer, module, datamodule, callbacks)
            if trainer.is_global_zero:
                write_json(output_dir / "results.json", results)  # last: a run that has it is finished
        if trainer.is_global_zero:
            print_table(after, before)
            log.info("results: %s", output_dir)
            for picture in sorted(output_dir.glob("*/*.png")):
                log.info("picture: %s", picture)
    finally:
        if any(isinstance(logger, WandbLogger) for logger in loggers):
            import wandb  # what it takes to load is for the runs that log to it

            wandb.finish()
    return results


@with_cpu_kernels
def evaluate(config: DictConfig) -> dict[str, Any]:
    """Evaluate a checkpoint on one split and write ``results.json``.

    Args:
        config: As composed from ``conf/evaluate.yaml``: what the checkpoint brought, and what replaces it.

    Returns:
        The content of ``results.json``.

    Raises:
        InputError: If there is no such split, or the checkpoint does not fit the rest.
    """
    quiet_lightning()
    _prepare_memory(config)
    if config.split not in _SPLITS:
        raise unknown_name("split", config.split, _SPLITS)
    if not isinstance(config.ckpt_path, str):
        raise InputError("ckpt_path: name the one checkpoint to evaluate; protocol=... compares several")
    (path,) = checkpoint_paths(config.ckpt_path)
    content = read_checkpoint(path)
    pl.seed_everything(config.seed, workers=True, verbose=False)
    datamodule = build_data(config)
    module = build_module(config, datamodule, start_weights=False)
    load_weights(module, content)
    trainer = build_trainer(config, [FiniteGuard(config.paths.output_dir)], [])
    end_when_orphaned(trainer)
    results = evaluate_splits(trainer, module, datamodule, (config.split,), keep_threshold=True)
    results |= {"checkpoint": str(path)} | provenance(config.seed)
    if trainer.is_global_zero:
        output_dir = Path(config.paths.output_dir)
        output_dir.mkdir(parents=True, exist_ok=True)
        write_json(output_dir / "results.json", results)
        print_table(results)
        log.info("results: %s", output_dir / "results.json")
    return results


def quiet_lightning() -> None:
    """Silence what Lightning and torch say about themselves; their warnings about the run stay."""
    logging.getLogger("pytorch_lightning").setLevel(logging.WARNING)
    logging.getLogger("torch.utils.cpp_extension").setLevel(logging.ERROR)  # that there is no GPU
    for message in (
        ".*`isinstance\\(treespec, LeafSpec\\)` is deprecated.*",
        ".*overridden `on_before_batch_transfer` in `LightningModule`.*",
        ".*does not have many workers.*",
        ".*Checkpoint directory .* exists and is not empty.*",
        ".*smaller than the logging interval.*",
        ".*was configured so validation and test.*",
        # 1x1 filters, whose gradients lie in memory as they do: strides of one row mean nothing.
        r"Grad strides do not match bucket view strides[\s\S]*sizes\(\) = \[\d+, \d+, 1, 1\]",
    ):
        warnings.filterwarnings("ignore", message)


def _prepare_memory(config: DictConfig) -> None:
    if config.trainer.get("accelerator") == "cpu":
        keep_freed_memory()


def _refuse_untrainable(config: DictConfig) -> None:
    if config.loss.localization is not None and config.trainer.get("sync_batchnorm"):
        raise InputError(
            "trainer.sync_batchnorm has no double backward, which a localization loss needs: set it to false "
            "(B-cos networks synchronise their statistics by themselves), or use loss=none"
        )


def _check_fits(module: GuidedClassifier, checkpoint: Path) -> dict[str, Any]:
    """Refuse to resume from another project's or model's checkpoint; return its content."""
    try:
        content = read_checkpoint(checkpoint)
    except InputError as error:
        other = newest_readable(checkpoint.parent.parent)
        if other is None:
            raise
        raise InputError(
            f"{error}. Go on from the newest of this run that is: {checkpoint_override(other)}"
        ) from error
    load_weights(module, content)
    if "global_step" not in content:
        raise InputError(f"ckpt_path: {checkpoint} is no checkpoint to resume from: it has no global_step")
    rank_zero_only(log.info)("continuing %s after step %d", checkpoint, content["global_step"])
    return content


@contextmanager
def _says_how_to_go_on(output_dir: Path) -> Iterator[None]:
    """Where an error stops a run that has a checkpoint, say how to continue it."""
    try:
        yield
    except Exception:
        last = output_dir / "checkpoints" / "last.ckpt"
        if last.is_file():
            rank_zero_only(log.error)(
                "the run stopped. When the cause is gone, go on with the same command and %s",
                checkpoint_override(last),
            )
        raise


# Evaluation -------------------------------------------------------------------------------------------------


def evaluate_splits(
    trainer: pl.Trainer,
    module: GuidedClassifier,
    datamodule: GuidanceDataModule,
    splits: tuple[str, ...],
    keep_threshold: bool = False,
) -> dict[str, float]:
    """Return the flat metrics of the current weights.

    Args:
        trainer: Its loggers get them too.
        module: Has the weights.
        datamodule: Has the splits.
        splits: ``val``, ``test`` or both.
        keep_threshold: Whether the IoU's threshold stays as it is when val is evaluated.
    """
    module.results.clear()
    module.keep_threshold = keep_threshold
    for split in splits:
        run = trainer.validate if split == "val" else trainer.test
        run(module, datamodule, verbose=False)
    module.keep_threshold = False
    return dict(module.results)


def _evaluate_start(
    config: DictConfig,
    trainer: pl.Trainer,
    module: GuidedClassifier,
    datamodule: GuidanceDataModule,
    output_dir: Path,
    resumed: bool,
) -> dict[str, float] | None:
    """Return the metrics of given start weights; a resumed run reads them back."""
    if not config.model.get("checkpoint"):
        return None
    path = output_dir / "before.json"
    if resumed and path.is_file():
        stored = json.loads(path.read_text())
        return {key: math.nan if value is None else value for key, value in stored.items()}
    before = evaluate_splits(trainer, module, datamodule, _SPLITS)
    if trainer.is_global_zero:
        write_json(path, before)
    return before


def _test_front(
    trainer: pl.Trainer,
    module: GuidedClassifier,
    datamodule: GuidanceDataModule,
    callbacks: list[Callback],
) -> None:
    """Evaluate the survivors of the Pareto front on the test split, as the paper does."""
    trainer.loggers = []  # front.json is their place; metrics.csv tells of this run's own weights
    for pareto in callbacks:
        if isinstance(pareto, ParetoCheckpoint):
            found = {}
            for point in pareto.front:
                load_weights(module, read_checkpoint(pareto.dirpath / point["checkpoint"]))
                found[point["checkpoint"]] = evaluate_splits(trainer, module, datamodule, ("test",))
            pareto.add_test_metrics(trainer, found)
