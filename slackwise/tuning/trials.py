"""One trial: a configuration serves the searched trace, and is stopped early if it is shown to lose."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from slackwise.errors import InputError
from slackwise.optional import require
from slackwise.simulator import Configuration, Objectives, Result, Simulation, result_of
from slackwise.simulator.state import CLASSES
from slackwise.traces import Trace
from slackwise.tuning.estimates import ALL
from slackwise.tuning.goals import COST, Bound, Goal

LOOKS = 16
"""Blocks of the searched trace: after each a trial may be stopped."""

FEWEST = 5
"""Blocks before the first test: with fewer the test cannot tell."""

CHANCE = 0.05
"""A trial is stopped if blocks at least as much worse than the best trial's would come by chance this rarely."""


FLOOR = 0.5
"""Where cost is a goal, a trial is stopped that attains less than this in the first quarter: nobody deploys that."""


@dataclass(frozen=True)
class Task:
    """What every trial of a search does: the same arrivals, objectives and seed (common random numbers)."""

    trace: Trace
    objectives: Objectives
    goals: tuple[Goal, ...]
    bounds: tuple[Bound, ...] = ()
    seed: int = 0
    image_context: str = "subtract"
    prune: bool = True

    @property
    def prunes(self) -> bool:
        """Whether trials are compared with the best on the way: one goal that can be seen there, and no bounds."""
        seen = self.goals[0].metric.startswith("ttft") or self.goals[0].metric in ("attainment", "goodput_rps")
        return self.prune and seen and len(self.goals) == 1 and not self.bounds

    @property
    def looks_s(self) -> list[float]:
        """Ends of the blocks, in seconds of the trace."""
        first, last = float(self.trace.arrival_s[0]), float(self.trace.arrival_s[-1])
        return [first + (last - first) * share / LOOKS for share in range(1, LOOKS + 1)]


@dataclass(frozen=True)
class Measured:
    """What a trial came to. A stopped one has no more than an estimate: the best trial's values and the paired gap."""

    values: tuple[float, ...]  # one for each goal; none if it failed
    violations: tuple[float, ...]  # one for each bound, 0 or less if kept
    blocks: tuple[float, ...]  # how bad each block was, as seen one block later
    requests: int  # simulated
    stopped: bool = False
    failure: str = ""  # why it could not be served at all

    @property
    def counts(self) -> bool:
        """Whether it may be the best: served to its end, every bound kept."""
        return not self.stopped and not self.failure and all(each <= 0.0 for each in self.violations)

    def to_json(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)

    @classmethod
    def from_json(cls, document: dict[str, Any]) -> Measured:
        """From the JSON form."""
        plain: dict[str, Any] = {
            key: tuple(value) if isinstance(value, list) else value for key, value in document.items()
        }
        return cls(**plain)


def measure(task: Task, configuration: Configuration, best: Measured | None = None) -> Measured:
    """Serve the trace; stop once the blocks so far are shown to be worse than those of `best`."""
    try:
        simulation = Simulation(task.trace, configuration, task.objectives, task.seed, task.image_context)
    except InputError as error:
        return Measured((), (), (), 0, failure=str(error))
    blocks: list[float] = []
    looks = task.looks_s
    for at, until_s in enumerate(looks if task.prune else []):
        simulation.run_until(until_s)
        if _lost(task, simulation, until_s):
            return _broken_off(task, simulation, until_s)
        if at == 0 or not task.prunes:
            continue
        blocks.append(_badness(task.goals[0], simulation, [-np.inf, *looks][at - 1], looks[at - 1], until_s))
        if best is not None and hopeless(blocks, best.blocks):
            values = _estimate(task.goals[0], blocks, best)
            return Measured(values, (), tuple(blocks), _arrived(task, until_s), stopped=True)
    simulation.run_until()
    result = result_of(simulation)
    values = tuple(each.of(result) for each in task.goals)
    violations = tuple(each.violation(result) for each in task.bounds)
    return Measured(values, violations, tuple(blocks), len(task.trace))


def _lost(task: Task, simulation: Simulation, until_s: float) -> bool:
    """Whether so many requests are late that a bound on attainment is broken whatever comes, or FLOOR is missed."""
    for each in task.bounds:
        if each.at_least and each.goal.metric == "attainment":
            late, _, total = _late(simulation, each.goal, until_s)
            if 1.0 - late / max(1, total) < each.limit:
                return True
    if not any(each.metric == COST for each in task.goals) or until_s < task.looks_s[LOOKS // 4 - 1]:
        return False
    late, arrived, _ = _late(simulation, Goal("attainment"), until_s)
    return 1.0 - late / max(1, arrived) < FLOOR


def _late(simulation: Simulation, goal: Goal, until_s: float) -> tuple[int, int, int]:
    """Of the goal's class: requests late by `until_s`, those that have arrived, and all of them."""
    requests, progress = simulation.workload.requests, simulation.workload.progress
    rows = np.ones(len(requests), bool) if goal.category == ALL else progress.category == CLASSES.index(goal.category)
    first_s = np.where(np.isnan(progress.first_token_s), until_s, progress.first_token_s)
    late, arrived = first_s > requests.deadline_s, requests.arrival_s <= until_s
    return int((late & rows).sum()), int((arrived & rows).sum()), int(rows.sum())


def _broken_off(task: Task, simulation: Simulation, until_s: float) -> Measured:
    """What a lost trial came to, by those who have arrived; its bill as if it had gone on to the last arrival."""
    result = result_of(simulation)
    looks, first_s = task.looks_s, float(task.trace.arrival_s[0])
    share = (until_s - first_s) / max(1e-9, looks[-1] - first_s)
    values = tuple(result.gpu_s / share if each.metric == COST else each.of(result) for each in task.goals)
    violations = tuple(_violation(each, simulation, until_s, result) for each in task.bounds)
    return Measured(values, violations, (), _arrived(task, until_s), stopped=True)


def _violation(bound: Bound, simulation: Simulation, until_s: float, result: Result) -> float:
    if bound.goal.metric != "attainment":
        return bound.violation(result)
    late, arrived, _ = _late(simulation, bound.goal, until_s)
    away = bound.limit - (1.0 - late / max(1, arrived))
    return (away if bound.at_least else -away) / (abs(bound.limit) or 1.0)


def _arrived(task: Task, until_s: float) -> int:
    return int(np.searchsorted(task.trace.arrival_s, until_s, side="right"))


def hopeless(ours: Sequence[float], best: Sequence[float]) -> bool:
    """Whether these blocks are worse than the same ones of the best trial, by the signed-rank test of Wilcoxon (1945).

    Paired, block by block, as both served the same arrivals. Blocks that follow each other are not independent: the
    test is a rule for stopping, no evidence.
    """
    if len(ours) < FEWEST:
        return False
    gaps = np.array(ours) - np.array(best[: len(ours)])
    if gaps.mean() <= 0.0:
        return False
    stats = require("scipy.stats", "tune")
    return bool(stats.wilcoxon(gaps, alternative="greater", zero_method="zsplit", method="approx").pvalue < CHANCE)


def _badness(goal: Goal, simulation: Simulation, since_s: float, until_s: float, now_s: float) -> float:
    """Of the requests that arrived in (since, until], seen at `now_s`: the share that is late, or the mean wait."""
    requests = simulation.workload.requests
    rows = slice(*np.searchsorted(requests.arrival_s, [since_s, until_s], side="right").tolist())
    if rows.start == rows.stop:
        return 0.0
    first_s: NDArray[np.float64] = simulation.workload.progress.first_token_s[rows]
    first_s = np.where(np.isnan(first_s), now_s, first_s)
    if goal.metric.startswith("ttft"):
        return float((first_s - requests.arrival_s[rows]).mean())
    return float((first_s > requests.deadline_s[rows]).mean())


def _estimate(goal: Goal, blocks: Sequence[float], best: Measured) -> tuple[float, ...]:
    """The best trial's value and the mean gap to it in the blocks that both have."""
    gap = float(np.mean(np.array(blocks) - np.array(best.blocks[: len(blocks)])))
    share = gap * (best.values[0] if goal.metric == "goodput_rps" else 1.0)
    return (best.values[0] - share if goal.more_is_better else best.values[0] + share,)
