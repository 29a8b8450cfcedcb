"""A classifier that is asked for explanations."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from omegaconf import DictConfig, ListConfig, OmegaConf
from torch import Tensor
from torchvision.models import ResNet50_Weights

from guidance.attribution import Attributor, BcosContributions
from guidance.checkpoints.reading import read_checkpoint, told_apart
from guidance.errors import InputError
from guidance.models import Classifier, DynamicLinear
from guidance.runs.building import build_model, build_part, restore_classifier


@dataclass(frozen=True)
class Explainer:
    """A classifier in evaluation mode and its attributor.

    Attributes:
        name: What it is called.
        model: Maps images to logits [N, K].
        attributor: Makes the maps.
        classes: The K class names.
        image_size: The side of the square that images are squashed to, in pixels.
        exclusive: Whether the classes exclude each other, so that probabilities are a softmax.
    """

    name: str
    model: Classifier
    attributor: Attributor
    classes: tuple[str, ...]
    image_size: int
    exclusive: bool = False

    @property
    def dynamic_linear(self) -> bool:
        """Whether the maps are contributions of a dynamic linear model, which sum up to the logit."""
        return isinstance(self.attributor, BcosContributions)

    def images(self, image: Tensor, count: int = 1) -> Tensor:
        """Return a squashed image, uint8 [3, S, S], ``count`` times as the model reads it."""
        parameter = next(self.model.parameters())
        return (image.to(parameter.device).to(parameter.dtype) / 255).expand(count, -1, -1, -1)

    def probabilities(self, logits: Tensor) -> Tensor:
        """Map logits [N, K] to probabilities."""
        return logits.softmax(dim=1) if self.exclusive else logits.sigmoid()


def load_explainer(config: DictConfig, name: str) -> Explainer:
    """Build a checkpoint's classifier, or one with ImageNet weights; no data set is needed.

    Without a checkpoint probabilities are a softmax, but for B-cos networks, which are trained with binary
    cross-entropy on ImageNet too.

    Args:
        config: As composed from ``conf/explain.yaml``, with one checkpoint or none.
        name: What the explainer is called.

    Raises:
        InputError: If a part is missing or does not fit the others.
    """
    parts = config.copy()
    if config.layer is not None and config.attributor:
        OmegaConf.update(parts, "attributor.layer", config.layer, force_add=True)
    if config.ckpt_path is not None:
        content = read_checkpoint(Path(config.ckpt_path))
        module = restore_classifier(parts, content)
        model, attributor, classes, exclusive = module.model, module.attributor, module.classes, False
    else:
        _check_pretrained(config)
        classes = tuple(ResNet50_Weights.DEFAULT.meta["categories"])
        model = build_model(parts.model, len(classes))
        attributor = build_part(parts.attributor, "attributor")
        attributor.check(model)
        exclusive = not any(isinstance(m, DynamicLinear) for m in model.modules())
    model = model.to(_device(config.device)).eval().requires_grad_(False)
    return Explainer(name, model, attributor, classes, config.data.image_size, exclusive)


def checkpoint_names(paths: Sequence[str], names: ListConfig | str | None) -> list[str]:
    """Return what checkpoints are called.

    Args:
        paths: Of the files.
        names: What the user calls them; None for what tells their paths apart.

    Raises:
        InputError: If there are not as many names as files.
    """
    if names is not None:
        given = [str(name) for name in names] if isinstance(names, ListConfig) else [str(names)]
        if len(given) != max(1, len(paths)):
            raise InputError(f"names={given} must name each of the {max(1, len(paths))} checkpoints")
        return given
    return told_apart(paths)


def _check_pretrained(config: DictConfig) -> None:
    if not config.model or not config.attributor:
        raise InputError(
            "name a checkpoint (ckpt_path=FILE), or a model with ImageNet weights and an attributor, e.g. "
            "model=efficientnet_lite0 attributor=gradcam"
        )
    # A yaml that puts any network together may bring its weights; the others say whether they do.
    own = config.model._target_ == "guidance.models.Classifier"
    if not (config.model.get("pretrained", own) or config.model.get("checkpoint")):
        raise InputError(
            "a network with random weights explains nothing: use model.pretrained=true (if it has that "
            "option), model.checkpoint=FILE with ImageNet weights, or ckpt_path=FILE"
        )


def _device(name: str) -> torch.device:
    try:
        device = torch.device(name)
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise InputError(
            f"device={name}: {str(error).splitlines()[0]}; use device=cpu or device=cuda"
        ) from error
    return device
