"""Which runs belong together."""

from pathlib import Path

import pytest
from omegaconf import OmegaConf

from guidance.errors import InputError
from guidance.report.configuration import (
    check_group_by,
    configuration_key,
    configuration_names,
    differences,
    is_baseline,
    measurement_key,
    source_of,
)
from guidance.report.run import Run
from guidance.report.run_folder import find_runs, read_run
from tests.report.run_folders import write_run, write_study
from tests.tiny import composed

POINT = [(0.5, 0.3, 0.1)]
ENERGY = "guidance.losses.EnergyLoss"


def run(folder: Path, **options: object) -> Run:
    return read_run(write_run(folder, POINT, **options))  # type: ignore[arg-type]


def same(one: Run, other: Run, *group_by: str) -> bool:
    runs = [one, other]
    return configuration_key(one, runs, group_by) == configuration_key(other, runs, group_by)


@pytest.mark.parametrize(
    "other",
    [
        {"seed": 1},
        {"weight": 3.0},
        {"trainer__max_epochs": 50},
        {"trainer__devices": 4},
        {"paths__data_dir": "/x"},
        {"data__num_workers": 4},
    ],
    ids=lambda other: next(iter(other)),
)
def test_what_does_not_set_apart(tmp_path: Path, other: dict[str, object]) -> None:
    options = {"loss": ENERGY, "weight": 1.0}
    assert same(run(tmp_path / "a", **options), run(tmp_path / "b", **(options | other)))


def test_shared_baselines_of_several_seeds_need_not_be_there(tmp_path: Path) -> None:
    """As in a sweep with ``baseline=shared``, whose baselines lie elsewhere."""
    runs = [
        run(
            tmp_path / str(seed),
            seed=seed,
            loss=ENERGY,
            weight=1.0,
            model__checkpoint=f"/elsewhere/baselines/{seed}/checkpoints/best.ckpt",
            baseline={"dir": f"/elsewhere{seed}/baselines", "changes": {"trainer": {"max_epochs": epochs}}},
        )
        for seed, epochs in ((0, 4), (1, 4), (2, 5))
    ]
    assert same(runs[0], runs[1])
    assert not same(runs[0], runs[2]), "another baseline"
    assert not same(runs[0], runs[1], "model.checkpoint")


def test_seeds_of_a_real_configuration_belong_together(tmp_path: Path) -> None:
    """Whatever a configuration says of a run's own folder: nothing of it sets runs apart."""
    runs = []
    for seed, options in enumerate((["data.annotated_fraction=1"], ["trainer.compile=true"])):
        folder = write_run(tmp_path / "runs" / str(seed), POINT)
        whole = composed(folder, f"seed={seed}", *options)
        (folder / "config.yaml").write_text(OmegaConf.to_yaml(whole, resolve=True))
        runs.append(read_run(folder))
    assert dict(set(configuration_key(runs[0], runs)) ^ set(configuration_key(runs[1], runs))) == {}


@pytest.mark.parametrize(
    "other",
    [
        {"loss": "guidance.losses.L1Loss"},
        {"attributor__layer": "final"},
        {"optimizer__lr": 1e-2},
        {"data__annotated_fraction": 0.1},
        {"model__checkpoint": "/some.ckpt"},
        {"callbacks": {"anneal_exponent": {"start": 1.0}}},
    ],
    ids=lambda other: next(iter(other)),
)
def test_what_sets_apart(tmp_path: Path, other: dict[str, object]) -> None:
    options: dict[str, object] = {"loss": ENERGY, "weight": 1.0}
    assert not same(run(tmp_path / "a", **options), run(tmp_path / "b", **(options | other)))


def test_start_checkpoints_of_two_seeds_are_the_same_configuration(tmp_path: Path) -> None:
    runs, _ = find_runs([write_study(tmp_path)])
    keys = {configuration_key(one, runs) for one in runs if one.guided}
    assert len(keys) == 1


def test_a_study_may_be_moved(tmp_path: Path) -> None:
    write_study(tmp_path / "old")
    (tmp_path / "old").rename(tmp_path / "new")
    runs, _ = find_runs([tmp_path / "new"])
    assert len({configuration_key(one, runs) for one in runs if one.guided}) == 1
    source = source_of(next(one for one in runs if one.guided).start, runs)
    assert source is not None
    assert source.name == "baseline/0"


def test_relative_start_checkpoints_are_found(tmp_path: Path) -> None:
    base = run(tmp_path / "base", paths__output_dir="/somewhere/outputs/base")
    guided = run(
        tmp_path / "g", loss=ENERGY, weight=1.0, model__checkpoint="outputs/base/checkpoints/best.ckpt"
    )
    assert source_of(guided.start, [base, guided]) is base


def test_grouping_can_be_changed(tmp_path: Path) -> None:
    one = run(tmp_path / "a", loss=ENERGY, weight=1.0)
    other = run(tmp_path / "b", loss=ENERGY, weight=2.0, optimizer__lr=1e-2, seed=1)
    assert not same(one, other)
    assert same(one, other, "loss", "attributor.layer")
    assert not same(one, other, "loss.weight")
    assert not same(one, other, "optimizer")


def test_grouping_by_an_unknown_key_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"unknown key to group by 'atributor'. Did you mean 'attributor'"):
        check_group_by([run(tmp_path / "a")], ["loss", "atributor"])


def test_baselines_are_unguided_and_continue_nothing(tmp_path: Path) -> None:
    runs, _ = find_runs([write_study(tmp_path)])
    assert [one.name for one in runs if is_baseline(one, runs)] == ["baseline/0", "baseline/1"]
    continued = run(tmp_path / "c", model__checkpoint=f"{tmp_path}/baseline/0/checkpoints/best.ckpt")
    assert not is_baseline(continued, [*runs, continued])
    assert is_baseline(run(tmp_path / "d", loss=ENERGY, weight=0.0), runs)


def test_measurements(tmp_path: Path) -> None:
    one = run(tmp_path / "a", loss=ENERGY, weight=1.0)
    assert measurement_key(one) == measurement_key(run(tmp_path / "b", seed=1, optimizer__lr=1.0))
    assert measurement_key(one) != measurement_key(run(tmp_path / "c", attributor__layer="final"))


def test_names_say_what_differs(tmp_path: Path) -> None:
    runs = [
        run(tmp_path / "a", loss=ENERGY, weight=1.0),
        run(tmp_path / "b", loss=ENERGY, weight=1.0, attributor__layer="final"),
        run(tmp_path / "c", loss="guidance.losses.L1Loss", weight=1.0),
    ]
    assert configuration_names([configuration_key(one, runs) for one in runs]) == [
        "Energy, attributor.layer=input",
        "Energy, attributor.layer=final",
        "L1, attributor.layer=input",
    ]
    assert configuration_names([configuration_key(runs[0], runs)] * 2) == ["Energy", "Energy (2)"]


def test_differences_leave_out_what_repeats_another_key(tmp_path: Path) -> None:
    one = run(tmp_path / "a", data__image_size=32)
    other = run(
        tmp_path / "b", data__image_size=64, data__module__image_size=64, paths__output_dir="/x", seed=1
    )
    assert differences([one, other]) == {"seed": ["0", "1"], "data.image_size": ["32", "64"]}


def test_differences_name_runs_instead_of_their_checkpoints(tmp_path: Path) -> None:
    runs, _ = find_runs([write_study(tmp_path)])
    found = differences([runs[0], runs[2]])
    assert found["loss.localization"] == ["null", "EnergyLoss"]
    assert differences(runs)["model.checkpoint"] == [
        *("null", "null", "baseline/0/checkpoints/best.ckpt", "baseline/1/checkpoints/best.ckpt"),
        *("baseline/0/checkpoints/best.ckpt", "baseline/1/checkpoints/best.ckpt"),
    ]


def test_keys_that_json_does_not_know(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "a", [(0.5, 0.3, 0.1)])
    with (folder / "config.yaml").open("a") as file:
        file.write("odd: [{2001-01-01: 1}]\n")
    run = read_run(folder)
    assert configuration_key(run, [run])
