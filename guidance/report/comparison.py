"""Did guidance help, and what did it cost: guided checkpoints against the baselines of their seeds."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from guidance.report.run import OBJECTIVES, Point
from guidance.report.study import Baseline, Configuration, mean_and_spread, volume

_NAMES = {"epg": "EPG", "iou": "IoU", "f1_micro": "F1"}
_CLEAR = 2.0
"""A change counts as larger than the spread from here on, in standard deviations over seeds."""
_ENOUGH = 3
"""Of fewer seeds the spread is told, but nothing is concluded from it."""


@dataclass(frozen=True)
class Choice:
    """A checkpoint chosen on val, and what it is compared with."""

    point: Point
    baseline: Baseline

    def change(self, split: str, name: str) -> float:
        """Return a metric of the checkpoint minus that of the baseline."""
        key = f"{split}/{name}"
        return self.point.metrics.get(key, math.nan) - self.baseline.metrics.get(key, math.nan)


@dataclass(frozen=True)
class Change:
    """By how much a metric differs from the baseline's, over seeds.

    Attributes:
        mean: In fractions.
        spread: The standard deviation of the seeds' changes; None of one seed.
        count: The number of seeds.
    """

    mean: float
    spread: float | None
    count: int

    @property
    def is_clear(self) -> bool | None:
        """Whether it is more than two standard deviations from 0; None if there is only one seed."""
        return None if self.spread is None else abs(self.mean) > _CLEAR * self.spread

    def __str__(self) -> str:
        spread = "" if self.spread is None else f" ± {100 * self.spread:.1f}"
        return f"{100 * self.mean:+.1f}{spread}".replace("-", "−")


def choose(configuration: Configuration, max_f1_drop: float = math.inf, by: str = "epg") -> list[Choice]:
    """Return, for each seed, the best checkpoint on val among those that keep F1.

    Those are the epochs of all of the seed's runs, whatever their weight, whose F1 on val is not more than
    ``max_f1_drop`` below the baseline's. The best one is always on its run's front.

    Args:
        configuration: Not a baseline.
        max_f1_drop: As a fraction.
        by: The metric that is to be highest; of equal ones, the others decide.

    Returns:
        A choice for each seed that has one: without a baseline, or an epoch that keeps F1, it has none.
    """
    choices = []
    for seed in configuration.seeds:
        candidates = [
            Choice(point, baseline)
            for run in configuration.runs
            if run.seed == seed and (baseline := configuration.baseline_of(run)) is not None
            for point in run.points
            if point.checkpoint
        ]
        # Metrics are float32 in one file and float64 in another.
        kept = [choice for choice in candidates if choice.change("val", "f1_micro") >= -max_f1_drop - 1e-6]
        if kept:
            key = f"val/{by}"
            choices.append(max(kept, key=lambda one: (one.point.metrics[key], *one.point.values())))
    return choices


def changes(choices: Sequence[Choice], split: str) -> dict[str, Change]:
    """Return the changes of F1, EPG and IoU; those that were not measured are left out."""
    found = {}
    for name in OBJECTIVES:
        values = [choice.change(split, name) for choice in choices]
        if values and all(math.isfinite(value) for value in values):
            found[name] = Change(*mean_and_spread(values), len(values))
    return found


@dataclass(frozen=True)
class Verdict:
    """What is said of a configuration first.

    Attributes:
        configuration: Of which.
        kept: The choices that keep F1, by seed.
        highest: Those with the highest EPG, whatever F1 became.
        text: One or two sentences, each in a line of its own.
        helped: Over at least three seeds, True if EPG rose clearly at that cost, False if it clearly fell;
            False if nothing kept F1; else None.
    """

    configuration: Configuration
    kept: list[Choice]
    highest: list[Choice]
    text: str
    helped: bool | None


def judge(configuration: Configuration, max_f1_drop: float) -> Verdict:
    """Compare a configuration with its baselines, in words.

    Args:
        configuration: Not a baseline.
        max_f1_drop: How much F1 on val a checkpoint may lose, as a fraction.
    """
    kept, highest = choose(configuration, max_f1_drop), choose(configuration)
    allowed = f"{100 * max_f1_drop:g} {'point' if max_f1_drop == 0.01 else 'points'} of F1 on val"
    if not highest:
        text = (
            "There is nothing to compare with: no unguided run of the same data, model, attributor and seed "
            "is among the runs, and they did not start from a checkpoint."
        )
        return Verdict(configuration, kept, highest, text, None)
    sentences = []
    found = _measured(kept)
    if kept:
        some = "" if len(kept) == len(highest) else f" (only {len(kept)} of {len(highest)} seeds have such)"
        sentences.append(f"With at most {allowed} given up{some}: {_said(kept)}")
    else:
        sentences.append(f"No checkpoint keeps within {allowed} of its baseline.")
    if [choice.point for choice in highest] != [choice.point for choice in kept]:
        sentences.append(f"At the highest EPG on val, whatever it costs: {_said(highest)}")
    energy = found[1].get("epg") if found else None
    helped: bool | None = None
    if energy is not None and energy.is_clear and _ENOUGH <= len(kept) == len(highest):
        helped = energy.mean > 0
    elif not kept:
        helped = False
    return Verdict(configuration, kept, highest, "\n".join(sentences), helped)


def volume_change(configuration: Configuration) -> tuple[float, float | None]:
    """Return the hypervolume of a configuration's front on val, and by how much it exceeds the baselines'.

    The baselines' is that of the front of all epochs of their runs, or of their start weights where only
    those are known; None if a run has no baseline.
    """
    own = volume([point.values() for point in configuration.front])
    baselines = [baseline for baseline in configuration.baselines if baseline is not None]
    if not baselines or len(baselines) < len(configuration.runs):
        return own, None
    return own, own - volume([row for baseline in baselines for row in baseline.values()])


def _measured(choices: Sequence[Choice]) -> tuple[str, dict[str, Change]] | None:
    """Return the changes on test, or on val if some checkpoint was not evaluated on test."""
    for split in ("test", "val"):
        found = changes(choices, split)
        if "epg" in found:
            return split, found
    return None


def _said(choices: Sequence[Choice]) -> str:
    measured = _measured(choices)
    if measured is None:
        return "EPG was not measured on the baseline."
    split, found = measured
    names = [name for name in _NAMES if name in found]
    numbers = ", ".join(f"{_NAMES[name]} {found[name]}" for name in names)
    missing = "" if split == "test" else ", not all were evaluated on test"
    if len(choices) == 1:
        return f"{numbers} points on {split} (one seed{missing}); how much seeds differ is not known."
    only = "only " if len(choices) < _ENOUGH else ""
    clear = [_NAMES[name] for name in names if found[name].is_clear]
    vague = [_NAMES[name] for name in names if not found[name].is_clear]
    return (
        f"{numbers} points on {split} (mean ± sd over {only}{len(choices)} seeds{missing}); "
        f"{_beyond_spread(clear, vague)}."
    )


def _beyond_spread(clear: Sequence[str], vague: Sequence[str]) -> str:
    spread = "twice the spread between seeds"
    if not clear:
        return f"no change exceeds {spread}"
    some = (
        f"the change{'s' if len(clear) > 1 else ''} of {_listed(clear)} exceed{'' if len(clear) > 1 else 's'}"
    )
    if not vague:
        return f"{some} {spread}"
    rest = (
        f"{'those' if len(vague) > 1 else 'that'} of {_listed(vague)} do{'' if len(vague) > 1 else 'es'} not"
    )
    return f"{some} {spread}, {rest}"


def _listed(names: Sequence[str]) -> str:
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)
