"""Every experiment of the paper and every study composes, and what it names can be built."""

from pathlib import Path

import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from omegaconf import DictConfig

from guidance.command_line import CONFIG_DIR, check_overrides
from guidance.command_line.experiments import experiment_names, register_experiments
from guidance.data import GuidanceDataModule
from guidance.errors import InputError
from guidance.run_directory import register_resolvers
from guidance.runs.building import build_module
from guidance.sweep.lines import expand_lines
from tests.tiny import composed

STUDIES = sorted(path.stem for path in (CONFIG_DIR / "experiment" / "study").glob("*.yaml"))
JOBS = {  # with the published weights: 3 of Energy, L1 and PPCE, 2 of RRR*
    "losses": 1 + 3 + 3 + 3 + 2,
    "depth": 5 * (3 + 3),
    "annotations": 3 * (3 + 3),
    "dilation": 4 * (3 + 3),
    "masks": 2 * (3 + 3),
    "waterbirds": 4 * 2 * (1 + 3 + 3),
}


def whole(*overrides: str) -> DictConfig:
    """Compose a configuration with Hydra's own part."""
    register_resolvers()
    register_experiments(list(overrides))
    with initialize_config_dir(str(CONFIG_DIR), version_base="1.3"):
        return compose("train", list(overrides), return_hydra_config=True)


def jobs_of(*overrides: str) -> list[list[str]]:
    return expand_lines(list(whole(*overrides).hydra.sweeper.lines), [])


@pytest.mark.parametrize(
    "name",
    [
        "voc2007/bcos_energy_input",
        "voc2007/vanilla_gradcam_l1_final",
        "voc2007/xdnn_baseline",
        "coco2014/vanilla_ppce_mid2",
    ],
)
def test_every_name_is_the_experiment_it_says(name: str, tmp_path: Path) -> None:
    register_experiments([f"experiment={name}"])
    config = composed(tmp_path, f"experiment={name}")
    variant = name.partition("/")[2]
    assert config.optimizer.lr == 1e-4
    assert config.data.batch_size == 64
    epochs = {"voc2007": (300, 50), "coco2014": (60, 10)}[name.partition("/")[0]]
    if variant.endswith("_baseline"):
        assert (config.trainer.max_epochs, config.baseline.dir, config.loss.localization) == (
            epochs[0],
            None,
            None,
        )
    else:
        *_, loss, layer = variant.split("_")
        assert loss in config.loss.localization._target_.lower()
        assert config.attributor.layer == layer
        assert (config.baseline.changes.trainer.max_epochs, config.trainer.max_epochs) == epochs
        assert config.baseline.dir is not None


@pytest.mark.parametrize(
    "name", ["voc2007/bcos_energy_mid2", "voc2007/xdnn_l1_input", "coco2014/vanilla_gradcam_rrr_final"]
)
def test_what_an_experiment_names_can_be_built(name: str, tmp_path: Path) -> None:
    register_experiments([f"experiment={name}"])
    config = composed(tmp_path, f"experiment={name}")
    assert isinstance(instantiate(config.data.module), GuidanceDataModule)
    datamodule = instantiate(composed(tmp_path).data.module)
    with torch.device("meta"):
        build_module(config, datamodule, start_weights=False)


def test_wrong_name_of_an_experiment_gets_the_nearest() -> None:
    with pytest.raises(InputError, match=r"Did you mean 'voc2007/bcos_energy_input'"):
        check_overrides("train", ["experiment=voc2007/bcos_enrgy_input"])
    with pytest.raises(InputError, match=r"Did you mean 'study/losses'"):
        check_overrides("train", ["experiment=study/loses"])
    check_overrides("train", ["-m", "experiment=voc2007/bcos_energy_input,voc2007/bcos_l1_final"])


@pytest.mark.parametrize("study", STUDIES)
def test_every_study_is_a_sweep_of_the_jobs_it_should_have(study: str) -> None:
    config = whole(f"experiment=study/{study}")
    assert config.hydra.mode.name == "MULTIRUN"
    jobs = expand_lines(list(config.hydra.sweeper.lines), [])
    assert len(jobs) == len({tuple(job) for job in jobs}) == JOBS[study]


@pytest.mark.parametrize("study", STUDIES)
def test_every_study_has_an_embedded_twin_whose_jobs_compose_and_build(study: str, tmp_path: Path) -> None:
    twin = "shapes_spurious" if study == "waterbirds" else "shapes"
    chosen = [f"experiment=study/{study}", f"recipe={twin}"]
    jobs = jobs_of(*chosen)
    config = composed(tmp_path, *chosen, *jobs[-1], "data.length={train: 8, val: 4, test: 4}")
    assert config.data.module.dataset._target_.startswith("guidance.data.Shapes")
    module = build_module(config, instantiate(config.data.module))
    assert module.guided_step.weight == float(jobs[-1][-1].partition("=")[2])


def test_there_is_a_name_for_every_combination() -> None:
    names = experiment_names()
    assert len(names) == len(set(names)) == 3 * 4 * (1 + 4 * 5)


def test_published_weights_are_those_of_a_sum_over_64() -> None:
    mean = whole("experiment=study/losses").hydra.sweeper.weights
    published = whole("experiment=study/losses", "recipe=voc2007_published")
    assert published.loss.reduction == "sum"
    for loss, values in published.hydra.sweeper.weights.items():
        expected = [64 * float(value) for value in values.split(",")]
        assert [float(value) for value in mean[loss].split(",")] == pytest.approx(expected)


def test_a_study_s_folder_is_named_by_study_and_recipe() -> None:
    config = whole("experiment=study/losses", "recipe=shapes", "paths.runs_dir=/r")
    assert config.hydra.sweep.dir == "/r/study/losses/shapes"
