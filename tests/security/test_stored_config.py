"""What a stranger's checkpoint says of data and model runs nothing, writes nothing, and fits into memory."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from guidance.checkpoints.reading import (
    compose_each,
    portable_config,
    read_checkpoint,
    register_checkpoint_config,
)
from guidance.command_line import CONFIG_DIR
from guidance.errors import InputError
from guidance.export.__main__ import export
from guidance.protocols.run import compared_models
from guidance.report.checkpoints import Checkpoints
from guidance.run_directory import register_resolvers
from guidance.runs.building import build_data, build_module
from guidance.runs.run import train
from guidance.untrusted.stored_config import stored_config
from guidance.untrusted.targets import DATA, NETWORKS, allowed_names, targets
from tests.commands import run_command
from tests.security.hostile import changed_checkpoint, checkpoint_with, unchanged
from tests.tiny import composed, tiny_config

TRUSTED = "my_networks"


@pytest.fixture(autouse=True)
def _resolvers() -> None:
    register_resolvers()


def call(trace: Path) -> dict[str, Any]:
    return {"_target_": "os.system", "command": f"touch {trace}"}


# Every way in which a program opens a checkpoint


def by_evaluate(path: Path) -> None:
    register_checkpoint_config([f"ckpt_path={path}"])
    with initialize_config_dir(str(CONFIG_DIR), version_base="1.3"):
        config = compose("evaluate", [f"ckpt_path={path}", f"paths.output_dir={path.parent}"])
    build_module(config, build_data(config), start_weights=False)


def by_explain(path: Path) -> None:
    register_checkpoint_config([], "explain", instead=())
    with initialize_config_dir(str(CONFIG_DIR), version_base="1.3"):
        compose_each("explain", [f"paths.output_dir={path.parent}"], [str(path)])


def by_report(path: Path) -> None:
    Checkpoints().explain(path, 1, 0)


def by_protocols(path: Path) -> None:
    first = changed_checkpoint(path.parent / "harmless.ckpt", unchanged)
    register_checkpoint_config([f"ckpt_path={first}"])
    with initialize_config_dir(str(CONFIG_DIR), version_base="1.3"):
        config = compose("evaluate", [f"ckpt_path=[{first},{path}]", f"paths.output_dir={path.parent}"])
    compared_models(config, build_data(config), torch.device("cpu"))


def by_student(path: Path) -> None:
    train(tiny_config(path.parent / "student", "loss=e2kd", f"loss.teacher.checkpoint={path}"))


def by_export(path: Path) -> None:
    with initialize_config_dir(str(CONFIG_DIR), version_base="1.3"):
        export(compose("export", [f"ckpt_path={path}"]))


WAYS = [by_evaluate, by_explain, by_report, by_protocols, by_student, by_export]


@pytest.mark.parametrize("opened", WAYS)
def test_a_command_as_target_is_not_run(tmp_path: Path, opened: Callable[[Path], None]) -> None:
    trace = tmp_path / "ran"
    path = checkpoint_with(tmp_path / "a.ckpt", "model", "width", call(trace))
    with pytest.raises(InputError, match=r"a\.ckpt: model: .*'os\.system', which is not built"):
        opened(path)
    assert not trace.exists()


@pytest.mark.parametrize("opened", WAYS)
def test_an_honest_checkpoint_is_opened(tmp_path: Path, opened: Callable[[Path], None]) -> None:
    if opened is by_student:
        pytest.skip("tests/training/test_teacher.py trains a student")
    opened(changed_checkpoint(tmp_path / "a.ckpt", lambda content: content.update(epoch=0, global_step=0)))


@pytest.mark.parametrize("group", ["data", "model", "attributor"])
@pytest.mark.parametrize(
    "target",
    [
        "os.system",
        "builtins.exec",
        "builtins.eval",
        "subprocess.Popen",
        "pty.spawn",
        "hydra.utils.get_method",
        "hydra.utils.instantiate",
        "hydra.utils.call",
        "torch.load",
        "torch.hub.load",
        "numpy.load",
        "guidance.data.archive.extract",
        "guidance.files.write_atomically",
        "guidance.models.weights.torch.load",
        "guidance.models.load_start_weights",
        "guidance.runs.run.train",
        "guidance.data.collate",
        "guidance.data.ImageDataset",
        "pytorch_lightning.Trainer",
        "my_networks.Net",
        "my_networks",
        "",
        "${..name}",
        ["os", "system"],
        None,
    ],
)
def test_other_targets_are_refused(tmp_path: Path, group: str, target: Any) -> None:
    path = checkpoint_with(tmp_path / "a.ckpt", group, "_target_" if group != "data" else "x", target)
    if group == "data":
        path = checkpoint_with(tmp_path / "a.ckpt", group, "module._target_", target)
    with pytest.raises(InputError, match=r"ckpt_path: .*a\.ckpt"):
        stored_config(read_checkpoint(path), path)


def test_data_is_no_model_and_a_model_no_data(tmp_path: Path) -> None:
    voc = {"_target_": "guidance.data.VOC", "root": "/", "split": "train", "download": True}
    for group, node in (
        ("model", voc),
        ("attributor", voc),
        ("data", {"_target_": "guidance.models.coda_net"}),
    ):
        path = checkpoint_with(tmp_path / "a.ckpt", group, "extra", node)
        with pytest.raises(InputError, match="which is not built"):
            stored_config(read_checkpoint(path), path)


def test_a_package_of_one_s_own_is_trusted_on_the_command_line_only(tmp_path: Path) -> None:
    path = checkpoint_with(tmp_path / "a.ckpt", "model", "encoding", {"_target_": "my_networks.Encoding"})
    with pytest.raises(InputError, match=r"trust its package: trusted=\[my_networks\]"):
        register_checkpoint_config([f"ckpt_path={path}"])
    register_checkpoint_config([f"ckpt_path={path}", "trusted=[my_networks]"])
    register_checkpoint_config([f"ckpt_path={path}", "trusted=my_networks"])

    def trust_oneself(content: dict[str, Any]) -> None:
        content["guidance"]["config"]["trusted"] = [TRUSTED]
        content["guidance"]["config"]["model"]["trusted"] = [TRUSTED]
        content["guidance"]["config"]["model"]["encoding"] = {"_target_": "my_networks.Encoding"}

    path = changed_checkpoint(tmp_path / "b.ckpt", trust_oneself)
    with pytest.raises(InputError, match="trust its package"):
        register_checkpoint_config([f"ckpt_path={path}"])


def test_python_s_own_library_cannot_be_trusted(tmp_path: Path) -> None:
    path = checkpoint_with(tmp_path / "a.ckpt", "model", "width", call(tmp_path / "ran"))
    with pytest.raises(InputError, match="which is not built") as error:
        register_checkpoint_config([f"ckpt_path={path}", "trusted=[os,builtins]"])
    assert "trusted=" not in str(error.value)


def test_what_is_named_on_the_command_line_replaces_the_file_s_part(tmp_path: Path) -> None:
    path = changed_checkpoint(tmp_path / "a.ckpt", unchanged)
    register_checkpoint_config([f"ckpt_path={path}"])
    with initialize_config_dir(str(CONFIG_DIR), version_base="1.3"):
        config = compose("evaluate", [f"ckpt_path={path}", "model._target_=my_networks.Net"])
    assert config.model._target_ == "my_networks.Net"


def test_every_configuration_of_the_project_is_opened_again(tmp_path: Path) -> None:
    for group, packages in (("data", DATA), ("model", NETWORKS), ("attributor", NETWORKS)):
        allowed = frozenset().union(*map(allowed_names, packages))
        for path in (CONFIG_DIR / group).rglob("*.yaml"):
            node = OmegaConf.to_container(OmegaConf.load(path), resolve=False)
            assert allowed.issuperset(targets(node)), path.name
    for data in ("shapes", "coco2014", "folder"):
        config = composed(tmp_path, f"data={data}", "data.root=/data" if "shapes" not in data else "seed=0")
        content = {"guidance": {"config": portable_config(config), "classes": ["a", "b"]}}
        (tmp_path / "file").write_bytes(bytes(10**6))
        parts = stored_config(content, tmp_path / "file")
        assert OmegaConf.create(parts).data.module.image_size == config.data.image_size


# Hydra's and OmegaConf's own ways to do more than to name a value


@pytest.mark.parametrize(
    "value",
    [
        "${oc.env:HOME}",
        "${oc.env:SECRET,none}",
        "${oc.decode:'{_target_: os.system}'}",
        "${oc.create:{a: 1}}",
        "${hydra:runtime.cwd}",
        "${run_dir:a,b,c}",
        "${oc.select:paths.output_dir}",
        "a ${oc.env:HOME}",
        "${${..name}}",
        "${paths.output_dir}",
        "${seed}",
        "${...seed}",
        "${....paths.output_dir}",
        "${..gone}",
        "${",
    ],
)
def test_resolvers_and_other_groups_are_not_asked(tmp_path: Path, value: str) -> None:
    path = checkpoint_with(tmp_path / "a.ckpt", "data", "module.cache_dir", value)
    with pytest.raises(InputError, match=r"data\.module\.cache_dir of its configuration is "):
        stored_config(read_checkpoint(path), path)


def test_hydra_s_callbacks_are_not_reached_through_a_defaults_list(tmp_path: Path) -> None:
    def change(content: dict[str, Any]) -> None:
        config = content["guidance"]["config"]
        config["attributor"] = {"evil": call(tmp_path / "ran")}
        config["model"]["defaults"] = ["/attributor@hydra.callbacks: from_checkpoint"]

    path = changed_checkpoint(tmp_path / "a.ckpt", change)
    with pytest.raises(InputError, match=r"model\.'defaults' of its configuration is no key that a file may"):
        by_evaluate(path)


@pytest.mark.parametrize("key", ["_args_", "_recursive_", "_convert_", "_target", "__class__", "a@b", "a\nb"])
def test_other_keys_are_refused(tmp_path: Path, key: str) -> None:
    path = changed_checkpoint(
        tmp_path / "a.ckpt", lambda content: content["guidance"]["config"]["model"].update({key: [1]})
    )
    with pytest.raises(InputError, match="is no key that a file may have"):
        stored_config(read_checkpoint(path), path)


# Memory


def _references(count: int) -> dict[str, Any]:
    """Return a billion laughs: each line means the one before it ten times."""
    lines: dict[str, Any] = {"l0": ["ha"] * 10}
    for number in range(1, count):
        lines[f"l{number}"] = [f"${{..l{number - 1}}}"] * 10
    return lines


def _deep(levels: int) -> Any:
    node: Any = 0
    for _ in range(levels):
        node = [node]
    return node


def _shared(levels: int) -> Any:
    node: Any = ["ha"] * 10
    for _ in range(levels):
        node = [node] * 10
    return node


@pytest.mark.parametrize(
    ("group", "key", "value", "message"),
    [
        ("model", "width", 10**9, "at most 1,000,000 is taken"),
        pytest.param("model", "width", 10**600, "of hundreds of digits; .* at most 1,000,000", id="digits"),
        pytest.param("data", "image_size", -(10**600), "integer of hundreds of digits", id="below"),
        ("model", "width", 30_000, "many times as large as the file"),
        ("attributor", "samples", 10**12, "at most 1,000,000 is taken"),
        ("data", "image_size", 10**6, "at most 8,192 is taken"),
        ("data", "batch_size", 10**9, "at most 65,536 is taken"),
        ("data", "num_workers", 10**6, "at most 256 is taken"),
        ("data", "module.num_workers", 10**6, "at most 256 is taken"),
        ("data", "length.test", 10**15, "at most 10,000,000 is taken"),
        ("data", "extra", _references(12), "is one of more than 100,000 values"),
        ("data", "extra", {"a": "${.b}", "b": "${.a}"}, "refers to something that refers to something"),
        ("data", "extra", _deep(100), "more than 32 levels deep"),
        ("data", "extra", _shared(9), "is one of more than 100,000 values"),
        ("data", "extra", "x" * 10**6, "has 1,000,000 characters"),
        ("data", "extra", b"x", "is of the type bytes"),
    ],
)
def test_what_would_fill_memory_is_refused(
    tmp_path: Path, group: str, key: str, value: Any, message: str
) -> None:
    path = checkpoint_with(tmp_path / "a.ckpt", group, key, value)
    with pytest.raises(InputError, match=message):
        stored_config(read_checkpoint(path), path)


def test_a_batch_of_large_images_is_refused(tmp_path: Path) -> None:
    large = {"image_size": 8000, "batch_size": 64}
    path = changed_checkpoint(
        tmp_path / "a.ckpt", lambda content: content["guidance"]["config"]["data"].update(large)
    )
    with pytest.raises(InputError, match=r"data\.batch_size of its configuration is 64; .* at most 16 "):
        stored_config(read_checkpoint(path), path)


def test_many_large_networks_are_not_even_built(tmp_path: Path) -> None:
    large = {"_target_": "guidance.models.bcos_vit", "size": "l", "num_classes": 2}
    node = {"_target_": "guidance.models.Classifier", "network": [large] * 100}
    path = checkpoint_with(tmp_path / "a.ckpt", "model", "_target_", "guidance.models.Classifier")
    path = changed_checkpoint(
        tmp_path / "b.ckpt", lambda content: content["guidance"]["config"].update(model=node)
    )
    with pytest.raises(InputError, match="many times as large as the file"):
        stored_config(read_checkpoint(path), path)


# Reading and writing elsewhere


def test_a_file_starts_no_download_and_chooses_no_folder_of_a_cache(tmp_path: Path) -> None:
    def change(content: dict[str, Any]) -> None:
        data = content["guidance"]["config"]["data"]
        data["download"] = data["cache"] = True
        data["cache_dir"] = str(tmp_path / "elsewhere")
        data["module"]["dataset"]["download"] = True
        content["guidance"]["config"]["model"]["checkpoint"] = "/etc/passwd"

    path = changed_checkpoint(tmp_path / "a.ckpt", change)
    parts = OmegaConf.create(stored_config(read_checkpoint(path), path))
    assert parts.data.download is False
    assert parts.data.module.dataset.download is False
    assert parts.data.module.cache is False
    assert parts.model.checkpoint is None


@pytest.mark.parametrize("folder", ["/etc/x", "../x", "~/x", "${.root}", "a/../../x"])
@pytest.mark.parametrize("nested", [False, True])
def test_a_cache_lies_in_the_working_directory(tmp_path: Path, folder: str, nested: bool) -> None:
    def change(content: dict[str, Any]) -> None:
        data = content["guidance"]["config"]["data"]
        data["cache"], data["root"] = True, "/etc"
        if nested:
            data["module"]["cache_dir"] = folder.replace("{.", "{..")
        else:
            data["cache_dir"] = folder

    path = changed_checkpoint(tmp_path / "a.ckpt", change)
    parts = OmegaConf.create(stored_config(read_checkpoint(path), path))
    assert parts.data.module.cache is False
    if not nested:
        assert parts.data.module.cache_dir == "data/cache"


def test_a_cache_of_the_usual_folder_is_used(tmp_path: Path) -> None:
    path = checkpoint_with(tmp_path / "a.ckpt", "data", "cache", True)
    assert OmegaConf.create(stored_config(read_checkpoint(path), path)).data.module.cache is True


# What else a checkpoint holds


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c.update(guidance=3), "key 'guidance' is missing"),
        (lambda c: c["guidance"].update(format_version=10**5), "has format 10+, this version reads up to"),
        (lambda c: c["guidance"].update(format_version=10**600), "no version"),
        (lambda c: c["guidance"].update(iou_threshold=10**600), r"its guidance\.iou_threshold"),
        (lambda c: c["guidance"]["config"].update(seed=10**600), "the seed of its configuration"),
        (lambda c: c["guidance"].update(format_version="1"), "format_version is '1', no version"),
        (lambda c: c["guidance"].update(format_version=None), "no version"),
        (lambda c: c["guidance"].update(format_version=-1), "no version"),
        (lambda c: c["guidance"].update(config=[1]), r"its guidance\.config is missing or not"),
        (lambda c: c["guidance"].update(classes="ab"), r"its guidance\.classes"),
        (lambda c: c["guidance"].update(classes=["\x1b]0;owned\x07"]), r"its guidance\.classes"),
        (lambda c: c["guidance"].update(iou_threshold=float("nan")), r"its guidance\.iou_threshold"),
        (lambda c: c.update(state_dict=[1]), "its state_dict"),
        (lambda c: c.update(state_dict={"a": "b"}), "its state_dict"),
        (lambda c: c.update(epoch="9"), "its epoch"),
        (lambda c: c["guidance"]["config"].update(seed="${oc.env:HOME}"), "the seed of its configuration"),
        (lambda c: c["guidance"]["config"].update(model=[]), "holds no keys"),
    ],
)
def test_a_damaged_checkpoint_is_one_error(
    tmp_path: Path, change: Callable[[dict[str, Any]], Any], message: str
) -> None:
    path = changed_checkpoint(tmp_path / "a.ckpt", change)
    with pytest.raises(InputError, match=message):
        stored_config(read_checkpoint(path), path)


@pytest.mark.slow
@pytest.mark.parametrize("program", ["evaluate.py", "guidance.explain"])
def test_the_command_itself_ends_in_one_line(tmp_path: Path, program: str) -> None:
    trace = tmp_path / "ran"

    def change(content: dict[str, Any]) -> None:
        config = content["guidance"]["config"]
        config["attributor"] = {"evil": call(trace)}
        config["model"]["defaults"] = ["/attributor@hydra.callbacks: from_checkpoint"]

    path = changed_checkpoint(tmp_path / "a.ckpt", change)
    done = run_command(program, f"ckpt_path={path}", cwd=tmp_path, check=False)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "is no key that a file may have" in done.stderr
    assert not trace.exists()
