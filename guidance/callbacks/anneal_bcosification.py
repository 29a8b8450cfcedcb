"""From a standard network to a B-cos network while it is fine-tuned: B is raised, biases are faded out."""

from collections.abc import Sequence
from math import isfinite
from typing import cast

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Callback

from guidance.errors import InputError
from guidance.models.bcosified import BcosifiedClassifier


class AnnealBcosification(Callback):
    """Raise the exponent from 1 to B and lower the scale of the biases from 1 to 0, on straight lines.

    Arya et al., "B-cosification", NeurIPS 2024 (arXiv 2411.00715), anneal either; here the first step trains
    exactly the given network, and the last ones a B-cos network. Both are functions of the number of
    optimizer steps alone. Thus a resumed run goes on where it was, and every checkpoint holds the B and the
    scale that its weights were trained up to.

    Args:
        epochs: Length of the training.
        exponent: The parts of it, from 0 to 1, where raising the exponent begins and where B is reached; the
            same number twice is a jump.
        biases: Likewise, where fading out the biases begins and where none is left.
        b: The exponent B of the end.

    Raises:
        InputError: If an option is out of range.
    """

    def __init__(
        self,
        epochs: float,
        exponent: Sequence[float] = (0.0, 0.5),
        biases: Sequence[float] = (0.0, 0.5),
        b: float = 2.0,
    ) -> None:
        if not epochs > 0:
            raise InputError(f"callbacks.anneal_bcosification.epochs must be above 0; got {epochs}")
        if not b >= 1:
            raise InputError(f"callbacks.anneal_bcosification.b must be at least 1; got {b}")
        for name, parts in (("exponent", exponent), ("biases", biases)):
            if len(parts) != 2 or not 0 <= parts[0] <= parts[1] <= 1:
                raise InputError(
                    f"callbacks.anneal_bcosification.{name} must be two parts of the training, begin and "
                    f"end, such as [0, 0.5]; got {list(parts)}"
                )
        self.epochs = epochs
        self.exponent = (exponent[0], exponent[1])
        self.biases = (biases[0], biases[1])
        self.b = b

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Begin with the standard network; a checkpoint to continue from brings its own state after this.

        Raises:
            InputError: If the model is not B-cosified.
        """
        if not isinstance(pl_module.model, BcosifiedClassifier):
            raise InputError(
                "callbacks=anneal_bcosification leads from a standard to a B-cos network: use "
                "model=bcosified, or callbacks=default"
            )
        if stage == "fit" and trainer.global_step == 0:
            self._set(pl_module, 0.0)

    def on_train_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: object,
        batch: object,
        batch_idx: int,
    ) -> None:
        """Go on to the state of the steps done so far, before anything is validated or saved."""
        batches = trainer.num_training_batches
        if not isfinite(batches):
            raise InputError("callbacks=anneal_bcosification needs an epoch of a known length")
        steps = self.epochs * -(-batches // trainer.accumulate_grad_batches)
        self._set(pl_module, trainer.global_step / steps)

    def _set(self, pl_module: pl.LightningModule, done: float) -> None:
        """Set the state after a part of the training."""
        model = cast(BcosifiedClassifier, pl_module.model)
        model.set_exponent(1 + (self.b - 1) * _line(done, *self.exponent))
        model.set_bias_scale(1 - _line(done, *self.biases))


def _line(x: float, begin: float, end: float) -> float:
    """Return 0 before ``begin``, 1 from ``end`` on, and a straight line between."""
    if x >= end:
        return 1.0
    return 0.0 if x <= begin else (x - begin) / (end - begin)
