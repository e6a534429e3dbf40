"""One trial: a configuration serves the searched trace, and is stopped early if it cannot win any more."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from slackwise.errors import InputError
from slackwise.simulator import Configuration, Objectives, Result, Simulation, result_of
from slackwise.traces import Trace
from slackwise.tuning.goals import COST, Bound, Goal
from slackwise.tuning.lateness import missed, of_class, waited_s

LOOKS = 16
"""Blocks of the searched trace: after each a trial may be stopped."""

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
        """Whether trials are compared with the best on the way: one goal that can be seen there."""
        return self.prune and _seen(self.goals[0]) and len(self.goals) == 1

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
    """Serve the trace; stop once a bound is broken, or `best` cannot be beaten, whatever comes."""
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
        reachable = _reachable(task.goals[0], simulation, until_s)
        if best is not None and not task.goals[0].better(reachable, best.values[0]):
            value = _estimate(task.goals[0], blocks, best, reachable)
            return replace(_broken_off(task, simulation, until_s), values=(value,), blocks=tuple(blocks))
    simulation.run_until()
    result = result_of(simulation)
    values = tuple(each.of(result) for each in task.goals)
    violations = tuple(each.violation(result) for each in task.bounds)
    return Measured(values, violations, tuple(blocks), len(task.trace))


def _lost(task: Task, simulation: Simulation, until_s: float) -> bool:
    """Whether a bound is broken whatever comes, or FLOOR is missed."""
    for bound in task.bounds:
        shown = _seen(bound.goal) and bound.at_least == bound.goal.more_is_better
        if shown and bound.away(_reachable(bound.goal, simulation, until_s)) > 0.0:
            return True
    if not any(each.metric == COST for each in task.goals) or until_s < task.looks_s[LOOKS // 4 - 1]:
        return False
    late, arrived, _ = _late(simulation, Goal("attainment"), until_s)
    return 1.0 - late / max(1, arrived) < FLOOR


def _seen(goal: Goal) -> bool:
    """Whether something is known of the goal before the end."""
    return goal.metric.startswith("ttft") or goal.metric in ("attainment", "goodput_rps")


def _reachable(goal: Goal, simulation: Simulation, until_s: float) -> float:
    """The best that the goal can come to: nobody else is late, and whoever waits, or is to come, waits no more."""
    if goal.metric.startswith("ttft"):
        waited = waited_s(simulation, until_s)[of_class(simulation, goal.category)]
        return goal.of_ttft(np.maximum(0.0, waited))
    late, _, total = _late(simulation, goal, until_s)
    arrival_s = simulation.workload.requests.arrival_s
    return (total - late) / max(1e-9, arrival_s[-1] - arrival_s[0] if goal.metric == "goodput_rps" else total)


def _late(simulation: Simulation, goal: Goal, until_s: float) -> tuple[int, int, int]:
    """Of the goal's class: requests that have missed an objective, those that have arrived, and all of them."""
    rows = of_class(simulation, goal.category)
    arrived = simulation.workload.requests.arrival_s <= until_s
    return int((missed(simulation, until_s) & rows).sum()), int((arrived & rows).sum()), int(rows.sum())


def _broken_off(task: Task, simulation: Simulation, until_s: float) -> Measured:
    """What a lost trial came to, whoever is still to come missing; its bill as if it had gone on to the last arrival.

    Violations are those of who has arrived.
    """
    result = result_of(simulation)
    looks, first_s = task.looks_s, float(task.trace.arrival_s[0])
    share = (until_s - first_s) / max(1e-9, looks[-1] - first_s)
    values = tuple(result.gpu_s / share if each.metric == COST else each.of(result) for each in task.goals)
    violations = tuple(_violation(each, simulation, until_s, result) for each in task.bounds)
    return Measured(values, violations, (), _arrived(task, until_s), stopped=True)


def _violation(bound: Bound, simulation: Simulation, until_s: float, result: Result) -> float:
    """How far the bound is from being kept by those who have arrived."""
    if bound.goal.metric == "attainment":
        late, arrived, _ = _late(simulation, bound.goal, until_s)
        return bound.away(1.0 - late / max(1, arrived))
    if bound.goal.metric.startswith("ttft"):
        waited = waited_s(simulation, until_s)[of_class(simulation, bound.goal.category)]
        return bound.away(bound.goal.of_ttft(waited[waited >= 0.0]))
    return bound.violation(result)


def _arrived(task: Task, until_s: float) -> int:
    return int(np.searchsorted(task.trace.arrival_s, until_s, side="right"))


def _badness(goal: Goal, simulation: Simulation, since_s: float, until_s: float, now_s: float) -> float:
    """Of the requests that arrived in (since, until], seen at `now_s`: the share late, or the mean wait."""
    arrival_s = simulation.workload.requests.arrival_s
    rows = slice(*np.searchsorted(arrival_s, [since_s, until_s], side="right").tolist())
    if rows.start == rows.stop:
        return 0.0
    found = waited_s(simulation, now_s) if goal.metric.startswith("ttft") else missed(simulation, now_s)
    return float(found[rows].mean())


def _estimate(goal: Goal, blocks: Sequence[float], best: Measured, reachable: float) -> float:
    """The best trial's value and the mean gap to it in the blocks that both have; no better than what is reachable."""
    gap = float(np.mean(np.array(blocks) - np.array(best.blocks[: len(blocks)])))
    share = gap * (best.values[0] if goal.metric == "goodput_rps" else 1.0)
    value = best.values[0] - share if goal.more_is_better else best.values[0] + share
    return reachable if goal.better(value, reachable) else value
