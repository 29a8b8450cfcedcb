"""Pictures of the same few test images, before and after training."""

import logging
from pathlib import Path
from typing import Any, cast

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback
from pytorch_lightning.loggers import WandbLogger
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor

from guidance.data import Batch, GuidanceDataModule
from guidance.errors import InputError
from guidance.figures import GalleryMap, GalleryRow, draw_gallery
from guidance.files import going_on_without, write_atomically
from guidance.metrics import energy_in_mask
from guidance.training.explained_pairs import choose_pairs, explain_pairs
from guidance.training.module import GuidedClassifier

log = logging.getLogger(__name__)


class Gallery(Callback):
    """Draw ``before_after.png``: image and boxes, map before training, map after; each with its EPG.

    The images are drawn by the run's seed from those test images that have a box, and in each image one
    present class. The maps before training are kept in ``before.safetensors``, so that a resumed run still
    compares with the very beginning.

    Args:
        dirpath: Folder of the pictures.
        num_images: How many images; 0 draws nothing.

    Raises:
        InputError: If ``num_images`` is negative.
    """

    def __init__(self, dirpath: str | Path, num_images: int = 8) -> None:
        if num_images < 0:
            raise InputError(f"callbacks.gallery.num_images must be at least 0; got {num_images}")
        self.dirpath = Path(dirpath)
        self.num_images = num_images
        self._pairs: tuple[Batch, Tensor] | None = None
        self._drawn = False

    @property
    def picture(self) -> Path:
        """Return where the picture goes."""
        return self.dirpath / "before_after.png"

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Keep the maps of the start weights, unless this is a resumed run that has them."""
        before = self.dirpath / "before.safetensors"
        if self.num_images and trainer.is_global_zero and not (trainer.global_step and before.is_file()):
            maps, probabilities = self._explain(trainer, cast(GuidedClassifier, pl_module))
            with going_on_without("the gallery"):
                write_atomically(before, save({"maps": maps, "probabilities": probabilities}))

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Explain the same images again and draw both, if the maps of the start weights are there."""
        if not self.num_images or not trainer.is_global_zero:
            return
        try:
            before = load_file(self.dirpath / "before.safetensors")
        except (OSError, SafetensorError) as error:
            log.warning("no gallery: cannot read %s: %s", self.dirpath / "before.safetensors", error)
            return
        module = cast(GuidedClassifier, pl_module)
        maps, probabilities = self._explain(trainer, module)
        batch, classes = self._choose(trainer, module)
        rows = torch.arange(len(batch))
        masks = batch.masks(rows, classes)
        table = []
        for i, k in enumerate(classes.tolist()):
            stages = [
                ("before", before["maps"][i], before["probabilities"][i]),
                ("after", maps[i], probabilities[i]),
            ]
            own = (batch.box_images == i) & (batch.box_classes == k)
            columns = []
            for title, attribution, probability in stages:
                energy = float(energy_in_mask(attribution[None], masks[i][None]))
                columns.append(
                    GalleryMap(title, attribution, f"EPG {energy:.0%}, p = {float(probability):.2f}")
                )
            table.append(GalleryRow(batch.images[i], batch.boxes[own], module.classes[k], columns))
        with going_on_without("the gallery"):
            draw_gallery(self.picture, table)
            for logger in trainer.loggers:
                if isinstance(logger, WandbLogger):
                    logger.log_image("gallery", [str(self.picture)])
        self._drawn = True

    def on_fit_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Draw for a run that was killed after its last epoch was saved: it has nothing to train any more."""
        if not self._drawn and (self.dirpath / "before.safetensors").is_file():
            self.on_train_end(trainer, pl_module)

    def _explain(self, trainer: pl.Trainer, module: GuidedClassifier) -> tuple[Tensor, Tensor]:
        """Return maps [n, h, w] and probabilities [n] of the chosen pairs, on the CPU."""
        return explain_pairs(module, *self._choose(trainer, module))

    def _choose(self, trainer: pl.Trainer, module: GuidedClassifier) -> tuple[Batch, Tensor]:
        """Return the images and, for each, the class to explain."""
        if self._pairs is None:
            dataset = cast(GuidanceDataModule, cast(Any, trainer).datamodule).prepared("test")
            self._pairs = choose_pairs(dataset, self.num_images, module.seed)
            if self._pairs is None:
                raise InputError("no test image has a box: set callbacks.gallery.num_images=0")
        return self._pairs
