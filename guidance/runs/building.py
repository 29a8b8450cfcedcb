"""Objects that a configuration names, and one sentence about what is wrong with it."""

from collections.abc import Collection
from pathlib import Path
from typing import Any, Protocol, cast

import pytorch_lightning as pl
from hydra.errors import InstantiationException
from hydra.utils import get_class, instantiate
from lightning_fabric.utilities.exceptions import MisconfigurationException
from omegaconf import DictConfig, OmegaConf
from pytorch_lightning.callbacks import Callback, Checkpoint
from pytorch_lightning.loggers import Logger

from guidance.attribution import Attributor
from guidance.checkpoints.checkpoint_io import AtomicCheckpointIO
from guidance.checkpoints.reading import load_weights, portable_config, read_checkpoint
from guidance.command_line import CONFIG_DIR
from guidance.data import GuidanceDataModule
from guidance.errors import InputError
from guidance.models import Classifier, load_start_weights
from guidance.processes.stopping import leave_signals_alone
from guidance.runs.half_precision import warn_of_slow_bfloat16
from guidance.runs.trainer_options import check_trainer
from guidance.training.module import GuidedClassifier
from guidance.training.teacher import Teacher
from guidance.untrusted.stored_config import stored_config


class LabelledData(Protocol):
    """What a training module needs to know of its data."""

    @property
    def classes(self) -> tuple[str, ...]:
        """The K class names, in label order."""

    @property
    def multi_label(self) -> bool:
        """Whether an image may show several classes, or none."""

    @property
    def groups(self) -> tuple[str, ...]:
        """The names of the groups that accuracy is reported for."""

    @property
    def has_masks(self) -> bool:
        """Whether images may have segmentation masks."""


def build_part(node: Any, group: str, **options: Any) -> Any:
    """Build what a configuration names.

    Args:
        node: With the key ``_target_``, or None, which builds None.
        group: What it is, for messages.
        **options: More arguments of the target.

    Raises:
        InputError: If the target refuses the configuration, or is not installed.
    """
    try:
        return instantiate(node, **options)
    except InstantiationException as error:
        cause: BaseException | None = error
        while cause is not None:
            if isinstance(cause, InputError):
                raise cause from error
            if isinstance(cause, ModuleNotFoundError | MisconfigurationException | TypeError | ValueError):
                raise InputError(f"{group}: {cause}") from error
            cause = cause.__cause__ or cause.__context__
        raise


def build_model(config: DictConfig, num_classes: int, start_weights: bool = True) -> Classifier:
    """Build a classifier.

    Args:
        config: The group ``model``.
        num_classes: K.
        start_weights: Whether to load ``checkpoint`` and pretrained weights; not needed when a checkpoint of
            a run replaces them.

    Raises:
        InputError: If the configuration is wrong or the weights cannot be had.
    """
    node = config.copy()
    OmegaConf.set_struct(node, False)
    checkpoint = node.pop("checkpoint", None)
    if not start_weights and "pretrained" in node:
        node.pretrained = False
    model: Classifier = build_part(node, "model", num_classes=num_classes)
    if checkpoint and start_weights:
        load_start_weights(model, checkpoint)
    return model


def guiding_attributors() -> list[str]:
    """Name the options of the group ``attributor`` whose maps can guide."""
    options = {path.stem: OmegaConf.load(path) for path in (CONFIG_DIR / "attributor").glob("*.yaml")}
    return sorted(name for name, one in options.items() if _attributor_class(one._target_).guides)


def _attributor_class(name: str) -> type[Attributor]:
    return cast("type[Attributor]", get_class(name))


def build_data(config: DictConfig) -> GuidanceDataModule:
    """Build the data module and read the splits' annotations."""
    return cast(GuidanceDataModule, build_part(config.data.module, "data"))


def build_module(config: DictConfig, data: LabelledData, start_weights: bool = True) -> GuidedClassifier:
    """Build the model for the data's classes, and its training module.

    Args:
        config: With ``model`` and ``attributor``; ``loss`` and ``optimizer`` if it is to be trained.
        data: Knows the classes.
        start_weights: Whether to load ``model.checkpoint`` and pretrained weights; not needed when a
            checkpoint replaces them.

    Raises:
        InputError: If model, attributor and data do not fit together.
    """
    model = build_model(config.model, len(data.classes), start_weights)
    attributor = build_part(config.attributor, "attributor")
    loss = config.get("loss")
    options: dict[str, Any] = {}
    if loss is not None:
        if loss.localization is not None and loss.weight > 0 and not attributor.guides:
            raise InputError(
                f"{type(attributor).__name__} cannot guide: its maps have no gradient. It is for evaluation "
                f"(evaluate.py attributor=...); guide with attributor={', '.join(guiding_attributors())}"
            )
        options = {
            "localization": build_part(loss.localization, "loss"),
            "weight": loss.weight,
            "guided_classes": loss.get("classes", "one"),
            "teacher": _build_teacher(loss, data, config.get("trusted") or ()),
            "reduction": loss.reduction,
            "optimizer": build_part(config.optimizer, "optimizer"),
        }
    return GuidedClassifier(
        model,
        attributor,
        data.classes,
        multi_label=data.multi_label,
        groups=data.groups,
        has_masks=data.has_masks,
        seed=config.seed,
        compiled_batch_size=config.data.batch_size if OmegaConf.select(config, "trainer.compile") else None,
        partly_annotated=OmegaConf.select(config, "data.annotated_fraction", default=1) < 1,
        config=portable_config(config),
        **options,
    )


def restore_classifier(config: DictConfig, content: dict[str, Any]) -> GuidedClassifier:
    """Build a checkpoint's classifier with its weights; no data set is needed.

    Args:
        config: With ``model`` and ``attributor``, the checkpoint's or others that fit it.
        content: Of :func:`guidance.checkpoints.reading.read_checkpoint`.

    Raises:
        InputError: If the checkpoint belongs to another model, or the attributor does not fit it.
    """
    classes = content["guidance"]["classes"]
    model = build_model(config.model, len(classes), start_weights=False)
    module = GuidedClassifier(model, build_part(config.attributor, "attributor"), classes)
    load_weights(module, content)
    return module


def _build_teacher(loss: DictConfig, data: LabelledData, trusted: Collection[str]) -> Teacher | None:
    """Build the teacher that a loss names, with the model, attributor and weights of its checkpoint."""
    if loss.get("teacher") is None:
        return None
    path = Path(loss.teacher.checkpoint)
    if not path.is_file():
        raise InputError(f"loss.teacher.checkpoint: no file {path}; name a checkpoint of a training run")
    content = read_checkpoint(path)
    own = stored_config(content, path, trusted)
    parts = OmegaConf.create({key: own[key] for key in ("model", "attributor", "seed")})
    module = build_module(parts, data, start_weights=False)
    load_weights(module, content)
    return Teacher(module.model, module.attributor, loss.teacher.temperature)


def build_trainer(config: DictConfig, callbacks: list[Callback], loggers: list[Logger]) -> pl.Trainer:
    """Build the trainer, with checkpoints that are replaced as a whole; signals are left to others.

    Warns of half precision on a device that was not made for it.

    Raises:
        InputError: If an option is refused; see :func:`guidance.runs.trainer_options.check_trainer`.
    """
    check_trainer(config.trainer)
    node = config.trainer.copy()
    OmegaConf.set_struct(node, False)
    node.pop("compile", None)  # the module's
    node.pop("cpu_kernels", None)  # the run's
    trainer: pl.Trainer = build_part(
        node,
        "trainer",
        callbacks=callbacks,
        logger=loggers or False,
        plugins=[AtomicCheckpointIO()],
        enable_checkpointing=any(isinstance(callback, Checkpoint) for callback in callbacks),
    )
    leave_signals_alone(trainer)
    warn_of_slow_bfloat16(config, trainer.strategy.root_device)
    return trainer
