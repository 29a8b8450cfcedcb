"""Kills trainings, sweeps, reports and caches at named and at drawn moments, and compares what they end in.

``python -m tests.reliability.kills FOLDER`` runs everything and prints the table of what happened.
"""

import random
import signal
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.nursery import Nursery
from tests.reliability.kill_point import KillPoint
from tests.reliability.same import assert_nothing_left, assert_same, assert_whole

TINY = [
    "data.length={train: 24, val: 12, test: 8}",
    "data.image_size=32",
    "data.batch_size=8",
    "model=bcos_small",
    "model.width=8",
    "optimizer.lr=1e-2",
    "trainer.max_epochs=2",
    "trainer.log_every_n_steps=1",
    "trainer.enable_progress_bar=false",
    "callbacks.gallery.num_images=0",
    "callbacks.last.every_n_steps=2",
    "test_front=false",
]
"""Three steps an epoch, two epochs."""
RUN = ["train.py", *TINY, "ckpt_path=last"]
"""Its folder is found by what it is, as a user's would be; the dates in it are no part of the comparison."""
ALL = [*RUN, "trainer.max_epochs=3", "callbacks.gallery.num_images=2", "test_front=true"]
"""A training that writes all that a training can."""


@dataclass(frozen=True)
class Scenario:
    """A command, and the moments at which it is killed, one after the other, before it may end.

    Attributes:
        name: For the table.
        command: The program and its arguments; the same command goes on.
        chains: Each is one folder's series of kills.
        before: A command that is run before, once.
        folder: What is compared.
    """

    name: str
    command: list[str]
    chains: list[list[KillPoint]]
    before: list[list[str]] = field(default_factory=list)
    folder: str = "."


@dataclass(frozen=True)
class Outcome:
    """What one kill did.

    Attributes:
        scenario: Its name.
        point: Where it was to strike.
        status: The exit status, minus the signal's number; 0 if the moment never came.
    """

    scenario: str
    point: KillPoint
    status: int

    @property
    def struck(self) -> bool:
        """Whether the moment came."""
        return self.status == -self.point.signal or (self.point.others and self.status != 0)


def torn_before_after(path: str, *numbers: int) -> list[KillPoint]:
    """The three ways to die around the renaming of a file, each with its number."""
    return [
        KillPoint("replace", path, number, how) for number in numbers for how in ("torn", "before", "after")
    ]


def scenarios() -> list[Scenario]:
    """Return everything that is killed at named moments."""
    return [
        Scenario(
            "step",
            RUN,
            [
                [KillPoint("train", number=n) for n in (2, 4, 2)],
                [KillPoint("optimizer", number=n) for n in (1, 3, 2)],
            ],
        ),
        Scenario(
            "validation and test",
            RUN,
            [
                [KillPoint("val", number=n) for n in (2, 1, 4)],
                [KillPoint("val", number=5), KillPoint("test", number=1)],
            ],
        ),
        Scenario(
            "last.ckpt", RUN, [torn_before_after("*/last.ckpt", 1), torn_before_after("*/last.ckpt", 2)]
        ),
        Scenario("best.ckpt", RUN, [torn_before_after("*/best.ckpt", 1)]),
        Scenario(
            "front",
            ALL,
            [
                [*torn_before_after("*/epoch=*.ckpt", 1), *torn_before_after("*/front.json", 1)],
                [
                    KillPoint("unlink", "*/epoch=*.ckpt", 1, "before"),
                    KillPoint("unlink", "*/epoch=*.ckpt", 1, "after"),
                    KillPoint("replace", "*/front.png", 1, "torn"),
                    KillPoint("replace", "*/front.json", 2, "before"),
                ],
            ],
        ),
        Scenario(
            "results and gallery",
            ALL,
            [
                [
                    *torn_before_after("*/before.safetensors", 1),
                    *torn_before_after("*/before_after.png", 1),
                    *torn_before_after("*/results.json", 1),
                ]
            ],
        ),
        Scenario(
            "metrics.csv",
            RUN,
            [
                [
                    *torn_before_after("*/metrics.csv", 2),
                    KillPoint("write", "*/metrics.csv", 2, "torn"),
                    KillPoint("write", "*/metrics.csv", 1, "before"),
                ]
            ],
        ),
        Scenario(
            "configuration",
            RUN,
            [
                [
                    KillPoint("train", number=4),
                    KillPoint("replace", "*/config.yaml", 2, "torn"),
                    KillPoint("write", "*/.hydra/config.yaml*", 1, "before"),
                    KillPoint("write", "*/.hydra/config.yaml*", 1, "torn"),
                ]
            ],
        ),
        Scenario(
            "two processes",
            [*RUN, "trainer=ddp_cpu"],
            [
                [
                    KillPoint("train", number=2),
                    KillPoint("train", number=2, others=True),
                    *torn_before_after("*/last.ckpt", 1),
                    KillPoint("val", number=2),
                    KillPoint("val", number=2, others=True),
                    KillPoint("replace", "*/front.json", 1, "before"),
                    KillPoint("replace", "*/results.json", 1, "after"),
                ]
            ],
        ),
        Scenario(
            "image cache",
            [*RUN, "data.cache=true", "data.cache_dir=cache"],
            [
                [
                    KillPoint("write", "*/train-*.npy.part", 1, "before"),
                    KillPoint("write", "*/train-*.npy.part", 2, "torn"),
                    KillPoint("write", "*/train-*.npy.part", 3, "torn"),
                    *torn_before_after("*/train-*.progress", 1),
                    *[KillPoint("replace", "*/train-*.npy", 1, how) for how in ("before", "after")],
                    KillPoint("replace", "*/val-*.npy", 1, "before"),
                    KillPoint("replace", "*/test-*.npy", 1, "after"),
                ]
            ],
        ),
        Scenario(
            "shared baseline",
            [*RUN, "baseline=shared", "baseline.changes.trainer.max_epochs=1"],
            [
                [
                    KillPoint("train", number=3),
                    KillPoint("replace", "*/baselines/*/best.ckpt", 1, "torn"),
                    *torn_before_after("*/baselines/*/results.json", 1),
                    *torn_before_after("*/before.json", 1),
                    KillPoint("train", number=5),
                ]
            ],
        ),
        Scenario(
            "sweep",
            [
                "train.py",
                "-m",
                *TINY,
                "loss.weight=1,2",
                "baseline=shared",
                "baseline.changes.trainer.max_epochs=1",
            ],
            [
                [
                    KillPoint("replace", "*/jobs.csv", 1, "torn"),
                    KillPoint("write", "*/000-*/.hydra/config.yaml*", 1, "before"),
                    KillPoint("write", "*/000-*/.hydra/config.yaml*", 1, "torn"),
                    KillPoint("train", number=2),
                    KillPoint("train", number=6),
                    KillPoint("replace", "*/000-*/results.json", 1, "after"),
                    KillPoint("write", "*/001-*/.hydra/config.yaml*", 1, "torn"),
                    KillPoint("val", number=3),
                    KillPoint("replace", "*/jobs.csv", 2, "before"),
                ]
            ],
        ),
        Scenario(
            "report",
            ["guidance.report", "runs", "--output", "report", "--gallery-images", "1"],
            [
                [
                    *torn_before_after("*/report.html", 1),
                    *[KillPoint("replace", f"*/{name}", 1, "torn") for name in ("report.json", "points.csv")],
                ]
            ],
            before=[
                ["train.py", *TINY, f"loss={loss}", f"hydra.run.dir=runs/{loss}"]
                for loss in ("none", "energy")
            ],
        ),
    ]


class Campaign:
    """Runs scenarios in a folder and notes what each kill did."""

    def __init__(self, nursery: Nursery, folder: Path) -> None:
        self.nursery, self.folder = nursery, folder
        self.outcomes: list[Outcome] = []
        self.failures: list[str] = []
        self._whole: dict[tuple[str, ...], Path] = {}

    def run(self, scenario: Scenario) -> None:
        """Run a scenario's command undisturbed once, and killed in each of its chains; compare.

        What goes wrong is noted in ``failures``.
        """
        command = tuple(scenario.command)
        if command not in self._whole:
            self._whole[command] = self._folder(scenario, "whole")
            self._end(scenario, self._whole[command])
        whole = self._whole[command]
        for number, chain in enumerate(scenario.chains):
            try:
                self.run_chain(scenario, chain, whole, self._folder(scenario, f"killed-{number}"))
            except AssertionError as error:
                self.failures.append(f"{scenario.name}: {', '.join(map(str, chain))}: {error}")
                print(self.failures[-1], file=sys.stderr, flush=True)

    def run_chain(self, scenario: Scenario, chain: Sequence[KillPoint], whole: Path, killed: Path) -> None:
        """Kill a command again and again, let it end, and compare.

        Raises:
            AssertionError: If anything is lost, torn or left behind.
        """
        pids = []
        for command in scenario.before:
            assert self.nursery.start(killed, command).wait() == 0, (killed / "output.txt").read_text()
        for point in chain:
            child = self.nursery.start(killed, scenario.command, point)
            outcome = Outcome(scenario.name, point, child.wait())
            self.outcomes.append(outcome)
            pids.append(child.pid)
            print(f"{scenario.name}: {point}: {outcome.status}", file=sys.stderr, flush=True)
            assert outcome.struck or outcome.status == 0, f"after {point}: {child.output[-2000:]}"
            assert not child.left(), f"orphans after {point}: {child.left(0)}"
            assert_whole(killed)
        pids.append(self._end(scenario, killed, prepared=True))
        assert_same(_only_run(whole), _only_run(killed))
        assert_nothing_left(killed, pids)

    def _folder(self, scenario: Scenario, name: str) -> Path:
        folder = self.folder / scenario.name.replace(" ", "-") / name
        folder.mkdir(parents=True)
        return folder

    def _end(self, scenario: Scenario, cwd: Path, prepared: bool = False) -> int:
        commands = [scenario.command] if prepared else [*scenario.before, scenario.command]
        for command in commands:
            child = self.nursery.start(cwd, command)
            assert child.wait() == 0, child.output[-3000:]
            assert not child.left(), f"orphans: {child.left(0)}"
        return child.pid

    def table(self) -> str:
        """Return what happened, as Markdown."""
        lines = ["| killed | kills | that struck | moments |", "|---|---|---|---|"]
        for name in dict.fromkeys(outcome.scenario for outcome in self.outcomes):
            own = [outcome for outcome in self.outcomes if outcome.scenario == name]
            struck = [outcome for outcome in own if outcome.struck]
            moments = ", ".join(dict.fromkeys(str(outcome.point) for outcome in struck))
            lines.append(f"| {name} | {len(own)} | {len(struck)} | {moments} |")
        return "\n".join(lines)


def _only_run(cwd: Path) -> Path:
    """Return the dated folder of the one run in a folder, or the folder where there is none."""
    dated = [path for path in cwd.glob("outputs/[0-9]*/*") if path.is_dir()]
    with_checkpoint = [path for path in dated if (path / "results.json").is_file()]
    assert len(with_checkpoint) <= 1, f"the run was begun anew: {dated}"
    return with_checkpoint[0] if with_checkpoint else cwd


def drawn(nursery: Nursery, folder: Path, seed: int = 0, count: int = 12) -> Scenario:
    """Return a training that is killed at moments drawn evenly from all calls of Python functions in it.

    Args:
        nursery: Starts the training that is counted.
        folder: Where it runs; made.
        seed: Of the draw.
        count: How many moments; four of them in each run.
    """
    folder.mkdir(parents=True)
    child = nursery.start(folder, RUN, counts_calls=True)
    assert child.wait() == 0, child.output
    generator = random.Random(seed)
    points = [KillPoint("call", number=generator.randrange(1, child.calls)) for _ in range(count)]
    return Scenario("drawn", RUN, [points[start : start + 4] for start in range(0, count, 4)])


def main(arguments: Sequence[str]) -> int:
    """Run every scenario, or those that are named after the folder."""
    folder, *names = arguments
    with Nursery() as nursery:
        campaign = Campaign(nursery, Path(folder))
        known = {scenario.name: scenario for scenario in scenarios()}
        for name in names or [*known, "drawn"]:
            campaign.run(known[name] if name in known else drawn(nursery, Path(folder) / "counted"))
    print(campaign.table())
    for failure in campaign.failures:
        print(f"FAILED {failure}")
    return 1 if campaign.failures else 0


if __name__ == "__main__":
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    sys.exit(main(sys.argv[1:]))
