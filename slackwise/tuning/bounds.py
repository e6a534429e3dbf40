"""How good any schedule could be on a row's fleet: the best rung of the solver's ladder that holds for any fleet."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

from slackwise.errors import InputError
from slackwise.simulator import Configuration, Result, Simulation
from slackwise.solver.fluid import fluid_bound
from slackwise.solver.schedule.bounds import BINS, FINE, time_indexed, trivial
from slackwise.solver.schedule.problem import LATE, TTFT, Relaxation, relaxation
from slackwise.traces import Trace
from slackwise.tuning.estimates import ALL
from slackwise.tuning.goals import Goal
from slackwise.tuning.trials import Task

CELLS = 1e6
"""Requests times fine bins of the LP: fewer bins for long traces, which weakens the bound and keeps it one."""

FEWEST = 16
"""Bins at least."""

BOUNDED = ("attainment", "ttft_mean_s", "gpu_s_per_good")
"""Metrics that have a rung."""


@dataclass(frozen=True)
class Bound:
    """No schedule, whatever it knows, reaches a better value of the metric."""

    value: float | None  # None: there is no bound
    rung: str  # of the ladder, or why there is none

    def to_json(self) -> dict[str, Any]:
        """For JSON."""
        return dict(vars(self))


class Bounds:
    """Bounds of a metric on a trace by the best rung that holds for any fleet; each fleet is computed once."""

    def __init__(self, goal: Goal, trace: Trace, task: Task) -> None:
        self.goal, self.trace, self.task = goal, trace, task
        self.known: dict[str, Bound] = {}

    def of(self, configuration: Configuration, result: Result) -> Bound:
        """The bound on the fleet of a configuration that came to `result`, up to the instances it may grow to.

        The bound on cost is for serving with that attainment of TTFT.
        """
        metric = self.goal.metric
        if metric not in BOUNDED or self.goal.category != ALL:
            return Bound(None, f"no rung of the ladder bounds {self.goal.name}")
        run = Simulation(self.trace, configuration, self.task.objectives, self.task.seed, self.task.image_context)
        try:
            if metric == "gpu_s_per_good":
                return self._cost(run, result)
            return self._schedule(relaxation(run), LATE if metric == "attainment" else TTFT)
        except InputError as error:
            return Bound(None, str(error))

    def _schedule(self, relaxed: Relaxation, objective: str) -> Bound:
        key = relaxed.digest()
        if key not in self.known:
            requests = len(relaxed.arrival_s)
            bins = int(min(BINS, max(FEWEST, CELLS / (FINE * requests))))
            least = trivial(relaxed, objective)
            better = time_indexed(relaxed, objective, bins) if find_spec("ortools") else least
            rung = "time-indexed LP" if better > least else "trivial"
            self.known[key] = Bound(self._value(max(least, better), requests + relaxed.rejected), rung)
        return self.known[key]

    def _value(self, cost: float, requests: int) -> float:
        return 1.0 - cost / requests if self.goal.metric == "attainment" else cost / requests

    def _cost(self, run: Simulation, result: Result) -> Bound:
        if (result.failure != 0).any():
            return Bound(None, "requests failed, and the fluid bound serves them all")
        attained = float((result.ttft_s <= result.ttft_objective_s).mean())
        least = fluid_bound([run], attained)
        return Bound(least.gpu_s / max(1, int(result.met.sum())), f"fluid LP at {attained:.2%} of TTFT objectives")
