"""Attributions from names and options."""

from typing import Any

import pytest

from guidance.attribution import GradCAM, IntegratedGradients, Smoothed
from guidance.errors import InputError
from guidance.protocols.attributors import read_attributors


def test_names_options_and_lists_of_values() -> None:
    found = read_attributors(
        [
            "gradcam",
            {"gradcam": {"relu": False, "layer": ["mid1"]}},
            {"smoothed_integrated_gradients": {"kernel_size": [3, 5], "steps": [2, 4]}, "ixg": None},
        ],
        ["input", "final"],
    )
    assert [(one.method, one.setting) for one in found] == [
        ("gradcam", ""),
        ("gradcam", "relu=False"),
        ("smoothed_integrated_gradients", "kernel_size=3, steps=2"),
        ("smoothed_integrated_gradients", "kernel_size=3, steps=4"),
        ("smoothed_integrated_gradients", "kernel_size=5, steps=2"),
        ("smoothed_integrated_gradients", "kernel_size=5, steps=4"),
        ("ixg", ""),
    ]
    assert [one.attributor.layers for one in found] == [("input", "final"), ("mid1",)] + [
        ("input", "final")
    ] * 5
    plain, signed, _, smoothed = (one.attributor for one in found[:4])
    assert isinstance(plain, GradCAM)
    assert isinstance(signed, GradCAM)
    assert (plain.relu, signed.relu) == (True, False)
    assert isinstance(smoothed, Smoothed)
    assert isinstance(smoothed.attributor, IntegratedGradients)
    assert (smoothed.kernel_size, smoothed.attributor.steps) == (3, 4)
    assert found[3].options["attributor"]["steps"] == 4
    assert found[1].label == "gradcam relu=False"


def test_without_layers_each_method_has_its_own() -> None:
    found = read_attributors(["gradcam", "smoothed_ixg"], None)
    assert [one.attributor.layers for one in found] == [("final",), ("input",)]


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ([], "names no attribution"),
        (["gradcm"], "unknown attribution in protocol.attributors: 'gradcm'. Did you mean 'gradcam'"),
        (
            [{"rise": {"mask": 3}}],
            "unknown option of rise in protocol.attributors: 'mask'. Did you mean 'masks'",
        ),
        ([{"ixg": {"_target_": "os.system"}}], "unknown option of ixg"),
        ([{"smoothed_ixg": {"attributor": {"_target_": "os.system"}}}], "unknown option of smoothed_ixg"),
        (["ixg", "gradcam", "ixg"], "'ixg' is there twice"),
        ([{"smoothed_ixg": {"kernel_size": 4}}], "kernel_size must be odd"),
    ],
)
def test_wrong_entries(entries: list[Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        read_attributors(entries, ["input"])
