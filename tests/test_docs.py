"""What the documentation shows: commands are right, blocks of code run, quoted messages exist."""

import ast
import importlib
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
import yaml
from torch import Tensor

from guidance.command_line import CONFIG_DIR
from guidance.data.annotation import Annotation
from tests.documented import PAGES, Block, blocks, check_command, commands
from tests.explain.small import write_checkpoint
from tests.report.browser import CHROMIUM, browser
from tests.tiny import ROOT, composed

DOCS = ROOT / "docs"
TUTORIALS = ("own_data", "timm_model", "write_a_loss", "write_a_data_set")
NAMES = [page.relative_to(ROOT).as_posix() for page in PAGES]


def titled(tutorial: str) -> dict[str, Block]:
    return {block.title: block for block in blocks(DOCS / f"{tutorial}.md") if block.title}


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("checkpoints")
    return [write_checkpoint(folder / name, seed=seed) for seed, name in enumerate(("a.ckpt", "b.ckpt"))]


@pytest.fixture(scope="module")
def config_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The configuration, and the yamls that the pages add to it."""
    folder = tmp_path_factory.mktemp("with_pages")
    shutil.copytree(CONFIG_DIR, folder / "conf")
    for tutorial in TUTORIALS:
        for title, block in titled(tutorial).items():
            if block.language == "yaml":
                assert not (ROOT / title).exists(), "the page must not replace an option"
                (folder / title).write_text(block.text)
    return folder / "conf"


@pytest.mark.parametrize("name", NAMES)
def test_commands_are_right(name: str, checkpoints: list[Path], config_dir: Path) -> None:
    page = ROOT / name
    checked = [words for words in commands(page) if check_command(words, checkpoints, config_dir)]
    pattern = r"^(?: {4}|srun )?python (?:train|evaluate|-m guidance)|^torchrun "
    shown = len(re.findall(pattern, page.read_text(), re.MULTILINE))
    assert len(checked) == shown


def test_a_wrong_command_is_found(checkpoints: list[Path]) -> None:
    for words in (
        ["python", "train.py", "los=energy"],
        ["python", "evaluate.py", "ckpt_path=x.ckpt", "splitt=val"],
        ["python", "-m", "guidance.explain", "ckpt_path=[a,b]", "images=a.jpg"],
        ["python", "-m", "guidance.data.check", "data=foldr"],
    ):
        with pytest.raises(ValueError, match="unknown"):
            check_command(words, checkpoints)
    with pytest.raises(ValueError, match="max-f1-dorp"):
        check_command(["python", "-m", "guidance.report", "x", "--max-f1-dorp", "1"], checkpoints)
    with pytest.raises(KeyError):
        check_command(["python", "-m", "guidance.reprot"], checkpoints)


@pytest.mark.parametrize("name", NAMES)
def test_blocks_of_code_are_code(name: str) -> None:
    for block in blocks(ROOT / name):
        assert block.language in ("bash", "python", "yaml"), f"{name}: {block.language}"
        if block.language == "python":
            compile(block.text, name, "exec")
        if block.language == "yaml":
            assert "_target_" in str(yaml.safe_load(block.text))


@pytest.mark.parametrize("name", NAMES)
def test_links_lead_to_files_and_headings(name: str) -> None:
    page = ROOT / name
    for path, anchor in re.findall(r"\]\(([^)#:\s]*)#?([^):\s]*)\)", page.read_text()):
        target = page.parent / path if path else page
        assert target.is_file(), f"{name}: {path}"
        if anchor:
            titles = re.findall(r"^#+ (.*)$", target.read_text(), re.MULTILINE)
            slugs = {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}
            assert anchor in slugs, f"{name}: {path}#{anchor}"


# Tutorials ------------------------------------------------------------------------------------------------


def module_of(block: Block, name: str, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """Run a block as the module that its title makes it."""
    module = ModuleType(name)
    monkeypatch.setitem(sys.modules, name, module)
    exec(block.text, module.__dict__)  # noqa: S102 - the documentation's own code
    return module


def test_the_folder_of_the_tutorial_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from guidance.data import Folder

    monkeypatch.chdir(tmp_path)
    exec(titled("own_data")["make_images.py"].text, {})  # noqa: S102 - the documentation's own code
    splits = [Folder("my_images", split) for split in ("train", "val", "test")]
    assert sum(map(len, splits)) == 12
    assert not any(split.skipped for split in splits)
    for split in splits:
        assert split.classes == ("circle", "square")
        for number in range(len(split)):
            (box,) = split.annotation(number).boxes.int().tolist()
            black = (split.image(number) < 40).all(dim=0)
            rows, columns = black.nonzero(as_tuple=True)
            assert box == [int(columns.min()), int(rows.min()), int(columns.max()) + 1, int(rows.max()) + 1]


def test_the_loss_of_the_tutorial_is_right(monkeypatch: pytest.MonkeyPatch) -> None:
    parts = titled("write_a_loss")
    loss = module_of(parts["guidance/losses/centre.py"], "guidance.losses.centre", monkeypatch).CentreLoss()
    exec(parts["check_centre.py"].text, {})  # noqa: S102 - the documentation's own code
    masks = torch.ones(1, 6, 5, dtype=torch.bool)
    same = torch.ones(1, 3, 5, dtype=torch.float64, requires_grad=True)
    (gradient,) = torch.autograd.grad(loss(same, masks).sum(), same)
    assert torch.isfinite(gradient).all()
    empty: Tensor = torch.zeros(1, 3, 5, dtype=torch.float64, requires_grad=True)
    (gradient,) = torch.autograd.grad(loss(empty, masks).sum(), empty)
    assert not gradient.any()
    config = yaml.safe_load(parts["conf/loss/centre.yaml"].text)
    energy = yaml.safe_load((CONFIG_DIR / "loss" / "energy.yaml").read_text())
    assert config.keys() == energy.keys()
    assert config["localization"]["_target_"] == f"{type(loss).__module__}.CentreLoss"


def test_the_data_set_of_the_tutorial_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    parts = titled("write_a_data_set")
    signs: Any = module_of(parts["guidance/data/signs.py"], "guidance.data.signs", monkeypatch).Signs
    monkeypatch.chdir(tmp_path)
    exec(parts["make_signs.py"].text, {})  # noqa: S102 - the documentation's own code
    splits = {split: signs(split, "signs") for split in ("train", "val", "test")}
    assert {split: len(data) for split, data in splits.items()} == {"train": 12, "val": 6, "test": 6}
    assert not any(data.skipped for data in splits.values())
    annotation: Annotation = splits["train"].annotation(1)
    assert annotation.labels.tolist() == [False, True]
    x0, y0, x1, y1 = annotation.boxes[0].int().tolist()
    red = splits["train"].image(1)[1] < 100
    assert red[y0:y1, x0:x1].sum() == red.sum() > 0
    with pytest.raises(ValueError, match=r"there is no elsewhere/signs\.json"):
        signs("train", "elsewhere")


def test_the_network_of_the_tutorial_is_built(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from guidance.runs.building import build_model

    parts = titled("timm_model")
    module_of(parts["my_networks.py"], "my_networks", monkeypatch)
    config = composed(tmp_path)
    config.model = yaml.safe_load(parts["conf/model/small.yaml"].text)
    model = build_model(config.model, 3)
    assert model(torch.rand(2, 3, 32, 32)).shape == (2, 3)
    assert set(model.layers) == {"input", "mid1", "final"}


# What makes a tutorial's training small: added to each train.py, after what the page has.
TINY = ["data.image_size=32", "data.num_workers=0", "trainer.max_epochs=1", "callbacks.gallery.num_images=1"]


@pytest.mark.slow
@pytest.mark.parametrize("tutorial", TUTORIALS)
def test_tutorials_run_from_beginning_to_end(tutorial: str, tmp_path: Path) -> None:
    """In a copy of the project, as a reader would: files are written, commands run, one after the other."""
    for name in ("guidance", "hydra_plugins", "conf"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("train.py", "evaluate.py"):
        shutil.copy(ROOT / name, tmp_path)
    if tutorial == "timm_model":
        timm = importlib.import_module("timm")
        torch.save(timm.create_model("resnet10t").state_dict(), tmp_path / "my_weights.pt")
        (tmp_path / "make_images.py").write_text(titled("own_data")["make_images.py"].text)
        run(["python", "make_images.py"], tmp_path)
    for title, block in titled(tutorial).items():
        assert not (tmp_path / title).exists()
        (tmp_path / title).write_text(block.text)
    ran = commands(DOCS / f"{tutorial}.md")
    for words in ran:
        run(words, tmp_path)
    assert len(ran) >= 2
    if tutorial == "own_data":
        assert (tmp_path / "outputs/mine/guided/gallery/before_after.png").is_file()
        assert (tmp_path / "outputs/mine/report/report.html").is_file()
        assert list((tmp_path / "outputs").rglob("contact_sheet_train.png"))


def run(words: list[str], folder: Path) -> None:
    """Run a command of a page on tiny settings, without the network."""
    environment = os.environ | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    environment.pop("PYTHONPATH", None)
    if words[0] == "PYTHONPATH=.":
        environment["PYTHONPATH"], words = ".", words[1:]
    assert words[0] == "python", words
    arguments = [word.replace("model.pretrained=true", "model.pretrained=false") for word in words[1:]]
    if arguments[0] == "train.py":
        arguments += [option for option in TINY if not ("debug=fast" in arguments and "epochs" in option)]
    result = subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=500,
        check=False,
    )
    assert result.returncode == 0, f"{' '.join(words)}\n{result.stdout[-2000:]}\n{result.stderr[-4000:]}"


# Troubleshooting ------------------------------------------------------------------------------------------


def literals() -> list[str]:
    """Return every text in the sources; what is put into an f-string stands as ``\\0``."""
    found: list[str] = []
    for path in (ROOT / "guidance").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.JoinedStr):
                parts = [str(p.value) if isinstance(p, ast.Constant) else "\0" for p in node.values]
                found.append("".join(parts))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                found.append(node.value)
    return found


def test_quoted_messages_are_in_the_sources() -> None:
    quoted = re.findall(r"^### `+(.*?)`+$", (DOCS / "troubleshooting.md").read_text(), re.MULTILINE)
    assert len(quoted) > 30
    texts = literals()
    for message in quoted:
        parts = message.split("...")
        near = [text for text in texts if all(part in text for part in parts)]
        assert any(re.search(".*?".join(map(re.escape, parts)), text, re.DOTALL) for text in near), message


# The site -------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, built without a warning."""
    folder = tmp_path_factory.mktemp("site")
    result = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)],
        cwd=ROOT,
        env=os.environ | {"NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    return folder


def test_the_site_needs_no_network(site: Path) -> None:
    pages = list(site.rglob("*.html"))
    assert len(pages) > 20
    for page in pages:
        text = page.read_text()
        assert not re.findall(r"<(?:script|img|iframe)[^>]*\ssrc=\"?(?:https?:)?//[^\s>]*", text), page
        assert not re.findall(r"<link[^>]*\shref=\"?(?:https?:)?//[^\s>]*", text), page


def test_docstrings_refer_to_each_other(site: Path) -> None:
    losses = (site / "reference" / "losses.html").read_text()
    assert 'id="guidance.losses.EnergyLoss"' in losses
    assert ":class:" not in losses
    assert re.search(r'href="[^"]*#guidance\.losses\.L1Loss"><code>L1Loss', losses)


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium")
def test_the_search_works_from_disk(site: Path, tmp_path: Path) -> None:
    with browser(tmp_path) as page:
        page.open(site / "reference" / "losses.html")
        page.run("document.querySelector('.md-search__input').focus()")
        deadline = time.monotonic() + 30
        found = ""
        while "PPCELoss" not in found:
            assert time.monotonic() < deadline, found
            page.run(
                "(() => { const field = document.querySelector('.md-search__input');"
                " field.value = 'PPCELoss'; field.dispatchEvent(new Event('keyup', {bubbles: true})); })()"
            )
            time.sleep(0.3)
            found = page.run("document.querySelector('.md-search-result__list').innerText")
        assert not page.complaints


def test_every_public_package_is_in_the_reference() -> None:
    shown = {
        re.findall(r"^::: (\S+)", page.read_text(), re.MULTILINE)[0]
        for page in (DOCS / "reference").glob("*.md")
    }
    public = {
        ".".join(path.parent.relative_to(ROOT).parts)
        for path in (ROOT / "guidance").rglob("__init__.py")
        if "__all__" in path.read_text()
    }
    # The data sets that have a folder are public in guidance.data; what a person types is on the other pages.
    folders = {"guidance.data.folder", "guidance.data.waterbirds", "guidance.data.check"}
    assert public - folders - {"guidance.command_line"} <= shown


def test_the_concepts_pictures_are_those_of_the_script(tmp_path: Path) -> None:
    source = (DOCS / "figures.py").read_text()
    names: dict[str, Any] = {"__file__": str(DOCS / "figures.py"), "__name__": "figures"}
    exec(compile(source, "figures.py", "exec"), names)  # noqa: S102 - the documentation's own code
    scores, maps = names["scores"], names["maps"]()
    filled = scores(maps["fills the box"])
    assert (filled["Energy"], filled["L1"], filled["EPG"], filled["IoU"]) == (0, 0, 1, 1)
    outside = scores(maps["a spot beside it"])
    assert outside["Energy"] > 0.99
    assert outside["IoU"] == 0
    names["draw_metrics"](tmp_path / "metrics.png")
    for name in ("losses", "descent", "metrics"):
        assert (DOCS / "images" / f"{name}.png").stat().st_size < 150_000
    assert (tmp_path / "metrics.png").stat().st_size > 5_000
