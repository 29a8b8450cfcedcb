"""Runs a protocol from a configuration. No command line here: any ``DictConfig`` will do."""

import hashlib
import json
import logging
from pathlib import Path
from typing import Any, cast

import pytorch_lightning as pl
import torch
from omegaconf import DictConfig, OmegaConf
from torch import nn

from guidance.checkpoints.reading import checkpoint_paths, load_weights, read_checkpoint, told_apart
from guidance.data import GuidanceDataModule
from guidance.errors import InputError, unknown_name
from guidance.files import write_atomically, write_json
from guidance.models import Classifier
from guidance.protocols.page import PAGE, protocol_page
from guidance.protocols.protocol import ComparedModel, Evaluation, Protocol
from guidance.results import provenance
from guidance.runs.building import build_data, build_model, build_module, build_part, build_trainer
from guidance.runs.cpu_kernels import with_cpu_kernels
from guidance.runs.run import quiet_lightning
from guidance.untrusted.stored_config import stored_config

log = logging.getLogger(__name__)

_SPLITS = ("val", "test")
_IMAGENET_CLASSES = 1000


@with_cpu_kernels
def run_protocol(config: DictConfig) -> dict[str, Any]:
    """Judge attributions of one model or several by the protocol ``config.protocol``.

    Args:
        config: As composed from ``conf/evaluate.yaml``.

    Returns:
        The content of ``results.json``.

    Raises:
        InputError: If the configuration, the checkpoints or the data are wrong.
    """
    quiet_lightning()
    if config.split not in _SPLITS:
        raise unknown_name("split", config.split, _SPLITS)
    pl.seed_everything(config.seed, workers=True, verbose=False)
    protocol: Protocol = build_part(config.protocol, "protocol", _convert_="all")
    trainer = build_trainer(config, [], [])
    if trainer.world_size > 1:
        raise InputError("a protocol runs in one process: use trainer=cpu or trainer=gpu, trainer.devices=1")
    device = trainer.strategy.root_device
    datamodule = build_data(config)
    models = compared_models(config, datamodule, device)
    output_dir = Path(config.paths.output_dir)
    output_dir.mkdir(parents=True, exist_ok=True)
    write_atomically(output_dir / "config.yaml", OmegaConf.to_yaml(config, resolve=True))
    evaluation = Evaluation(models, datamodule, config.split, config.seed, output_dir, device)
    results = protocol.run(evaluation)
    results |= {"models": [{"name": m.name, "weights": m.weights} for m in models]} | provenance(config.seed)
    write_json(output_dir / "results.json", results)
    protocol_page([output_dir]).write(output_dir / PAGE)
    for name in ("results.json", PAGE):
        log.info("results: %s", output_dir / name)
    return results


def compared_models(
    config: DictConfig, datamodule: GuidanceDataModule, device: torch.device
) -> list[ComparedModel]:
    """Build the models that are compared: those of the checkpoints or, without any, ``config.model``.

    Raises:
        InputError: If a checkpoint does not fit the data, or an option would have no effect.
    """
    if config.ckpt_path is None:
        model = build_model(config.model, _IMAGENET_CLASSES)
        _refuse_random(config.model)
        built = [(config.model, model)]
        labels = [_model_name(config.model)]
    else:
        given = config.ckpt_path if isinstance(config.ckpt_path, str) else list(config.ckpt_path)
        paths = checkpoint_paths(given)
        built = [_from_checkpoint(config, path, datamodule, one=len(paths) == 1) for path in paths]
        labels = _distinct([_model_name(node) for node, _ in built], paths)
    names = labels if config.names is None else [str(name) for name in config.names]
    if len(names) != len(built) or len(set(names)) < len(names):
        raise InputError(f"names: {len(built)} different names are needed, one per model; got {names}")
    return [
        ComparedModel(
            name,
            model.to(device).eval().requires_grad_(False),
            _hash_weights(node, model),
            own_head=config.ckpt_path is None,
        )
        for name, (node, model) in zip(names, built, strict=True)
    ]


def _from_checkpoint(
    config: DictConfig, path: Path, datamodule: GuidanceDataModule, one: bool
) -> tuple[DictConfig, Classifier]:
    content = read_checkpoint(path)
    own = OmegaConf.create(stored_config(content, path, config.trusted))
    if OmegaConf.to_container(config.attributor) != OmegaConf.to_container(own.attributor) and one:
        raise InputError(
            "a protocol names its attributions in protocol.attributors; attributor=... has no part"
        )
    # One checkpoint's model may have been changed on the command line; of several, each has its own.
    parts = OmegaConf.create(
        {"model": config.model if one else own.model, "attributor": own.attributor, "seed": config.seed}
    )
    module = build_module(parts, datamodule, start_weights=False)
    load_weights(module, content)
    return parts.model, module.model


def _refuse_random(model: DictConfig) -> None:
    if model.get("pretrained") is False and not model.get("checkpoint"):
        raise InputError(
            "without ckpt_path the model is judged as it is, and this one has random weights: name a "
            "checkpoint, set model.pretrained=true, or give weights in model.checkpoint"
        )


def _model_name(model: DictConfig) -> str:
    """Return what a person would call a model, from its configuration."""
    for key in ("name", "network.model_name", "base"):
        name = OmegaConf.select(model, key)
        if name:
            return str(name)
    target = str(model.get("_target_", "model")).rpartition(".")[2]
    kind = model.get("depth") or model.get("size") or ""
    return f"{target}{kind}" if not str(kind).isalpha() else f"{target}_{kind}"


def _distinct(names: list[str], paths: list[Path]) -> list[str]:
    """Add to names that several checkpoints share what their paths differ in."""
    if len(set(names)) == len(names):
        return names
    return [f"{name} {end}" for name, end in zip(names, told_apart(paths), strict=True)]


def _hash_weights(config: DictConfig, model: nn.Module) -> str:
    """Return the SHA-256 of a model's configuration and state dict."""
    digest = hashlib.sha256()
    options = cast("dict[str, Any]", OmegaConf.to_container(config, resolve=True))
    options = {key: value for key, value in options.items() if key not in ("checkpoint", "pretrained")}
    digest.update(json.dumps(options, sort_keys=True).encode())
    for name, value in sorted(model.state_dict().items()):
        digest.update(f"{name}{list(value.shape)}{value.dtype}".encode())
        digest.update(value.cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
