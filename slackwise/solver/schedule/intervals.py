"""Late requests of a fleet that serves one request at a time, bounded by an LP over intervals.

Who is in time begins between its arrival and its latest begin. Cut that span into parts: whoever begins in one of them
is in service from the part's end to its begin + the whole service, wherever in the part it begins. At no time are more
of these compulsory intervals under way than there are machines (Lahrichi 1982; as a start-time-indexed LP: Sousa and
Wolsey 1992). With short spans, as TTFT objectives are beside whole services, the LP is nearly integral.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from slackwise.solver.backend import mathopt
from slackwise.solver.schedule.serial import SerialProblem

PARTS = 2
"""Parts of a span: with 4 the bound of 10,000 requests rises by 3 % and takes five times as long."""

NARROW = 1e-6
"""Seconds by which compulsory intervals are taken shorter, so that rounding helps the oracle."""


@dataclass(frozen=True)
class Compulsory:
    """Intervals in which a request is in service if it begins in a certain part of its span, each array (m,)."""

    request: NDArray[np.int64]
    begin_s: NDArray[np.float64]
    end_s: NDArray[np.float64]  # not after the begin: nothing is compulsory

    def crowds(self, machines: int) -> list[NDArray[np.int64]]:
        """Sets of intervals that are under way at one time and belong to more than `machines` requests.

        Looked at where an interval begins: no other time has more.
        """
        order = np.argsort(self.begin_s, kind="stable")
        active, found = np.zeros(0, np.int64), []
        for at in order[self.begin_s[order] < self.end_s[order]]:
            active = np.append(active[self.end_s[active] > self.begin_s[at]], at)
            if len(active) > machines and len(np.unique(self.request[active])) > machines:
                found.append(active)
        return found


def compulsory(problem: SerialProblem, parts: int = PARTS) -> Compulsory:
    """Of the requests that can be in time at all, cut into `parts` each; ordered by part, then by request."""
    span = problem.due_s - problem.first_s - problem.arrival_s + NARROW
    able = np.flatnonzero((span >= 0.0) & ~problem.tbt_late)
    width = np.tile(span[able] / parts, parts)
    first = np.tile(problem.arrival_s[able], parts) + width * np.repeat(np.arange(parts), len(able))
    end = first + np.tile(problem.busy_s[able], parts) - NARROW
    return Compulsory(np.tile(able, parts), first + width, end)


def interval_bound(problem: SerialProblem, parts: int = PARTS) -> float:
    """A lower bound of the late requests: maximise sum x[i, part], sum over parts <= 1, each crowd <= machines."""
    found = compulsory(problem, parts)
    model = mathopt().Model(name="interval LP")
    chosen = [
        model.add_variable(lb=0.0, ub=1.0, name=f"in time[request={request}, part {at}]")
        for at, request in enumerate(found.request)
    ]
    able = len(chosen) // parts
    for at in range(able if parts > 1 else 0):
        model.add_linear_constraint(sum(chosen[at::able]) <= 1.0, name=f"begins once[request={found.request[at]}]")
    for at, crowd in enumerate(found.crowds(problem.machines)):
        model.add_linear_constraint(sum(chosen[each] for each in crowd) <= problem.machines, name=f"crowd {at}")
    model.maximize(sum(chosen))
    answer = mathopt().solve(model, mathopt().SolverType.GLOP)
    most = answer.termination.objective_bounds.dual_bound if chosen else 0.0
    return max(0.0, float(np.ceil(problem.count - most - 1e-6)))
