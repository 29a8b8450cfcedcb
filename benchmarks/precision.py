"""What a faster way of computing changes: ``python benchmarks/precision.py CHECKPOINT --way bf16-mixed``.

Takes a trained B-cos checkpoint of this project with its data set. Compares, with float32 as the truth,

* the logits and the maps of (image, class) pairs of the validation split, and their F1, EPG and IoU;
* the gradient of the Energy loss, with the classification loss and alone, on batches of the training split.

A map's error is the norm of the difference over the norm of the map in float32.

The ways: ``cpu-kernels`` (``trainer.cpu_kernels``), ``bf16-mixed`` (``trainer.precision``), ``bfloat16``
(``attributor.dtype``), ``compiled`` (``trainer.compile``), and the last two together, ``compiled-bfloat16``.
What they are compared with, and all ways but the first, are computed by torch alone outside of programs.
"""

import argparse
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from itertools import islice
from pathlib import Path

import torch
import torch.nn.functional as F
from omegaconf import OmegaConf
from torch import Tensor

from guidance.attribution import BcosContributions, CompiledExplanations, attribute_pairs
from guidance.checkpoints.reading import read_checkpoint
from guidance.data import Batch, GuidanceDataModule
from guidance.errors import InputError
from guidance.losses import EnergyLoss
from guidance.metrics import SplitMetrics
from guidance.models import Classifier, cpu_kernels
from guidance.run_directory import register_resolvers
from guidance.runs.building import build_data, restore_classifier
from guidance.training.guided_class import draw_guided_class

WAYS = ("cpu-kernels", "bf16-mixed", "bfloat16", "compiled", "compiled-bfloat16")


class Way:
    """One way of computing logits and maps.

    Args:
        name: ``float32``, or one of :data:`WAYS`.
        layer: Of the maps.
        batch_size: For which programs are compiled.
    """

    def __init__(self, name: str, layer: str, batch_size: int) -> None:
        self.name = name
        self.attributor = BcosContributions(layer, dtype="bfloat16" if name.endswith("bfloat16") else None)
        compiles = name.startswith("compiled")
        self.compiled = CompiledExplanations(self.attributor, batch_size) if compiles else None

    @contextmanager
    def precision(self) -> Iterator[None]:
        """Compute as the trainer would."""
        autocast = torch.autocast("cpu", torch.bfloat16, enabled=self.name == "bf16-mixed")
        with autocast, self.kernels():
            yield

    def kernels(self) -> AbstractContextManager[None]:
        """Compute by kernels of our own, or not."""
        return cpu_kernels(self.name == "cpu-kernels")

    def pairs(self, model: Classifier, images: Tensor, pairs: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Return logits [N, K] and the maps of P pairs, flat [P, hw]."""
        with self.precision():
            if self.compiled is not None:
                logits, maps = self.compiled.attribute_pairs(model, images, *pairs)
            else:
                logits, maps = attribute_pairs(self.attributor, model, images, *pairs)
        return logits.float(), next(iter(maps.values()))

    def step(self, model: Classifier, images: Tensor, classes: Tensor) -> tuple[Tensor, Tensor]:
        """Return logits [N, K] and maps [N, h, w] that can be differentiated."""
        with self.precision():
            if self.compiled is not None:
                logits, (maps,) = self.compiled.explain(model, images, [classes])
                return logits, maps
            forward = self.attributor.forward(model, images)
            return forward.logits, self.attributor.attribute(forward, classes, create_graph=True)


def main() -> None:
    """Compare evaluation, then gradients."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--way", default="bf16-mixed", choices=WAYS)
    parser.add_argument("--layer", default="input")
    parser.add_argument("--batches", type=int, default=3, help="of 64 images, of each split")
    options = parser.parse_args()
    register_resolvers()
    torch.set_num_threads(1)
    try:
        content = read_checkpoint(options.checkpoint)
    except InputError as error:
        parser.error(str(error))
    config = OmegaConf.create(content["guidance"]["config"])
    module = restore_classifier(config, content)
    data = build_data(config)
    ways = [Way(name, options.layer, config.data.batch_size) for name in ("float32", options.way)]
    compare_evaluation(module.model, ways, data, options.batches, float(module.iou_threshold))
    compare_gradients(module.model, ways, data, options.batches)


@torch.no_grad()
def compare_evaluation(
    model: Classifier, ways: Sequence[Way], data: GuidanceDataModule, batches: int, threshold: float
) -> None:
    """Print the errors of logits and maps, and the metrics both ways."""
    model.eval()
    layers = ways[0].attributor.layers
    metrics = [SplitMetrics(data.classes, layers, True) for _ in ways]
    of_logits, of_maps, cosines = [], [], []
    for batch in islice(data.val_dataloader(), batches):
        pairs = batch.has_boxes().nonzero(as_tuple=True)
        found = []
        for way, scores in zip(ways, metrics, strict=True):
            logits, maps = way.pairs(model, batch.images.float() / 255, pairs)
            scores.update(batch, logits, {layers[0]: maps}, *pairs)
            found.append((logits, maps.flatten(1)))
        (exact_logits, exact), (other_logits, other) = found
        of_logits.append((other_logits - exact_logits).abs().flatten())
        of_maps.append((other - exact).norm(dim=1) / exact.norm(dim=1))
        cosines.append(torch.cosine_similarity(other, exact))
    print(f"{len(torch.cat(of_maps))} pairs at {layers[0]}, {ways[1].name} against float32")
    print("logits, absolute error:", _spread(torch.cat(of_logits)))
    print("maps, relative error:  ", _spread(torch.cat(of_maps)))
    print("maps, 1 - cosine:      ", _spread(1 - torch.cat(cosines)))
    exact_values, other_values = (scores.compute(threshold)[0] for scores in metrics)
    for name in ("f1_micro", "epg", "iou"):
        one, two = 100 * exact_values[name], 100 * other_values[name]
        print(f"{name:9} {one:.3f} % in float32, {two:.3f} %")


def compare_gradients(model: Classifier, ways: Sequence[Way], data: GuidanceDataModule, batches: int) -> None:
    """Print how the gradients of some training batches differ: of the whole loss, and of the maps' alone."""
    model.train()
    for batch in islice(data.train_dataloader(), batches):
        for name, classifies in (("whole loss", True), ("localization loss", False)):
            (value, exact), (other_value, other) = (gradient(model, way, batch, classifies) for way in ways)
            worst = min(torch.cosine_similarity(*pair, dim=0) for pair in zip(exact, other, strict=True))
            a, b = torch.cat(exact), torch.cat(other)
            print(
                f"training batch, {name}: {value:.5f} and {other_value:.5f}; gradient: relative error "
                f"{(a - b).norm() / a.norm():.2e}, cosine {torch.cosine_similarity(a, b, dim=0):.7f}, "
                f"of the worst parameter {worst:.5f}"
            )


def gradient(model: Classifier, way: Way, batch: Batch, classifies: bool) -> tuple[float, list[Tensor]]:
    """Return a loss and its gradients for the parameters, flat, float64; change no statistics."""
    state = {name: value.clone() for name, value in model.state_dict().items()}
    model.zero_grad()
    classes, guided = draw_guided_class(batch.guidable(), 0, 0, batch.indices)
    logits, maps = way.step(model, batch.images.float() / 255, classes)
    loss = EnergyLoss()(maps, batch.class_masks(classes))[guided].mean()
    if classifies:
        loss = F.binary_cross_entropy_with_logits(logits.float(), batch.labels.float()) + 0.06 * loss
    with way.kernels():
        loss.backward()
    model.load_state_dict(state)
    return loss.item(), [p.grad.flatten().double() for p in model.parameters() if p.grad is not None]


def _spread(values: Tensor) -> str:
    middle, high = values.median(), values.quantile(0.99)
    return f"median {middle:.2e}, 99th percentile {high:.2e}, largest {values.max():.2e}"


if __name__ == "__main__":
    main()
