"""How long a training step takes, by the layer that is guided."""

import time
from collections.abc import Sequence
from typing import cast

import torch
from omegaconf import DictConfig
from torch import nn

from guidance.runs.building import build_data, build_module


def step_seconds(config: DictConfig, layers: Sequence[str], repeats: int = 5) -> dict[str, float]:
    """Time the forward and both backward passes of a guided step; the layers take turns.

    Args:
        config: Of a guided run; its first batch is used.
        layers: Layers to guide at.
        repeats: Steps of each, after one to warm up.

    Returns:
        Median seconds of processor time for each layer, the same whatever else the machine does.
    """
    datamodule = build_data(config)
    datamodule.setup("fit")
    batch = next(iter(datamodule.train_dataloader()))
    images = batch.images / 255
    classes = batch.labels.int().argmax(dim=1)
    modules = {}
    for layer in layers:
        own = config.copy()
        own.attributor.layer = layer
        modules[layer] = build_module(own, datamodule, start_weights=False)
    times: dict[str, list[float]] = {layer: [] for layer in layers}
    for _ in range(repeats + 1):
        for layer, module in modules.items():
            start = time.process_time()
            forward = module.attributor.forward(module.model, images)
            maps = module.attributor.attribute(forward, classes, create_graph=True)
            localization = cast(nn.Module, module.localization)
            loss = forward.logits.mean() + localization(maps, batch.class_masks(classes)).mean()
            loss.backward()
            module.zero_grad()
            times[layer].append(time.process_time() - start)
    return {layer: float(torch.tensor(found[1:]).median()) for layer, found in times.items()}
