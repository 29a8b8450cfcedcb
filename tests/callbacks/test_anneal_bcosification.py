"""B and the scale of the biases against straight lines, in whole and in resumed trainings."""

from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from guidance.callbacks.anneal_bcosification import AnnealBcosification
from guidance.callbacks.last_checkpoint import LastCheckpoint
from guidance.errors import InputError
from guidance.models.bcosified import BcosifiedClassifier
from guidance.models.bcosified_layers import BcosifiedConv2d
from guidance.models.classifier import Classifier
from guidance.models.encoding import AddInverse

BATCHES = 4


class Module(pl.LightningModule):
    """Trains a single layer, and notes its B and the scale of its bias in every step and validation."""

    def __init__(self, model: Classifier | None = None) -> None:
        super().__init__()
        torch.manual_seed(0)
        network = nn.Sequential(BcosifiedConv2d(nn.Conv2d(6, 3, 1)), nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.model = model or BcosifiedClassifier(network, 3, {})
        self.seen: list[tuple[float, float]] = []
        self.validated: list[tuple[float, float]] = []

    @property
    def state(self) -> tuple[float, float]:
        (layer,) = [module for module in self.model.modules() if isinstance(module, BcosifiedConv2d)]
        assert isinstance(self.model, BcosifiedClassifier)
        assert (self.model.exponent, self.model.bias_scale) == (layer.b, layer.bias_scale)
        return layer.b, layer.bias_scale

    def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
        self.seen.append(self.state)
        return self.model(batch).square().mean()  # type: ignore[no-any-return]

    def validation_step(self, batch: Tensor, batch_idx: int) -> None:
        if batch_idx == 0:
            self.validated.append(self.state)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=1e-3)


def fit(folder: Path, module: Module, resume: str | None = None, **options: Any) -> None:
    anneal = options.pop("anneal", None) or AnnealBcosification(3, (0.0, 2 / 3), (1 / 3, 2 / 3))
    trainer = pl.Trainer(
        accelerator="cpu",
        logger=False,
        callbacks=[anneal, LastCheckpoint(folder, every_n_steps=3)],
        enable_progress_bar=False,
        enable_model_summary=False,
        **{"max_epochs": 3, "num_sanity_val_steps": 0} | options,
    )
    pixels = torch.rand(BATCHES, 3, 2, 2, generator=torch.Generator().manual_seed(0))
    loader: DataLoader[Tensor] = DataLoader(pixels)  # type: ignore[arg-type]
    trainer.fit(module, loader, loader, ckpt_path=resume, weights_only=True)


def test_straight_lines_then_constant(tmp_path: Path) -> None:
    module = Module()
    fit(tmp_path, module)
    assert [b for b, _ in module.seen] == pytest.approx([1 + min(step / 8, 1) for step in range(12)])
    assert [s for _, s in module.seen] == pytest.approx([1, 1, 1, 1, 1, 0.75, 0.5, 0.25, 0, 0, 0, 0])
    assert module.validated == [pytest.approx(state) for state in ((1.5, 1.0), (2.0, 0.0), (2.0, 0.0))]
    assert module.state == (2.0, 0.0)


def test_at_once_and_to_another_exponent(tmp_path: Path) -> None:
    module = Module()
    fit(tmp_path, module, anneal=AnnealBcosification(1, (0.0, 0.5), (0.5, 0.5), b=1.7), max_epochs=1)
    assert module.seen == [pytest.approx(state) for state in ((1, 1), (1.35, 1), (1.7, 0), (1.7, 0))]
    module = Module()
    fit(tmp_path, module, anneal=AnnealBcosification(1, (0.0, 0.0), (0.0, 0.0)), max_epochs=1)
    assert module.seen == [(2.0, 0.0)] * 4


def test_the_end_is_reached_with_the_last_step(tmp_path: Path) -> None:
    module = Module()
    fit(tmp_path, module, anneal=AnnealBcosification(1, (0.0, 1.0), (0.0, 1.0)), max_epochs=1)
    assert module.seen[-1] == pytest.approx((1.75, 0.25))
    assert module.validated == [(2.0, 0.0)]


def test_steps_of_several_batches(tmp_path: Path) -> None:
    module = Module()
    anneal = AnnealBcosification(2, (0.0, 1.0), (0.0, 1.0))
    fit(tmp_path, module, anneal=anneal, accumulate_grad_batches=3, max_epochs=2)
    assert [b for b, _ in module.seen] == pytest.approx([1, 1, 1, 1.25, 1.5, 1.5, 1.5, 1.75])
    assert module.state == (2.0, 0.0)


def test_sanity_check_sees_the_start(tmp_path: Path) -> None:
    module = Module()
    fit(tmp_path, module, num_sanity_val_steps=1, max_epochs=1)
    assert module.validated == [(1.0, 1.0), pytest.approx((1.5, 1.0))]


@pytest.mark.parametrize("steps", [3, 4, 6])
def test_resumed_training_goes_on_with_the_same_state(tmp_path: Path, steps: int) -> None:
    """In mid-epoch, and between epochs."""
    whole, first = Module(), Module()
    fit(tmp_path / "whole", whole)
    fit(tmp_path / "parts", first, max_steps=steps)
    last = tmp_path / "parts" / "last.ckpt"
    content = torch.load(last, weights_only=True)
    assert content["global_step"] == steps
    b, scale = content["state_dict"]["model._extra_state"].tolist()
    assert (b, scale) == pytest.approx((1 + steps / 8, 1 - max(steps - 4, 0) / 4))
    second = Module()
    fit(tmp_path / "parts", second, resume=str(last))
    # Ended by its number of steps, an epoch counts as complete: there are fewer steps left.
    assert len(second.seen) >= BATCHES
    assert second.seen == whole.seen[steps : steps + len(second.seen)]
    assert second.state == whole.state


def test_other_models_are_refused(tmp_path: Path) -> None:
    model = Classifier(nn.Sequential(BcosifiedConv2d(nn.Conv2d(6, 3, 1))), AddInverse(), 3, {})
    with pytest.raises(InputError, match="use model=bcosified"):
        fit(tmp_path, Module(model))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"epochs": 0}, r"anneal_bcosification\.epochs must be above 0"),
        ({"epochs": 1, "b": float("nan")}, r"anneal_bcosification\.b must be at least 1"),
        ({"epochs": 1, "exponent": (0.5, 0.2)}, r"anneal_bcosification\.exponent must be two parts"),
        ({"epochs": 1, "biases": (0.5,)}, r"anneal_bcosification\.biases must be two parts"),
        ({"epochs": 1, "biases": (0.5, 1.1)}, r"got \[0\.5, 1\.1\]"),
    ],
)
def test_options_out_of_range(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        AnnealBcosification(**options)
