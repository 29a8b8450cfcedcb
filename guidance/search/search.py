"""A multi-objective search whose trials are runs like any other, and which goes on where it was stopped."""

import json
import logging
import math
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Lock
from typing import Any

import optuna
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial, TrialState

from guidance.errors import InputError, unknown_name
from guidance.files import write_json
from guidance.run_directory import fingerprint
from guidance.search.space import Space

log = logging.getLogger(__name__)

Runner = Callable[[Sequence[str], Path], str | None]
"""Runs a training with overrides in a folder, or continues it; returns why it failed, or None."""


class Search:
    """Draws settings with Optuna's multi-objective TPE and trains them.

    The folder holds ``journal.log``, from which the search goes on, ``search.json``, and each trial's folder.
    One process at a time may search in it.

    Args:
        folder: Where everything is written.
        space: What is varied.
        objectives: Keys of ``results.json``, all to be maximised.
        run: Trains.
        seed: Of the draws.

    Raises:
        InputError: If the folder holds another search.
    """

    def __init__(
        self, folder: Path, space: Space, objectives: Sequence[str], run: Runner, seed: int = 0
    ) -> None:
        self.folder, self.space, self.objectives, self.run = folder, space, list(objectives), run
        folder.mkdir(parents=True, exist_ok=True)
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        storage = JournalStorage(JournalFileBackend(str(folder / "journal.log")))
        self.study = optuna.create_study(
            storage=storage,
            study_name="search",
            directions=["maximize"] * len(self.objectives),
            load_if_exists=True,
        )
        known = self.study.user_attrs
        own = {"objectives": self.objectives, "fixed": list(space.fixed), "varied": sorted(space.varied)}
        for key, value in own.items():
            if known.get(key, value) != value:
                raise InputError(
                    f"{folder} holds a search with {key} {known[key]}, not {value}: name another dir"
                )
            self.study.set_user_attr(key, value)
        # A sampler's state is not kept: its seed depends on how many draws there were.
        self.study.sampler = optuna.samplers.TPESampler(seed=seed + len(self.study.trials))
        self._asking, self._writing = Lock(), Lock()
        self._stopping = False

    def optimize(self, trials: int, jobs: int = 1) -> None:
        """Train until there are so many trials in all, those of earlier calls included.

        A trial that was stopped is continued first. One that fails counts, and the search goes on, except as
        long as none has ever come to its end: then it stops.

        Args:
            trials: The total.
            jobs: How many are trained at once.

        Raises:
            InputError: If a trial fails and none has succeeded, or an objective is not among the results.
        """
        waiting = [t for t in self.study.trials if t.state in (TrialState.RUNNING, TrialState.WAITING)]
        self._stopping = False
        with ThreadPoolExecutor(jobs) as pool:
            try:
                list(pool.map(self._finish, waiting))
                list(pool.map(lambda _: self._new(), range(trials - len(self.counted))))
            except BaseException:
                self._stopping = True
                raise
        self.write()

    @property
    def counted(self) -> list[FrozenTrial]:
        """The trials that came to an end, by success or, once there was one, by failure."""
        ended = [t for t in self.study.trials if t.state in (TrialState.COMPLETE, TrialState.FAIL)]
        succeeded = any(t.state == TrialState.COMPLETE for t in ended)
        return [t for t in ended if self._is_drawn(t) and (succeeded or t.state == TrialState.COMPLETE)]

    def trial_folder(self, trial: FrozenTrial) -> Path:
        """Return a trial's folder: that of the same settings if there is one, else a new one."""
        digits = fingerprint(sorted(self.space.overrides(trial.params)))
        found = sorted(self.folder.glob(f"*-{digits}"))
        return found[0] if found else self.folder / f"{trial.number:03d}-{digits}"

    def write(self) -> None:
        """Write ``search.json``: every trial's folder, overrides, values, and whether none beats it."""
        with self._writing:  # trials end side by side, and a file has one writer at a time
            best = {t.number for t in self.study.best_trials}
            content = [
                {
                    "folder": self.trial_folder(t).name,
                    "state": t.state.name.lower(),
                    "overrides": self.space.overrides(t.params),
                    "metrics": dict(zip(self.objectives, t.values, strict=True)) if t.values else None,
                    "front": t.number in best,
                    "reason": t.user_attrs.get("reason"),
                }
                for t in self.study.trials
                if self._is_drawn(t)
            ]
            write_json(self.folder / "search.json", {"objectives": self.objectives, "trials": content})

    def _new(self) -> None:
        if self._stopping:
            return
        with self._asking:
            trial = self.study.ask(dict(self.space.varied))
        self._finish(self.study.trials[trial.number])

    def _finish(self, trial: FrozenTrial) -> None:
        if not self._is_drawn(trial):  # stopped before its settings were
            self.study.tell(trial.number, state=TrialState.FAIL)
            return
        try:
            self._run(trial)
        except BaseException:
            self._stopping = True  # before this thread takes the next trial
            raise

    def _is_drawn(self, trial: FrozenTrial) -> bool:
        return set(trial.params) == set(self.space.varied)

    def _run(self, trial: FrozenTrial) -> None:
        folder = self.trial_folder(trial)
        results = folder / "results.json"
        reason = None if results.is_file() else self.run(self.space.overrides(trial.params), folder)
        values = self._values(json.loads(results.read_text())) if reason is None else []
        if reason is None and not all(math.isfinite(value) for value in values):
            reason = f"an objective is not a number: {dict(zip(self.objectives, values, strict=True))}"
        if reason is not None and self._stopping:  # it was interrupted, and is continued the next time
            return
        if reason is not None:
            self.study._storage.set_trial_user_attr(trial._trial_id, "reason", reason)
            self.study.tell(trial.number, state=TrialState.FAIL)
            if not self.counted:
                raise InputError(f"the trial in {folder} failed, and none has succeeded: {reason}")
            log.error("trial %d failed: %s", trial.number, reason)
        else:
            self.study.tell(trial.number, values)
        self.write()

    def _values(self, results: dict[str, Any]) -> list[float]:
        for name in self.objectives:
            if name not in results:
                raise unknown_name("objective", name, [k for k in results if k.startswith(("val/", "test/"))])
        return [math.nan if results[name] is None else float(results[name]) for name in self.objectives]
