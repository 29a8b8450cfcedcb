"""What the README shows must run."""

import re

import torch

from guidance.command_line import CONFIG_DIR, check_overrides
from tests.tiny import ROOT

README = (ROOT / "README.md").read_text()


def test_the_loop_trains() -> None:
    (code,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    lines = [line for line in code.splitlines() if line and not line.startswith(("import", "from"))]
    assert len(lines) <= 15
    generator = torch.Generator().manual_seed(0)
    masks = torch.zeros(2, 64, 64, dtype=torch.bool)
    masks[:, 10:40, 20:50] = True
    batch = (
        torch.rand(2, 3, 64, 64, generator=generator),
        torch.eye(20)[[3, 7]],
        torch.tensor([3, 7]),
        masks,
    )
    names: dict[str, object] = {"loader": [batch] * 3}
    torch.manual_seed(0)
    exec(code, names)  # noqa: S102 - the README's own code
    loss = names["loss"]
    assert isinstance(loss, torch.Tensor)
    assert torch.isfinite(loss)


def test_every_option_of_the_table_exists() -> None:
    table = README.split("## Options")[1].split("```")[0]
    options = re.findall(r"^\| `([a-z_.]+)` \|", table, re.MULTILINE)
    assert len(options) > 20
    others = ["data=voc2007", "model=bcos_resnet18", "loss=map_similarity"]
    check_overrides("train", [*others, *(f"{option}=1" for option in options)])


def test_every_choice_of_the_table_exists_and_none_is_missing() -> None:
    table = README.split("## What it does")[1].split("A run writes")[0]
    for row in table.splitlines():
        group = re.match(r"\| (data|model|attributor|loss|trainer|logger) \|", row)
        if group:
            named = set(re.findall(r"`([a-z0-9_]+)`", row.split("|")[2]))
            real = {path.stem for path in (CONFIG_DIR / group[1]).glob("*.yaml")}
            assert real <= named, f"{group[1]}: {real - named}"
            assert not {n for n in named - real if group[1] != "attributor"}


def test_make_targets_exist() -> None:
    makefile = (ROOT / "Makefile").read_text()
    for target in set(re.findall(r"`?make ([a-z-]+)", README)):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target
