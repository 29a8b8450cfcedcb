"""What ``trainer.precision=bf16-mixed`` changes: ``python benchmarks/precision.py CHECKPOINT``.

Takes a trained B-cos checkpoint of this project with its data set. Compares, with float32 as the truth,

* the logits and the maps of (image, class) pairs of the validation split, and their F1, EPG and IoU;
* the gradient of the Energy loss, with the classification loss and alone, on batches of the training split.

A map's error is the norm of the difference over the norm of the map in float32.
"""

import argparse
import copy
from collections.abc import Callable
from itertools import islice
from pathlib import Path

import torch
from guided_step import guided_loss
from omegaconf import OmegaConf
from torch import Tensor

from guidance.attribution import BcosContributions, attribute_pairs
from guidance.building import build_data, restore_classifier
from guidance.checkpoint import read_checkpoint
from guidance.data import Batch, GuidanceDataModule
from guidance.guided_class import draw_guided_class
from guidance.losses import EnergyLoss
from guidance.metrics import SplitMetrics
from guidance.models import Classifier
from guidance.run_directory import register_resolvers


def main() -> None:
    """Compare evaluation, then gradients."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--layer", default="input")
    parser.add_argument("--batches", type=int, default=3, help="of 64 images, of each split")
    options = parser.parse_args()
    register_resolvers()
    torch.set_num_threads(1)
    content = read_checkpoint(options.checkpoint)
    config = OmegaConf.create(content["guidance"]["config"])
    module = restore_classifier(config, content)
    data = build_data(config)
    attributor = BcosContributions(options.layer)
    compare_evaluation(module.model, attributor, data, options.batches, float(module.iou_threshold))
    compare_gradients(module.model, options.layer, data, options.batches)


@torch.no_grad()
def compare_evaluation(
    model: Classifier, attributor: BcosContributions, data: GuidanceDataModule, batches: int, threshold: float
) -> None:
    """Print the errors of logits and maps, and the metrics in both precisions."""
    model.eval()
    metrics = {half: SplitMetrics(data.classes, attributor.layers, True) for half in (False, True)}
    of_logits, of_maps, cosines = [], [], []
    for batch in islice(data.val_dataloader(), batches):
        pairs = batch.has_boxes().nonzero(as_tuple=True)
        found = []
        for half, scores in metrics.items():
            with torch.autocast("cpu", torch.bfloat16, enabled=half):
                logits, maps = attribute_pairs(attributor, model, batch.images.float() / 255, *pairs)
            scores.update(batch, logits.float(), maps, *pairs)
            found.append((logits.float(), maps[attributor.layers[0]].flatten(1)))
        (exact_logits, exact), (half_logits, rounded) = found
        of_logits.append((half_logits - exact_logits).abs().flatten())
        of_maps.append((rounded - exact).norm(dim=1) / exact.norm(dim=1))
        cosines.append(torch.cosine_similarity(rounded, exact))
    print(f"{len(torch.cat(of_maps))} pairs at {attributor.layers[0]}, bf16-mixed against float32")
    print("logits, absolute error:", _spread(torch.cat(of_logits)))
    print("maps, relative error:  ", _spread(torch.cat(of_maps)))
    print("maps, 1 - cosine:      ", _spread(1 - torch.cat(cosines)))
    exact_values, half_values = (metrics[half].compute(threshold)[0] for half in (False, True))
    for name in ("f1_micro", "epg", "iou"):
        one, other = 100 * exact_values[name], 100 * half_values[name]
        print(f"{name:9} {one:.2f} % in float32, {other:.2f} % in bf16-mixed")


def compare_gradients(model: Classifier, layer: str, data: GuidanceDataModule, batches: int) -> None:
    """Print how the gradients of some training batches differ: of the whole loss, and of the maps' alone."""
    model.train()
    for batch in islice(data.train_dataloader(), batches):
        for name, loss in (("whole loss", _whole), ("localization loss", _localization)):
            value, exact = _gradient(loss, model, layer, batch, half=False)
            half_value, rounded = _gradient(loss, model, layer, batch, half=True)
            worst = min(torch.cosine_similarity(*pair, dim=0) for pair in zip(exact, rounded, strict=True))
            a, b = torch.cat(exact), torch.cat(rounded)
            print(
                f"training batch, {name}: {value:.5f} and {half_value:.5f}; gradient: relative error "
                f"{(a - b).norm() / a.norm():.2e}, cosine {torch.cosine_similarity(a, b, dim=0):.5f}, "
                f"of the worst parameter {worst:.5f}"
            )


Loss = Callable[[Classifier, Batch, Tensor, Tensor, str], Tensor]


def _whole(model: Classifier, batch: Batch, classes: Tensor, guided: Tensor, layer: str) -> Tensor:
    images, masks = batch.images.float() / 255, batch.class_masks(classes)
    return guided_loss(model, images, batch.labels.float(), classes, masks, guided, layer)


def _localization(model: Classifier, batch: Batch, classes: Tensor, guided: Tensor, layer: str) -> Tensor:
    attributor = BcosContributions(layer)
    forward = attributor.forward(model, batch.images.float() / 255)
    maps = attributor.attribute(forward, classes, create_graph=True)
    losses: Tensor = EnergyLoss()(maps, batch.class_masks(classes))
    return losses[guided].mean()


def _gradient(
    loss: Loss, model: Classifier, layer: str, batch: Batch, half: bool
) -> tuple[float, list[Tensor]]:
    """Return a loss and its gradient for every parameter that has one, flat, float64."""
    model = copy.deepcopy(model)
    classes, guided = draw_guided_class(batch.guidable(), 0, 0, batch.indices)
    with torch.autocast("cpu", torch.bfloat16, enabled=half):
        value = loss(model, batch, classes, guided, layer)
    value.backward()
    return value.item(), [p.grad.flatten().double() for p in model.parameters() if p.grad is not None]


def _spread(values: Tensor) -> str:
    middle, high = values.median(), values.quantile(0.99)
    return f"median {middle:.2e}, 99th percentile {high:.2e}, largest {values.max():.2e}"


if __name__ == "__main__":
    main()
