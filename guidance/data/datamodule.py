"""The three splits of a data set as Lightning wants them: loaders that shuffle, split and resume exactly."""

import math
from dataclasses import asdict
from typing import Protocol

import pytorch_lightning as pl
import torch
from torch.utils.data import DataLoader, Sampler

from guidance.data.prepared import PreparedDataset, PreparedSample, collate
from guidance.data.sample import ImageDataset
from guidance.data.sampler import EvaluationSampler, TrainingBatchSampler
from guidance.data.splits import annotated_subset, check_fraction
from guidance.errors import InputError, unknown_name

SPLITS = ("train", "val", "test")


class DatasetFactory(Protocol):
    """Makes one split of a data set: a data set's class with everything bound but ``split``."""

    def __call__(self, *, split: str) -> ImageDataset:
        """Return the split ``train``, ``val`` or ``test``."""


class GuidanceDataModule(pl.LightningDataModule):
    """Loaders of :class:`~guidance.data.batch.Batch` for the splits of one data set.

    A split is made when it is first needed. Use ``Trainer(use_distributed_sampler=False)``: the loaders
    divide the images over the processes themselves.

    Args:
        dataset: Called as ``dataset(split=...)`` with ``train``, ``val`` or ``test``.
        image_size: Width and height that all images are squashed to, in pixels.
        batch_size: Images of a batch over all processes.
        num_workers: Worker processes of each loader; 0 loads in the main process.
        annotated_fraction: The part of the training images whose boxes may be used for guidance, in [0, 1]. A
            smaller part lies within a larger one. Validation and test images are all annotated.
        box_dilation: The part of its width and height that each training box gains on each side, >= 0.
        seed: Decides the order of the training images and which of them are annotated.

    Raises:
        InputError: Naming the option that is wrong.
    """

    def __init__(
        self,
        dataset: DatasetFactory,
        image_size: int,
        batch_size: int,
        num_workers: int = 0,
        annotated_fraction: float = 1.0,
        box_dilation: float = 0.0,
        seed: int = 0,
    ) -> None:
        super().__init__()
        for option, value, least in (
            ("image_size", image_size, 1),
            ("batch_size", batch_size, 1),
            ("num_workers", num_workers, 0),
        ):
            if not isinstance(value, int) or value < least:
                raise InputError(f"data.{option} is {value}; it must be an integer, at least {least}")
        check_fraction("data.annotated_fraction", annotated_fraction)
        if not isinstance(box_dilation, int | float) or not 0 <= box_dilation < math.inf:
            raise InputError(f"data.box_dilation is {box_dilation}; it must be a number, at least 0")
        self._factory = dataset
        self._image_size = image_size
        self._batch_size = batch_size
        self._num_workers = num_workers
        self._annotated_fraction = annotated_fraction
        self._box_dilation = box_dilation
        self._seed = seed
        self._splits: dict[str, ImageDataset] = {}

    @property
    def classes(self) -> tuple[str, ...]:
        """The class names, in label order; makes the training split if no split was made yet."""
        made = next(iter(self._splits.values()), None)
        return (made or self.split("train")).classes

    @property
    def num_classes(self) -> int:
        """K."""
        return len(self.classes)

    def split(self, name: str) -> ImageDataset:
        """Return a split with its images as they are on disk.

        Args:
            name: ``train``, ``val`` or ``test``.

        Raises:
            InputError: If there is no such split, it has no image or its classes are not those of the others.
        """
        if name not in SPLITS:
            raise unknown_name("split", name, SPLITS)
        if name not in self._splits:
            made = self._factory(split=name)
            if len(made) == 0:
                raise InputError(f"the split '{name}' of the data set has no image")
            for other, dataset in self._splits.items():
                if dataset.classes != made.classes:
                    raise InputError(
                        f"the splits '{other}' and '{name}' have different classes: "
                        f"{', '.join(dataset.classes)} and {', '.join(made.classes)}"
                    )
            self._splits[name] = made
        return self._splits[name]

    def prepared(self, name: str) -> PreparedDataset:
        """Return a split as the loaders read it: resized, ``train`` with the annotations that may be used.

        Args:
            name: ``train``, ``val`` or ``test``.
        """
        dataset = self.split(name)
        if name != "train":
            return PreparedDataset(dataset, self._image_size)
        annotated = annotated_subset(len(dataset), self._annotated_fraction, self._seed)
        return PreparedDataset(dataset, self._image_size, annotated, self._box_dilation)

    def setup(self, stage: str) -> None:
        """Make the splits that a stage needs, so that what is wrong with them shows before it begins.

        Args:
            stage: ``fit``, ``validate`` or ``test``.
        """
        for name in {"fit": ("train", "val"), "validate": ("val",), "test": ("test",)}.get(stage, ()):
            self.split(name)

    def train_dataloader(self) -> DataLoader[PreparedSample]:
        """Return the training loader; in a resumed run it starts after the last batch trained on."""
        prepared = self.prepared("train")
        rank, world_size = self._process()
        epoch, batch = self._start()
        sampler = TrainingBatchSampler(
            len(prepared), self._batch_size, self._seed, rank, world_size, epoch, batch
        )
        return self._loader(prepared, batch_sampler=sampler)

    def val_dataloader(self) -> DataLoader[PreparedSample]:
        """Return the loader of the validation images, each once over all processes."""
        return self._evaluation_loader("val")

    def test_dataloader(self) -> DataLoader[PreparedSample]:
        """Return the loader of the test images, each once over all processes."""
        return self._evaluation_loader("test")

    def _evaluation_loader(self, name: str) -> DataLoader[PreparedSample]:
        prepared = self.prepared(name)
        rank, world_size = self._process()
        sampler = EvaluationSampler(len(prepared), rank, world_size)
        return self._loader(prepared, sampler=sampler, batch_size=math.ceil(self._batch_size / world_size))

    def _loader(
        self,
        prepared: PreparedDataset,
        *,
        sampler: Sampler[int] | None = None,
        batch_sampler: Sampler[list[int]] | None = None,
        batch_size: int = 1,
    ) -> DataLoader[PreparedSample]:
        return DataLoader(
            prepared,
            batch_size=batch_size,
            sampler=sampler,
            batch_sampler=batch_sampler,
            num_workers=self._num_workers,
            collate_fn=collate,
            pin_memory=self.trainer is not None and self.trainer.strategy.root_device.type == "cuda",
            persistent_workers=self._num_workers > 0,
            # Its own, so that making an iterator draws no number from the global generator.
            generator=torch.Generator().manual_seed(self._seed),
        )

    def _process(self) -> tuple[int, int]:
        """Return (rank, world size)."""
        if self.trainer is None:
            return 0, 1
        return self.trainer.global_rank, self.trainer.world_size

    def _start(self) -> tuple[int, int]:
        """Return the epoch and the batch in it that training starts with.

        Lightning restores its counters before it asks for the loader. Within an epoch one more epoch is
        started than processed; after it the batch counters still stand at the last batch.
        """
        if self.trainer is None:
            return 0, 0
        epochs = asdict(self.trainer.fit_loop.epoch_progress.current)
        batches = self.trainer.fit_loop.epoch_loop.batch_progress
        if epochs["started"] <= epochs["processed"]:
            return epochs["processed"], 0
        if batches.is_last_batch:
            return epochs["processed"] + 1, 0
        return epochs["processed"], asdict(batches.current)["processed"]
