"""One trial: a configuration serves the searched trace, and is stopped early if it is shown to lose."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from slackwise.errors import InputError
from slackwise.optional import require
from slackwise.simulator import Configuration, Objectives, Simulation, result_of
from slackwise.traces import Trace
from slackwise.tuning.goals import Bound, Goal

LOOKS = 16
"""Blocks of the searched trace: after each a trial may be stopped."""

FEWEST = 5
"""Blocks before the first test: with fewer the test cannot tell."""

CHANCE = 0.05
"""A trial is stopped if blocks at least as much worse than the best trial's would come by chance this rarely."""


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
        """Whether trials are stopped early: one goal that can be seen on the way, and no bounds."""
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
    looks = task.looks_s if task.prunes else []
    for at, until_s in enumerate(looks):
        simulation.run_until(until_s)
        if at > 0:
            blocks.append(_badness(task.goals[0], simulation, [-np.inf, *looks][at - 1], looks[at - 1], until_s))
        if best is not None and hopeless(blocks, best.blocks):
            arrived = int(np.searchsorted(task.trace.arrival_s, until_s, side="right"))
            return Measured(_estimate(task.goals[0], blocks, best), (), tuple(blocks), arrived, stopped=True)
    simulation.run_until()
    result = result_of(simulation)
    values = tuple(each.of(result) for each in task.goals)
    violations = tuple(each.violation(result) for each in task.bounds)
    return Measured(values, violations, tuple(blocks), len(task.trace))


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
