"""Nothing in the package evaluates data, and nothing hands data to a shell or to a loader that runs code."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.tiny import ROOT

SOURCES = sorted(
    [*ROOT.glob("*.py"), *(ROOT / "guidance").rglob("*.py"), *(ROOT / "hydra_plugins").rglob("*.py")]
)
FORBIDDEN = {
    *("eval", "exec", "compile", "__import__", "os.system", "os.popen", "os.execv", "os.execvp", "os.spawnv"),
    *("pickle.load", "pickle.loads", "pickle.Unpickler", "marshal.load", "marshal.loads", "shelve.open"),
    *("dill.load", "dill.loads", "joblib.load", "cloudpickle.load", "cloudpickle.loads", "pd.read_pickle"),
    *("torch.hub.load", "torch.jit.load", "torch.package.PackageImporter"),
    *("yaml.unsafe_load", "yaml.full_load", "yaml.unsafe_load_all", "yaml.full_load_all", "yaml.load_all"),
    *("shutil.unpack_archive", "tempfile.mktemp", "subprocess.getoutput", "subprocess.getstatusoutput"),
    *("hydra.utils.get_method", "get_method", "get_object", "code.interact", "runpy.run_path"),
}
METHODS = {"extractall", "read_pickle", "unpack_archive"}
XML = {"parse", "fromstring", "iterparse", "XMLParser", "XML"}


def calls(tree: ast.AST) -> Iterator[tuple[str, ast.Call]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func), node


def value_of(call: ast.Call, name: str) -> str | None:
    return next((ast.unparse(word.value) for word in call.keywords if word.arg == name), None)


def problems(tree: ast.AST) -> list[str]:
    """Return what a source does that it must not do."""
    found = []
    for name, call in calls(tree):
        last = name.rpartition(".")[2]
        wrong = (
            name in FORBIDDEN
            or last in METHODS
            or (name.startswith("subprocess.") and value_of(call, "shell") not in (None, "False"))
            or (name == "ctypes.CDLL" and ast.unparse(call.args[0]) != "None")  # None: this process itself
            or (name == "torch.load" and value_of(call, "weights_only") != "True")
            or (
                name == "yaml.load" and value_of(call, "Loader") not in ("yaml.BaseLoader", "yaml.SafeLoader")
            )
            or (last in ("load", "open_memmap") and value_of(call, "allow_pickle") not in (None, "False"))
            or (last == "fit" and value_of(call, "weights_only") not in (None, "True"))
        )
        if wrong:
            found.append(f"{call.lineno}: {name}")
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith(("xml.", "lxml")):
            found += [f"{node.lineno}: {node.module}.{one.name}" for one in node.names if one.name in XML]
        if isinstance(node, ast.Import):
            found += [
                f"{node.lineno}: {one.name}"
                for one in node.names
                if one.name.partition(".")[0] in ("xml", "lxml", "pickle", "marshal", "shelve", "dill")
            ]
    return found


def test_there_is_something_to_look_at() -> None:
    assert len(SOURCES) > 250


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_source_evaluates_nothing(path: Path) -> None:
    assert problems(ast.parse(path.read_text(encoding="utf-8"))) == []


@pytest.mark.parametrize(
    "line",
    [
        "eval(x)",
        "exec(x)",
        "os.system(x)",
        "subprocess.run(x, shell=True)",
        "subprocess.Popen(x, shell=flag)",
        "pickle.load(f)",
        "ctypes.CDLL(path)",
        "torch.load(f)",
        "torch.load(f, weights_only=False)",
        "yaml.load(f)",
        "yaml.load(f, Loader=yaml.Loader)",
        "np.load(f, allow_pickle=True)",
        "np.lib.format.open_memmap(f, allow_pickle=x)",
        "tar.extractall(folder)",
        "hydra.utils.get_method(x)",
        "trainer.fit(m, weights_only=False)",
        "from xml.etree.ElementTree import fromstring",
        "import xml.etree.ElementTree as ET",
        "import pickle",
    ],
)
def test_the_look_would_find_it(line: str) -> None:
    assert problems(ast.parse(line))


def test_modules_that_hydra_builds_of_a_file_pass_the_list() -> None:
    """Whatever reads a checkpoint's configuration does it through ``stored_config``."""
    readers = [
        path.relative_to(ROOT).as_posix()
        for path in SOURCES
        if '["guidance"]["config"]' in path.read_text() or '["config"]' in path.read_text()
    ]
    assert readers == ["guidance/untrusted/stored_config.py"]
