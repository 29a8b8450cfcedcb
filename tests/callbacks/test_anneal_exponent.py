"""B against the straight line, in whole and in resumed trainings."""

from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from guidance.callbacks.anneal_exponent import AnnealExponent
from guidance.callbacks.last_checkpoint import LastCheckpoint
from guidance.errors import InputError
from guidance.models.bcosified import BcosifiedClassifier
from guidance.models.bcosified_layers import BcosifiedConv2d
from guidance.models.classifier import Classifier
from guidance.models.encoding import AddInverse

BATCHES = 4


class Module(pl.LightningModule):
    """Trains a single layer, and notes its B in every step and validation."""

    def __init__(self, model: Classifier | None = None) -> None:
        super().__init__()
        torch.manual_seed(0)
        network = nn.Sequential(BcosifiedConv2d(nn.Conv2d(6, 3, 1)), nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.model = model or BcosifiedClassifier(network, 3, {}, 2.0)
        self.seen: list[float] = []
        self.validated: list[float] = []

    @property
    def b(self) -> float:
        (layer,) = [module for module in self.model.modules() if isinstance(module, BcosifiedConv2d)]
        assert isinstance(self.model, BcosifiedClassifier)
        assert self.model.exponent == layer.b
        return layer.b

    def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
        self.seen.append(self.b)
        return self.model(batch).square().mean()  # type: ignore[no-any-return]

    def validation_step(self, batch: Tensor, batch_idx: int) -> None:
        if batch_idx == 0:
            self.validated.append(self.b)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=1e-3)


def fit(folder: Path, module: Module, resume: str | None = None, **options: Any) -> None:
    anneal = options.pop("anneal", None) or AnnealExponent(1.0, 2.0, epochs=2)
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


def test_straight_line_then_constant(tmp_path: Path) -> None:
    module = Module()
    fit(tmp_path, module)
    assert module.seen == pytest.approx([1 + min(step / 8, 1) for step in range(12)])
    assert module.validated == [1.5, 2.0, 2.0]
    assert module.b == 2.0


def test_the_end_is_reached_with_the_last_step(tmp_path: Path) -> None:
    module = Module()
    fit(tmp_path, module, anneal=AnnealExponent(1.0, 1.7, epochs=0.5), max_epochs=1)
    assert module.seen == pytest.approx([1.0, 1.35, 1.7, 1.7])
    assert module.validated == [1.7]


def test_steps_of_several_batches(tmp_path: Path) -> None:
    module = Module()
    fit(tmp_path, module, accumulate_grad_batches=3, max_epochs=2)
    assert module.seen == pytest.approx([1, 1, 1, 1.25, 1.5, 1.5, 1.5, 1.75])
    assert module.b == 2.0


def test_sanity_check_sees_the_start(tmp_path: Path) -> None:
    module = Module()
    fit(tmp_path, module, num_sanity_val_steps=1, max_epochs=1)
    assert module.validated == [1.0, 1.5]


@pytest.mark.parametrize("steps", [3, 4, 6])
def test_resumed_training_goes_on_with_the_same_exponent(tmp_path: Path, steps: int) -> None:
    """In mid-epoch, and between epochs."""
    whole, first = Module(), Module()
    fit(tmp_path / "whole", whole)
    fit(tmp_path / "parts", first, max_steps=steps)
    last = tmp_path / "parts" / "last.ckpt"
    content = torch.load(last, weights_only=True)
    assert content["global_step"] == steps
    assert float(content["state_dict"]["model._extra_state"]) == pytest.approx(1 + steps / 8)
    second = Module()
    fit(tmp_path / "parts", second, resume=str(last))
    # Ended by its number of steps, an epoch counts as complete: there are fewer steps left.
    assert len(second.seen) >= BATCHES
    assert second.seen == whole.seen[steps : steps + len(second.seen)]
    assert second.b == whole.b


def test_other_models_are_refused(tmp_path: Path) -> None:
    model = Classifier(nn.Sequential(BcosifiedConv2d(nn.Conv2d(6, 3, 1))), AddInverse(), 3, {})
    with pytest.raises(InputError, match="use model=bcosified"):
        fit(tmp_path, Module(model))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"start": 0.5}, r"anneal_exponent\.start must be at least 1"),
        ({"end": float("nan")}, r"anneal_exponent\.end must be at least 1"),
        ({"epochs": 0}, r"anneal_exponent\.epochs must be above 0"),
    ],
)
def test_options_out_of_range(options: dict[str, float], message: str) -> None:
    with pytest.raises(InputError, match=message):
        AnnealExponent(**options)
