"""What a person types: overrides, the lines of a study, the space of a search, boxes."""

from pathlib import Path

import yaml

from guidance.command_line import check_overrides
from guidance.explain.boxes import given_boxes
from guidance.search.space import parse_space
from guidance.sweep.lines import expand_lines
from tests.fuzzing.target import Target, result_or_refusal

GRAMMAR = (
    *(b"=", b",", b".", b"+", b"++", b"~", b"@", b":", b"/", b"'", b'"', b"[", b"]", b"{", b"}", b"(", b")"),
    *(
        b"${",
        b"${oc.env:HOME}",
        b"${loss.weight}",
        b"range(0,3)",
        b"interval(0.1,1)",
        b"tag(log,",
        b"choice(",
    ),
    *(
        b"glob(*)",
        b"sort(",
        b"shuffle(",
        b"int(",
        b"null",
        b"true",
        b"1e999",
        b"-1",
        b"\\",
        b"\n",
        b" ",
        b"???",
    ),
)
KEYS = (
    b"loss",
    b"loss.weight",
    b"data",
    b"data.root",
    b"seed",
    b"hydra.run.dir",
    b"model.checkpoint",
    b"energy",
)


def _arguments(content: bytes) -> list[str]:
    """Take a text apart where a shell would, at ends of lines; arguments hold no zero byte."""
    text = content.decode("utf-8", "surrogateescape").replace("\0", "")
    return [line for line in text.split("\n") if line]


def overrides(content: bytes, folder: Path) -> None:
    del folder
    result_or_refusal(lambda: check_overrides("train", _arguments(content)))


def sweep_lines(content: bytes, folder: Path) -> None:
    del folder
    jobs = result_or_refusal(lambda: expand_lines(_arguments(content), []))
    assert jobs is None or all("=" in override for job in jobs for override in job)


def search_space(content: bytes, folder: Path) -> None:
    del folder
    space = result_or_refusal(lambda: parse_space(_arguments(content)))
    if space is not None:
        assert len(space.example()) == len(space.fixed) + len(space.varied)


def boxes(content: bytes, folder: Path) -> None:
    """Boxes as Hydra hands them over: plain data."""
    try:
        value = yaml.safe_load(content)
    except (yaml.YAMLError, UnicodeDecodeError, ValueError, RecursionError, TypeError, AttributeError):
        return
    if isinstance(value, list):
        found = result_or_refusal(lambda: given_boxes(value, folder / "a.jpg", (30, 40)))
        if found is not None:
            assert found.shape == (len(value), 4)
            assert bool((found >= 0).all())
            assert bool((found[:, [0, 2]] <= 40).all())
            assert bool((found[:, [1, 3]] <= 30).all())


TARGETS = {
    "overrides": Target(
        overrides,
        (
            b"loss=energy\nattributor=bcos",
            b"-m\nloss=energy,l1\nloss.weight=0.1,0.2\nseed=range(0,3)",
            b"data=voc2007\ndata.root=/x\n~callbacks.gallery",
            b"data.length={train: 4, val: 2, test: 2}\n+trainer.fast_dev_run=true",
            b"experiment=voc2007/bcos_energy_input\ndata.root=/x",
        ),
        GRAMMAR + KEYS,
    ),
    "sweep_lines": Target(
        sweep_lines,
        (b"loss=energy loss.weight=0.1,1\nloss=l1 seed=range(0,3)", b"'a={b: 1}' ~c"),
        GRAMMAR + KEYS,
    ),
    "search_space": Target(
        search_space,
        (
            b"loss=energy,l1\nloss.weight=tag(log,interval(0.01,3))\nseed=int(interval(0,9))",
            b"seed=range(0,5)",
        ),
        GRAMMAR + KEYS,
    ),
    "boxes": Target(
        boxes, (b"[[1, 2, 3, 4], [0, 0, 99, 9.5]]",), (b"[", b"]", b".nan", b".inf", b"- ", b"'")
    ),
}
