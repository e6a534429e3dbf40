"""The loop of a search: ask the sampler, run the trial, tell it, write it down.

The study that the sampler sees is in memory; what is finished goes to the journal. Several trials may be under way,
but they are asked and told in one fixed order, so that a search hangs on its seed and its width alone.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from slackwise.errors import InputError
from slackwise.policies.knobs import Value
from slackwise.streams import stream
from slackwise.tuning.goals import Goal
from slackwise.tuning.journal import Journal
from slackwise.tuning.samplers import Sampler, distributions, find_sampler, quiet, read, written
from slackwise.tuning.space import Space
from slackwise.tuning.trials import Measured, Task
from slackwise.tuning.workers import Here, Waiting, Workers

VALUES, MEASURED = "values", "measured"
"""User attributes of a trial in the study."""

FEWEST_STARTS, PART = 3, 4
"""The space's starts take a fourth of the trials, or three: the rest is the sampler's."""


@dataclass(frozen=True)
class Budget:
    """When a search ends: after so many trials, or once so many requests were simulated. At least trial 0 is run."""

    trials: int = 100
    requests: int | None = None

    def __post_init__(self) -> None:
        if self.trials < 1:
            raise InputError(f"a search needs at least 1 trial, not {self.trials}")
        if self.requests is not None and self.requests < 1:
            raise InputError(f"a budget is at least 1 request, not {self.requests}")

    def left(self, trials: int, requests: int) -> bool:
        """Whether another trial may be begun."""
        return trials < self.trials and (self.requests is None or trials == 0 or requests < self.requests)

    def starts(self, size: int) -> int:
        """How many known services may come first, if a trial that is not stopped serves `size` requests."""
        whole = self.trials if self.requests is None else min(self.trials, self.requests // size)
        return max(FEWEST_STARTS, whole // PART)


@dataclass(frozen=True)
class Entry:
    """A finished trial."""

    number: int
    values: Mapping[str, Value]
    measured: Measured


@dataclass(frozen=True)
class History:
    """The trials of a search in order; trial 0 is the start."""

    goals: tuple[Goal, ...]
    entries: tuple[Entry, ...]

    @property
    def requests(self) -> int:
        """Requests simulated by all trials."""
        return sum(each.measured.requests for each in self.entries)

    @cached_property
    def best(self) -> Entry | None:
        """The best trial by the first goal among those that count; of equals the earliest. None if none counts."""
        best: Entry | None = None
        for entry in self.entries:
            if entry.measured.counts and (best is None or self._better(entry, best)):
                best = entry
        return best

    @property
    def front(self) -> tuple[Entry, ...]:
        """Trials that count and that no other one beats in one goal without losing in another (Pareto), in order.

        Values are told apart by three digits: how long the last requests take moves the bill of a fleet a little.
        """
        counting = [each for each in self.entries if each.measured.counts]
        distinct = {_rounded(each): each for each in reversed(counting)}.values()
        kept = [one for one in distinct if not any(self._dominates(other, one) for other in distinct)]
        return tuple(sorted(kept, key=_rounded))

    def _better(self, one: Entry, other: Entry) -> bool:
        return self.goals[0].better(one.measured.values[0], other.measured.values[0])

    def _dominates(self, one: Entry, other: Entry) -> bool:
        pairs = list(zip(self.goals, _rounded(one), _rounded(other), strict=True))
        worse = any(goal.better(theirs, ours) for goal, ours, theirs in pairs)
        return not worse and any(goal.better(ours, theirs) for goal, ours, theirs in pairs)


def _rounded(entry: Entry) -> tuple[float, ...]:
    return tuple(float(f"{value:.3g}") for value in entry.measured.values)


Progress = Callable[[History], None]
"""Is told what was done so far, after each trial."""


def search(
    task: Task,
    space: Space,
    sampler: str,
    budget: Budget,
    workers: Workers | None = None,
    journal: Journal | None = None,
    progress: Progress = lambda history: None,
) -> History:
    """Search `space` for the best of the task's first goal (of two: for the front), going on where `journal` ends.

    The first trials are the space's `starts`, a fourth of the budget, or three. A configuration suggested again is not
    simulated again, and a random trial follows: a sampler that repeats itself knows nothing better to try.

    Raises InputError for an unknown sampler or one that cannot have the goals.
    """
    with quiet() as optuna:
        loop = _Loop(optuna, task, space, find_sampler(sampler, len(task.goals)), workers or Here(task), journal)
        return loop.run(sampler, budget, progress)


@dataclass
class _Begun:
    """A trial under way; `own` is False if it repeats one that is known already."""

    asked: Any
    values: Mapping[str, Value]
    key: str
    waiting: Waiting
    own: bool


class _Loop:
    def __init__(
        self, optuna: Any, task: Task, space: Space, sampler: Sampler, workers: Workers, journal: Journal | None
    ) -> None:
        self.optuna, self.task, self.space, self.sampler = optuna, task, space, sampler
        self.workers, self.journal = workers, journal
        self.entries = entries_of(journal.trials) if journal else []
        done = [each for each in self.entries if not each.measured.failure]
        self.known = {repr(space.configuration(each.values)): each.measured for each in done}

    def run(self, sampler: str, budget: Budget, progress: Progress) -> History:
        study = self._study(sampler, budget)
        ranges, under_way = distributions(self.sampler, self.space.parameters), deque[_Begun]()
        explorer = self.optuna.create_study(sampler=self.optuna.samplers.RandomSampler(seed=self._seed("repeats")))
        begun = len(self.entries)
        while True:
            while len(under_way) < self.workers.width and budget.left(begun, self.history.requests):
                under_way.append(self._begin(study.ask(ranges), begun))
                begun += 1
            if not under_way:
                return self.history
            finished = under_way.popleft()
            self._finish(study, finished)
            if not finished.own:
                study.enqueue_trial(explorer.ask(ranges).params)
            progress(self.history)

    @property
    def history(self) -> History:
        return History(self.task.goals, tuple(self.entries))

    def _study(self, sampler: str, budget: Budget) -> Any:
        """A study in memory with the trials of the journal; the sampler's seed hangs on how many there are."""
        made = self.sampler.make(self.optuna, self._seed(sampler))
        study = self.optuna.create_study(directions=directions(self.task.goals), sampler=made)
        if self.entries and self.journal:
            study.add_trials(self.journal.trials)
        for values in self.space.starts[len(self.entries) : budget.starts(len(self.task.trace))]:
            study.enqueue_trial(written(self.sampler, self.space.parameters, values))
        return study

    def _seed(self, name: str) -> int:
        return int(stream(self.task.seed, f"tune/{name}/{len(self.entries)}").integers(2**31))

    def _begin(self, asked: Any, number: int) -> _Begun:
        values = read(self.sampler, self.space.parameters, asked.params) if number else self.space.defaults
        try:
            configuration = self.space.configuration(values)
        except InputError as error:
            failed = Measured((), (), (), 0, failure=str(error))
            return _Begun(asked, values, str(error), lambda: failed, own=True)
        key = repr(configuration)
        if key in self.known:
            return _Begun(asked, values, key, lambda: self.known[key], own=False)
        best = self.history.best
        waiting = self.workers.begin(configuration, best.measured if best else None)
        return _Begun(asked, values, key, waiting, own=True)

    def _finish(self, study: Any, begun: _Begun) -> None:
        measured = begun.waiting()
        self.known.setdefault(begun.key, measured)
        if not begun.own:
            measured = replace(measured, requests=0)
        begun.asked.set_user_attr(VALUES, dict(begun.values))
        begun.asked.set_user_attr(MEASURED, measured.to_json())
        for bound, violation in zip(self.task.bounds, measured.violations, strict=False):
            begun.asked.set_constraint(bound.name, violation)
        if measured.failure:
            frozen = study.tell(begun.asked, state=self.optuna.trial.TrialState.FAIL)
        else:
            frozen = study.tell(begun.asked, list(measured.values))
        self.entries.append(Entry(len(self.entries), dict(begun.values), measured))
        if self.journal is not None:
            self.journal.add(frozen)


def entries_of(trials: Sequence[Any]) -> list[Entry]:
    """The trials of a study as entries."""
    return [
        Entry(at, each.user_attrs[VALUES], Measured.from_json(each.user_attrs[MEASURED]))
        for at, each in enumerate(trials)
    ]


def directions(goals: Sequence[Goal]) -> list[str]:
    """Optuna's word for each goal."""
    return ["maximize" if each.more_is_better else "minimize" for each in goals]
