"""Objects that a configuration names, and one sentence about what is wrong with it."""

from typing import Any

from hydra.errors import InstantiationException
from hydra.utils import instantiate
from lightning_fabric.utilities.exceptions import MisconfigurationException
from omegaconf import DictConfig, OmegaConf

from guidance.errors import InputError
from guidance.models import Classifier, load_start_weights


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
