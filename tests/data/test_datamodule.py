import math
from functools import partial
from pathlib import Path
from typing import Any

import hydra
import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback, ModelCheckpoint
from torch import Tensor, nn

from guidance.data import (
    VOC,
    Augmentation,
    Batch,
    EvaluationSampler,
    GuidanceDataModule,
    ImageDataset,
    Shapes,
    TrainingBatchSampler,
)
from guidance.errors import InputError
from tests.data.voc_tree import object_xml, write_voc
from tests.tiny import composed

LENGTH = {"train": 22, "val": 7, "test": 5}
FILTERS = [
    "ignore:.*capabilities of TorchVision are deprecated.*",
    "ignore:.*dataloader is not resumable.*",
    "ignore:.*smaller than the logging interval.*",
    "ignore:.*exists and is not empty.*",
    "ignore:.*does not have many workers.*",
    "ignore:.*your dataloader is.*",
    "ignore:.*LeafSpec.*",
    "ignore:.*callbacks used to create the checkpoint.*",
]
pytestmark = [pytest.mark.filterwarnings(line) for line in FILTERS]


def shapes(**options: Any) -> GuidanceDataModule:
    options = {"image_size": 32, "batch_size": 5, **options}
    return GuidanceDataModule(partial(Shapes, image_size=32, length=LENGTH), **options)


class Recorder(pl.LightningModule):
    """Trains one weight and writes down the images of every batch."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(()))
        self.seen: list[tuple[int, list[int]]] = []
        self.validated: list[int] = []
        self.tested: list[int] = []

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        self.seen.append((self.current_epoch, batch.indices.tolist()))
        return self.weight * batch.images.float().mean()

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        self.validated += batch.indices.tolist()

    def test_step(self, batch: Batch, batch_idx: int) -> None:
        self.tested += batch.indices.tolist()

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


def trainer(callbacks: list[Callback], **options: Any) -> pl.Trainer:
    return pl.Trainer(
        accelerator="cpu",
        devices=1,
        max_epochs=3,
        logger=False,
        callbacks=callbacks,
        enable_checkpointing=bool(callbacks),
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
        num_sanity_val_steps=0,
        **options,
    )


# Loaders


def test_batches_have_the_documented_form() -> None:
    data = shapes(annotated_fraction=0.5)
    batches = list(data.train_dataloader())
    assert [len(batch) for batch in batches] == [5, 5, 5, 5, 2]
    assert sorted(index for batch in batches for index in batch.indices.tolist()) == list(range(22))
    assert sum(int(batch.annotated.sum()) for batch in batches) == 11
    assert batches[0].images.shape == (5, 3, 32, 32)
    assert (data.num_classes, data.classes) == (6, Shapes.classes)


def test_validation_and_test_are_whole_in_order_and_fully_annotated() -> None:
    data = shapes(annotated_fraction=0.0, box_dilation=0.5)
    for loader, split in ((data.val_dataloader(), "val"), (data.test_dataloader(), "test")):
        batches = list(loader)
        assert [index for batch in batches for index in batch.indices.tolist()] == list(range(LENGTH[split]))
        assert all(batch.annotated.all() for batch in batches)
        boxes = torch.cat([data.split(split).annotation(index).boxes for index in range(LENGTH[split])])
        assert torch.equal(torch.cat([batch.boxes for batch in batches]), boxes.long())


def test_only_training_boxes_are_dilated() -> None:
    plain, dilated = shapes().prepared("train")[0], shapes(box_dilation=0.5).prepared("train")[0]
    area = [(boxes[:, 2:] - boxes[:, :2]).prod(1) for boxes in (plain.boxes, dilated.boxes)]
    assert (area[1] > area[0]).all()


def test_workers_load_the_same_batches() -> None:
    alone, workers = shapes(), shapes(num_workers=2)
    pairs = [
        (alone.train_dataloader(), workers.train_dataloader()),
        (alone.val_dataloader(), workers.val_dataloader()),
    ]
    for here, there in pairs:
        for one, other in zip(here, there, strict=True):
            for name, value in vars(one).items():
                assert torch.equal(value, getattr(other, name)) if name != "target" else other.target == "box"


def test_loading_draws_nothing_from_the_global_generator() -> None:
    data = shapes()
    before = torch.get_rng_state()
    list(data.train_dataloader())
    assert torch.equal(before, torch.get_rng_state())


def test_splits_are_made_when_needed_and_once() -> None:
    made = []

    def factory(*, split: str) -> ImageDataset:
        made.append(split)
        return Shapes(split, image_size=32, length=LENGTH)

    data = GuidanceDataModule(factory, image_size=32, batch_size=4)
    assert made == []
    data.setup("test")
    assert data.num_classes == 6
    assert made == ["test"]
    data.setup("fit")
    data.train_dataloader()
    assert made == ["test", "train", "val"]


# With Lightning


def test_lightning_trains_validates_and_tests() -> None:
    data, model = shapes(), Recorder()
    run = trainer([])
    run.fit(model, datamodule=data)
    for epoch in range(3):
        seen = [index for number, batch in model.seen if number == epoch for index in batch]
        assert sorted(seen) == list(range(22))
    orders = [[batch for number, batch in model.seen if number == epoch] for epoch in range(3)]
    assert orders[0] != orders[1] != orders[2] != orders[0]
    assert model.validated == list(range(7)) * 3
    run.test(model, datamodule=data, verbose=False)
    assert model.tested == list(range(5))


CHECKPOINTS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "within an epoch": ({"every_n_train_steps": 7}, {}),
    "at an epoch's first batch": ({"every_n_train_steps": 6}, {}),
    "at an epoch's last batch": ({"every_n_train_steps": 10}, {}),
    "after validation": ({"every_n_epochs": 2, "save_on_train_epoch_end": False}, {}),
    "at an epoch's end": ({"every_n_epochs": 2, "save_on_train_epoch_end": True}, {}),
    "at an epoch's end, without validation": (
        {"every_n_epochs": 2, "save_on_train_epoch_end": True},
        {"limit_val_batches": 0},
    ),
    "after a validation within an epoch": (
        {"every_n_epochs": 1, "save_on_train_epoch_end": False},
        {"val_check_interval": 3},
    ),
    "at the end of a shortened epoch": ({"every_n_epochs": 2}, {"limit_train_batches": 3}),
    "within a shortened epoch": ({"every_n_train_steps": 4}, {"limit_train_batches": 3}),
}


@pytest.mark.parametrize("num_workers", [0, 2])
@pytest.mark.parametrize("moment", CHECKPOINTS)
def test_a_resumed_run_sees_the_batches_that_were_left(tmp_path: Path, moment: str, num_workers: int) -> None:
    when, options = CHECKPOINTS[moment]
    saving = ModelCheckpoint(dirpath=tmp_path, save_top_k=-1, filename="{epoch}-{step}", **when)
    whole = Recorder()
    trainer([saving], **options).fit(whole, datamodule=shapes(num_workers=num_workers))
    checkpoints = sorted(tmp_path.glob("*.ckpt"), key=lambda path: int(path.stem.rsplit("=")[-1]))
    checkpoint = checkpoints[min(1, len(checkpoints) - 2)] if len(checkpoints) > 1 else checkpoints[0]
    step = int(checkpoint.stem.rsplit("=")[-1])
    assert 0 < step < len(whole.seen)

    resumed = Recorder()
    trainer([], **options).fit(resumed, datamodule=shapes(num_workers=num_workers), ckpt_path=checkpoint)
    assert resumed.seen == whole.seen[step:]


def test_each_process_of_several_gets_its_share(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = list(shapes().train_dataloader())
    parts = []
    for rank in range(2):
        data = shapes()
        monkeypatch.setattr(data, "_process", lambda rank=rank: (rank, 2))
        parts.append(list(data.train_dataloader()))
        validation = data.val_dataloader()
        assert validation.batch_size == 3
        assert isinstance(validation.sampler, EvaluationSampler)
        assert list(validation.sampler) == list(range(rank, 7, 2))
    for batch, *pair in zip(whole, *parts, strict=True):
        assert torch.cat([part.indices for part in pair]).tolist() == batch.indices.tolist()


# What is refused


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("image_size", 0),
        ("image_size", 32.5),
        ("batch_size", 0),
        ("batch_size", "many"),
        ("num_workers", -1),
        ("annotated_fraction", 1.5),
        ("annotated_fraction", math.nan),
        ("annotated_fraction", "half"),
        ("box_dilation", "wide"),
        ("box_dilation", -0.1),
        ("box_dilation", math.nan),
        ("box_dilation", math.inf),
    ],
)
def test_a_bad_option_is_named(option: str, value: object) -> None:
    with pytest.raises(InputError, match=rf"data\.{option} is {value}"):
        shapes(**{option: value})


def test_unknown_split() -> None:
    with pytest.raises(InputError, match=r"unknown split 'trian'. Did you mean 'train'"):
        shapes().split("trian")


def test_masks_as_the_target_and_for_evaluation() -> None:
    data = shapes(target="mask")
    train, val = next(iter(data.train_dataloader())), next(iter(data.val_dataloader()))
    assert (train.target, val.target) == ("mask", "box")
    assert torch.equal(train.guidable(), train.has_masks())
    assert torch.equal(train.has_masks(), train.labels)
    assert val.has_masks().any()
    assert not next(iter(shapes().train_dataloader())).has_masks().any()


def test_a_target_that_cannot_be() -> None:
    class Maskless(Shapes):
        has_masks = False

    with pytest.raises(InputError, match=r"unknown data\.target 'masks'. Did you mean 'mask'"):
        shapes(target="masks")
    with pytest.raises(InputError, match=r"data\.box_dilation grows boxes, but data\.target=mask"):
        shapes(target="mask", box_dilation=0.1)
    data = GuidanceDataModule(Maskless, image_size=64, batch_size=4, target="mask")
    with pytest.raises(InputError, match=r"no segmentation masks; use data\.target=box"):
        data.setup("fit")


def test_splits_that_disagree_or_are_empty() -> None:
    class Other(Shapes):
        classes = ("one", "two")

    class Empty(Shapes):
        def __len__(self) -> int:
            return 0

    def factory(*, split: str) -> ImageDataset:
        return {"train": Shapes, "val": Other, "test": Empty}[split](split)

    data = GuidanceDataModule(factory, image_size=32, batch_size=4)
    with pytest.raises(InputError, match=r"'train' and 'val' have different classes: disk.*one, two"):
        data.setup("fit")
    with pytest.raises(InputError, match="'test' of the data set has no image"):
        data.setup("test")


# Configuration


def compose(name: str, data_dir: Path, **overrides: object) -> GuidanceDataModule:
    config = composed(data_dir, "seed=3", f"data={name}", f"paths.data_dir={data_dir}").data
    for key, value in overrides.items():
        assert key in config
        config[key] = value
    data = hydra.utils.instantiate(config.module)
    assert isinstance(data, GuidanceDataModule)
    return data


def test_the_shapes_config(tmp_path: Path) -> None:
    data = compose("shapes", tmp_path)
    assert [len(data.split(name)) for name in ("train", "val", "test")] == [2000, 400, 400]
    batch = next(iter(data.train_dataloader()))
    assert batch.images.shape == (64, 3, 64, 64)
    data = compose("shapes", tmp_path, image_size=48, batch_size=3, length={"train": 9, "val": 9, "test": 9})
    assert data.split("train").image(0).shape == (3, 48, 48)
    assert [len(batch) for batch in data.train_dataloader()] == [3, 3, 3]


@pytest.mark.parametrize("year", [2007, 2012])
def test_the_voc_configs(tmp_path: Path, year: int) -> None:
    images = {f"{i:06d}": [object_xml("dog"), object_xml("cat", difficult=1)] for i in range(10)}
    write_voc(tmp_path, images, {split: list(images) for split in ("train", "val", "test")}, year)
    data = compose(f"voc{year}", tmp_path, num_workers=0, batch_size=2, annotated_fraction=0.1)
    assert isinstance(data.split("train"), VOC)
    batch = next(iter(data.train_dataloader()))
    assert batch.images.shape == (2, 3, 224, 224)
    assert batch.boxes.shape == (2, 4)
    assert data.num_classes == 20
    kept = compose(
        f"voc{year}", tmp_path / "elsewhere", root=str(tmp_path), keep_difficult=True, num_workers=0
    )
    assert next(iter(kept.test_dataloader())).boxes.shape == (20, 4)


# Cache and augmentation


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"box_dilation": 0.3, "annotated_fraction": 0.4},
        {"target": "mask"},
        {"augmentation": Augmentation(flip=0.5, jitter=0.3, seed=1)},
        {"augmentation": Augmentation(flip=0.5, seed=1), "num_workers": 1},
    ],
)
def test_the_cache_changes_nothing(tmp_path: Path, options: dict[str, Any]) -> None:
    plain = shapes(**{**options, "image_size": 40})
    cached = shapes(**{**options, "image_size": 40}, cache=True, cache_dir=tmp_path)
    for one, other in (
        (plain.train_dataloader(), cached.train_dataloader()),
        (plain.val_dataloader(), cached.val_dataloader()),
    ):
        for expected, found in zip(one, other, strict=True):
            for name, value in vars(expected).items():
                equal = torch.equal(value, getattr(found, name)) if name != "target" else True
                assert equal, name
    assert sorted(path.name.partition("-")[0] for path in tmp_path.glob("*.npy")) == ["train", "val"]


def test_a_cache_needs_no_worker_processes(tmp_path: Path) -> None:
    data = shapes(num_workers=2, cache=True, cache_dir=tmp_path)
    assert data.train_dataloader().num_workers == 0
    assert shapes(num_workers=2).train_dataloader().num_workers == 2


def test_augmentation_is_repeated_by_epoch_and_image() -> None:
    def images(epoch: int) -> dict[int, Tensor]:
        loader = shapes(augmentation=Augmentation(crop=0.4, flip=0.5, jitter=0.2, seed=3)).train_dataloader()
        assert isinstance(loader.batch_sampler, TrainingBatchSampler)
        loader.batch_sampler.set_epoch(epoch)
        return {
            int(i): image for batch in loader for i, image in zip(batch.indices, batch.images, strict=True)
        }

    first, again, later = images(2), images(2), images(3)
    assert all(torch.equal(first[index], again[index]) for index in first)
    assert sum(torch.equal(first[index], later[index]) for index in first) <= 2
    data = shapes(augmentation=Augmentation(flip=1.0, seed=3))
    plain = shapes().prepared("val")[0].image
    assert torch.equal(data.prepared("val")[0].image, plain)
    assert torch.equal(data.prepared("train")[(0, 0)].image, data.prepared("train")[0].image.flip(-1))


def test_crops_with_a_cache_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"data\.augmentation\.crop .*data\.cache=true.*data\.cache=false"):
        shapes(cache=True, cache_dir=tmp_path, augmentation=Augmentation(crop=0.5))
