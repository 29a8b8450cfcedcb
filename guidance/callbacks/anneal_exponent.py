"""B of a B-cosified network, raised while it is fine-tuned."""

from math import isfinite
from typing import cast

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Callback

from guidance.errors import InputError
from guidance.models.bcosified import BcosifiedClassifier


class AnnealExponent(Callback):
    """Change the exponent B linearly with the number of optimizer steps.

    One of the ways to B = 2 of Arya et al., "B-cosification", NeurIPS 2024 (arXiv 2411.00715). After s steps
    of an epoch's S it is ``start + (end - start) * min(s / (epochs * S), 1)``. Thus a resumed run goes on
    with the same B, and every checkpoint holds the B that its weights were trained up to.

    Args:
        start: B of the start weights; 1 is the network before B-cosification, but for its biases.
        end: B after ``epochs``.
        epochs: Over how many epochs; not necessarily a whole number.

    Raises:
        InputError: If an exponent is below 1, or ``epochs`` is not positive.
    """

    def __init__(self, start: float = 1.0, end: float = 2.0, epochs: float = 1) -> None:
        for name, value in (("start", start), ("end", end)):
            if not value >= 1:
                raise InputError(f"callbacks.anneal_exponent.{name} must be at least 1; got {value}")
        if not epochs > 0:
            raise InputError(f"callbacks.anneal_exponent.epochs must be above 0; got {epochs}")
        self.start = start
        self.end = end
        self.epochs = epochs

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Refuse a model that does not keep its exponent.

        Raises:
            InputError: If the model is not B-cosified.
        """
        if not isinstance(pl_module.model, BcosifiedClassifier):
            raise InputError(
                "callbacks=anneal_exponent raises B of a B-cosified network: use model=bcosified, or "
                "callbacks=default"
            )

    def on_sanity_check_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Begin with the B of the steps done so far."""
        self._set(trainer, pl_module)

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Begin with the B of the steps done so far."""
        self._set(trainer, pl_module)

    def on_train_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: object,
        batch: object,
        batch_idx: int,
    ) -> None:
        """Go on to the B of the steps done so far, before anything is validated or saved."""
        self._set(trainer, pl_module)

    def _set(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        cast(BcosifiedClassifier, pl_module.model).set_exponent(self._exponent(trainer))

    def _exponent(self, trainer: pl.Trainer) -> float:
        if trainer.global_step == 0:
            return self.start  # the length of an epoch is not known yet in the sanity check
        batches = trainer.num_training_batches
        if not isfinite(batches):
            raise InputError("callbacks=anneal_exponent needs an epoch of a known length")
        steps = self.epochs * -(-batches // trainer.accumulate_grad_batches)
        done = min(trainer.global_step / steps, 1.0)
        return self.end if done == 1 else self.start + (self.end - self.start) * done
