"""The three splits of a data set as Lightning wants them: loaders that shuffle, split and resume exactly."""

import math
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Protocol, get_args

import pytorch_lightning as pl
import torch
from torch.utils.data import DataLoader, Sampler

from guidance.data.augmentation import Augmentation
from guidance.data.batch import Target
from guidance.data.image_cache import ImageCache
from guidance.data.image_dataset import ImageDataset
from guidance.data.prepared import PreparedDataset, PreparedSample
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
        target: Whether guidance aims at the ``box`` or the segmentation ``mask`` of a class. Evaluation
            always scores against boxes, and reports on-object EPG where the data set has masks.
        augmentation: Random changes of the training images; None for none.
        cache: Whether to keep the squashed images in one memory-mapped file per split, built at first use.
        cache_dir: The folder of those files.
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
        target: Target = "box",
        augmentation: Augmentation | None = None,
        cache: bool = False,
        cache_dir: str | Path = "data/cache",
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
        if target not in get_args(Target):
            raise unknown_name("data.target", target, get_args(Target))
        if target == "mask" and box_dilation > 0:
            raise InputError(
                "data.box_dilation grows boxes, but data.target=mask guides with masks: leave one out"
            )
        if cache and augmentation is not None and augmentation.crops:
            raise InputError(
                "data.augmentation.crop cuts from whole images, but data.cache=true keeps squashed ones: "
                "set data.cache=false, or data.augmentation.crop=null"
            )
        self._factory = dataset
        self._image_size = image_size
        self._batch_size = batch_size
        self._num_workers = num_workers
        self._annotated_fraction = annotated_fraction
        self._box_dilation = box_dilation
        self._target = target
        self._augmentation = augmentation if augmentation is not None and augmentation.active else None
        self._uses_cache = cache
        self._cache_dir = Path(cache_dir).expanduser()
        self._seed = seed
        self._splits: dict[str, ImageDataset] = {}
        self._caches: dict[str, ImageCache] = {}

    @property
    def classes(self) -> tuple[str, ...]:
        """The class names, in label order."""
        return self._any_split.classes

    @property
    def num_classes(self) -> int:
        """K."""
        return len(self.classes)

    @property
    def image_size(self) -> int:
        """Width and height that all images are squashed to, in pixels."""
        return self._image_size

    @property
    def batch_size(self) -> int:
        """Images of a batch over all processes."""
        return self._batch_size

    @property
    def groups(self) -> tuple[str, ...]:
        """The names of the groups that accuracy is reported for."""
        return self._any_split.groups

    @property
    def multi_label(self) -> bool:
        """Whether an image may show several classes, or none."""
        return self._any_split.multi_label

    @property
    def has_masks(self) -> bool:
        """Whether the data set has segmentation masks."""
        return self._any_split.has_masks

    @property
    def _any_split(self) -> ImageDataset:
        """A split; the training split is made if none was made yet."""
        made = next(iter(self._splits.values()), None)
        return self.split("train") if made is None else made

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
            if self._target == "mask" and not made.has_masks:
                raise InputError(
                    "data.target=mask: this data set has no segmentation masks; use data.target=box"
                )
            self._splits[name] = made
        return self._splits[name]

    def prepared(self, name: str) -> PreparedDataset:
        """Return a split as the loaders read it: resized, ``train`` with the annotations that may be used.

        Args:
            name: ``train``, ``val`` or ``test``.
        """
        dataset = self.split(name)
        cache = self._cache(name)
        if name != "train":
            return PreparedDataset(dataset, self._image_size, with_masks=dataset.has_masks, cache=cache)
        return PreparedDataset(
            dataset,
            self._image_size,
            annotated=annotated_subset(len(dataset), self._annotated_fraction, self._seed),
            box_dilation=self._box_dilation,
            target=self._target,
            with_masks=self._target == "mask",
            augmentation=self._augmentation,
            cache=cache,
        )

    def _cache(self, name: str) -> ImageCache | None:
        if not self._uses_cache:
            return None
        if name not in self._caches:
            dataset = self.split(name)
            self._caches[name] = ImageCache(
                dataset, self._image_size, self._cache_dir, label=name, num_workers=self._num_workers
            )
        return self._caches[name]

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

    def chosen_loader(
        self, name: str, indices: Sequence[int], batch_size: int | None = None, with_masks: bool = False
    ) -> DataLoader[PreparedSample]:
        """Return a loader of some images of a split, in the order given.

        Args:
            name: ``train``, ``val`` or ``test``.
            indices: Of the images in their data set.
            batch_size: Images of a batch; that of the data module if None.
            with_masks: Whether their segmentation masks are read too.
        """
        prepared = PreparedDataset(
            self.split(name), self._image_size, with_masks=with_masks, cache=self._cache(name)
        )
        return self._loader(prepared, sampler=indices, batch_size=batch_size or self._batch_size)

    def _evaluation_loader(self, name: str) -> DataLoader[PreparedSample]:
        prepared = self.prepared(name)
        rank, world_size = self._process()
        sampler = EvaluationSampler(len(prepared), rank, world_size)
        return self._loader(prepared, sampler=sampler, batch_size=math.ceil(self._batch_size / world_size))

    def _loader(
        self,
        prepared: PreparedDataset,
        *,
        sampler: Sampler[int] | Sequence[int] | None = None,
        batch_sampler: TrainingBatchSampler | None = None,
        batch_size: int = 1,
    ) -> DataLoader[PreparedSample]:
        # Worker processes would only copy what a cache has ready.
        workers = 0 if self._uses_cache and self._augmentation is None else self._num_workers
        return DataLoader(
            prepared,
            batch_size=batch_size,
            sampler=sampler,
            batch_sampler=batch_sampler,
            num_workers=workers,
            collate_fn=_as_it_is,
            pin_memory=self.trainer is not None and self.trainer.strategy.root_device.type == "cuda",
            persistent_workers=workers > 0,
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


def _as_it_is(batch: Any) -> Any:
    """Pass on the batch that the data set made in one go."""
    return batch
