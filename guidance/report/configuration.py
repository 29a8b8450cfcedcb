"""Which runs belong together: the rule that makes configurations of runs."""

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import PurePath
from typing import Any

from guidance.errors import unknown_name
from guidance.report.run import Run

NOT_COMPARED = (
    # What a front is taken across.
    "loss.weight",
    "trainer.max_epochs",
    # What is repeated.
    "seed",
    "data.module.seed",
    "data.module.augmentation.seed",
    # Where things are, how fast they go and what is shown: nothing that changes a number by much.
    *("ckpt_path", "test_front", "paths", "logger", "hydra", "trusted"),
    *("callbacks.last", "callbacks.best", "callbacks.pareto", "callbacks.gallery"),
    *("trainer.accelerator", "trainer.devices", "trainer.strategy", "trainer.enable_progress_bar"),
    *("trainer.enable_model_summary", "trainer.log_every_n_steps", "trainer.num_sanity_val_steps"),
    *("trainer.compile", "trainer.cpu_kernels", "callbacks.finite.dirpath", "baseline.dir"),
    *("data.root", "data.download", "data.num_workers", "data.cache", "data.cache_dir"),
    *("data.module.num_workers", "data.module.cache", "data.module.cache_dir"),
    *("data.module.dataset.root", "data.module.dataset.download"),
)
"""Keys in which runs of one configuration may differ; with each, all keys below it."""

_MEASUREMENT = ("attributor", "data.module.dataset", "data.module.image_size")
"""Keys in which runs must agree for their EPG and IoU to be comparable."""

Key = tuple[tuple[str, str], ...]


def configuration_key(run: Run, runs: Sequence[Run], group_by: Sequence[str] = ()) -> Key:
    """Return what the runs of one configuration have in common.

    A checkpoint that another of the runs wrote (``model.checkpoint``, ``loss.teacher.checkpoint``) counts as
    that run's configuration: guided runs that start from baselines of different seeds belong together. So do
    those that start from shared baselines (``baseline=shared``), which need not be among the runs.

    Args:
        run: One of the runs.
        runs: All of them.
        group_by: Keys to compare, each with all keys below it; by default all but :data:`NOT_COMPARED`.
    """
    return _key(run, runs, tuple(group_by), depth=0)


def check_group_by(runs: Iterable[Run], group_by: Iterable[str]) -> None:
    """Refuse to group by a key that no run has.

    Raises:
        InputError: Naming the nearest right one.
    """
    known = {part for run in runs for key in run.config for part in _with_parents(key)}
    for wanted in group_by:
        if wanted not in known:
            raise unknown_name("key to group by", wanted, known)


def measurement_key(run: Run) -> Key:
    """Return what decides how a run's EPG and IoU are measured: data set, image size, attributor."""
    kept = {key: value for key, value in run.config.items() if _within(key, _MEASUREMENT)}
    return _sorted({key: value for key, value in kept.items() if not _within(key, NOT_COMPARED)})


def is_baseline(run: Run, runs: Iterable[Run]) -> bool:
    """Whether guidance is compared with a run: it is unguided, and continues no run of the study."""
    return not run.guided and source_of(run.start, runs) is None


def source_of(checkpoint: str, runs: Iterable[Run]) -> Run | None:
    """Return the run that wrote a checkpoint (an absolute path, which may since have been moved)."""
    if not checkpoint:
        return None
    return next((run for run in runs if PurePath(checkpoint).is_relative_to(run.home)), None)


def differences(runs: Sequence[Run]) -> dict[str, list[str]]:
    """Return the keys in which runs differ, and each run's value as text.

    Paths and other keys that do not matter are left out, and so is a key that repeats what another one says.
    """
    skipped = [key for key in NOT_COMPARED if key not in ("loss.weight", "trainer.max_epochs", "seed")]
    tables = [_told(run, runs) for run in runs]
    return {
        key.removesuffix("._target_"): [_readable(value) for value in values]
        for key, values in _differing(tables).items()
        if not _within(key, skipped)
    }


def configuration_names(keys: Sequence[Key]) -> list[str]:
    """Name configurations by their loss and by what else sets them apart."""
    tables = [dict(key) for key in keys]
    names = [_loss_name(table) for table in tables]
    for key, values in _differing(tables).items():
        if key.endswith(".checkpoint") or key in ("loss.localization", "loss.localization._target_"):
            continue
        for number, value in enumerate(values):
            names[number] += f", {key.removesuffix('._target_')}={_readable(value)}" if value else ""
    seen: dict[str, int] = {}
    for number, name in enumerate(names):
        seen[name] = seen.get(name, 0) + 1
        names[number] += f" ({seen[name]})" if seen[name] > 1 else ""
    return names


def _key(run: Run, runs: Sequence[Run], group_by: tuple[str, ...], depth: int) -> Key:
    kept: dict[str, Any] = {}
    for key, value in run.config.items():
        wanted = not group_by or _within(key, group_by)
        if key in group_by or (wanted and not _within(key, NOT_COMPARED)):
            kept[key] = value
    # A shared baseline is made of the rest of the configuration.
    if run.config.get("baseline.dir") and "model.checkpoint" not in group_by:
        kept.pop("model.checkpoint", None)
    for key in [key for key in kept if key.endswith(".checkpoint") and kept[key]]:
        source = source_of(run.absolute(str(kept[key])), runs)
        if source is not None and depth < len(runs):
            kept[key] = _key(source, runs, (), depth + 1)
    return _sorted(kept)


def _sorted(content: dict[str, Any]) -> Key:
    return tuple(sorted((key, _json(value)) for key, value in content.items()))


def _json(value: Any) -> str:
    """Return a value as JSON, whole numbers alike whether they were written ``1`` or ``1.0``."""
    return json.dumps(_whole(value), default=str, skipkeys=True)


def _whole(value: Any) -> Any:
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, list | tuple):
        return [_whole(entry) for entry in value]
    return value


def _within(key: str, parents: Iterable[str]) -> bool:
    return any(key == parent or key.startswith(f"{parent}.") for parent in parents)


def _with_parents(key: str) -> list[str]:
    parts = key.split(".")
    return [".".join(parts[:length]) for length in range(1, len(parts) + 1)]


def _told(run: Run, runs: Sequence[Run]) -> dict[str, str]:
    """Return a configuration as JSON values; of a checkpoint that one of the runs wrote, that run's name."""
    table = {key: _json(value) for key, value in run.config.items()}
    if "loss.localization" in table:  # null; where there is a loss, only the keys below are there
        table["loss.localization._target_"] = table.pop("loss.localization")
    for key in [key for key in table if key.endswith(".checkpoint") and run.config[key]]:
        path = run.absolute(str(run.config[key]))
        source = source_of(path, runs)
        table[key] = json.dumps(
            f"{source.name}/{PurePath(path).relative_to(source.home)}" if source else path
        )
    return table


def _differing(tables: Sequence[Mapping[str, str]]) -> dict[str, list[str]]:
    """Return the keys whose values differ, and the values, "" where a table lacks one.

    Of keys that end alike and have the same values, only the shortest is returned.
    """
    keys = {key for table in tables for key in table}
    found: dict[tuple[tuple[str, ...], str], str] = {}
    for key in sorted(keys, key=lambda key: (key.count("."), key)):
        values = tuple(table.get(key, "") for table in tables)
        if len(set(values)) > 1:
            found.setdefault((values, key.rpartition(".")[2]), key)
    return {key: list(values) for (values, _), key in found.items()}


def _loss_name(table: Mapping[str, str]) -> str:
    target = table.get("loss.localization._target_")
    if target:
        return _readable(target).removesuffix("Loss")
    return "unguided" if "loss.localization" in table else "all runs"


def _readable(value: str) -> str:
    """Return a JSON value as a person would write it; of a class, its name without the modules."""
    text = value[1:-1] if value.startswith('"') else value
    is_class = text.startswith(("guidance.", "torch.", "torchvision.", "pytorch_lightning."))
    return text.rpartition(".")[2] if is_class else text
