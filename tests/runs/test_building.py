from pathlib import Path

import pytest
from omegaconf import OmegaConf

from guidance.errors import InputError
from guidance.runs.building import build_data, build_model, build_module, build_part, guiding_attributors
from tests.tiny import tiny_config


def test_parts_are_built_and_none_builds_none() -> None:
    assert build_part(None, "loss") is None
    made = build_part(
        OmegaConf.create({"_target_": "guidance.attribution.GradCAM"}), "attributor", layer="mid1"
    )
    assert made.layers == ("mid1",)


@pytest.mark.parametrize(
    ("node", "message"),
    [
        ({"_target_": "guidance.attribution.GradCAM", "lair": "mid1"}, "attributor: .*lair"),
        ({"_target_": "guidance.attribution.GradCAM", "layer": []}, "must name each layer once"),
    ],
)
def test_what_is_wrong_is_one_sentence(node: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        build_part(OmegaConf.create(node), "attributor")


def test_start_weights_are_left_out_on_request() -> None:
    config = OmegaConf.create(
        {"_target_": "guidance.models.bcos_small", "width": 4, "checkpoint": "/no/such/file.ckpt"}
    )
    assert build_model(config, 3, start_weights=False).num_classes == 3
    with pytest.raises(InputError, match=r"no file /no/such/file\.ckpt"):
        build_model(config, 3)


def test_an_attribution_without_gradient_is_refused_with_the_options_that_guide(tmp_path: Path) -> None:
    assert {"bcos", "gradcam", "ixg", "lrp", "smoothed_ixg"} <= set(guiding_attributors())
    assert not {"rise", "occlusion", "scorecam", "ablationcam"} & set(guiding_attributors())
    config = tiny_config(tmp_path, "attributor=rise", "loss=energy")
    with pytest.raises(InputError, match=r"RISE cannot guide: .*; guide with attributor=bcos, gradcam, "):
        build_module(config, build_data(config))
    config = tiny_config(tmp_path, "attributor=rise", "loss=none")
    assert not build_module(config, build_data(config)).attributor.guides


@pytest.mark.parametrize(("fraction", "partly"), [(1.0, False), (0.5, True)])
def test_a_module_knows_whether_all_images_are_annotated(
    fraction: float, partly: bool, tmp_path: Path
) -> None:
    config = tiny_config(tmp_path, f"data.annotated_fraction={fraction}")
    assert build_module(config, build_data(config)).guided_step.partly_annotated is partly
