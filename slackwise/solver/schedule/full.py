"""The full objective on a fleet that serves one request at a time: CP-SAT, warm-started by the best online policy."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
from numpy.typing import NDArray

from slackwise.solver.result import FEASIBLE, LIMIT, OPTIMAL, Limits, SolveResult, Step
from slackwise.solver.schedule.cpsat import cp_model, cp_solver, searched, trajectory
from slackwise.solver.schedule.problem import LATE, TARDINESS
from slackwise.solver.schedule.serial import SerialProblem

TICK_S = 1e-3


def least_cost_serial(
    problem: SerialProblem, objective: str, limits: Limits, first_token_s: NDArray[np.float64] | None = None
) -> SolveResult:
    """The cheapest timetable; exact but for the rounding of times to ticks, which the bound takes off.

    Every request is an interval of its whole service, at most `machines` overlap; it costs its tardiness or its time to
    the first token. `first_token_s` are those of a schedule to start from. `solution` is a Timetable.
    """
    begun, cp = time.perf_counter(), cp_model()
    model, count = cp.CpModel(), problem.count
    release, first, busy, due = problem.ticks(TICK_S)
    if objective == TARDINESS:  # a request that misses its TBT objective may still be in time
        due = np.ceil(problem.due_s / TICK_S - 1e-6).astype(np.int64) + 1
    horizon = int(release.max() + busy.sum() + 1)
    starts = [model.new_int_var(int(release[at]), horizon, f"start[request={at}]") for at in range(count)]
    spans = [
        model.new_fixed_size_interval_var(starts[at], int(busy[at]), f"service[request={at}]") for at in range(count)
    ]
    model.add_cumulative(spans, [1] * count, problem.machines)
    costs = [
        _cost(model, objective, starts[at], int(first[at]), int(release[at]), int(due[at]), horizon, at)
        for at in range(count)
    ]
    model.minimize(sum(costs))
    if first_token_s is not None and np.isfinite(first_token_s).all():
        for at, begin in enumerate(np.floor((first_token_s - problem.first_s) / TICK_S)):
            model.add_hint(starts[at], max(int(release[at]), int(begin)))
    solver, steps = cp_solver(limits), trajectory(TICK_S if objective != LATE else 1.0)
    build_s = time.perf_counter() - begun
    status = solver.solve(model, steps)
    best, timetable, bound = None, None, 0.0
    if status in (cp.OPTIMAL, cp.FEASIBLE):
        timetable = problem.timetable(np.array([solver.value(each) for each in starts]))
        best = timetable.cost(problem, objective)
    if status != cp.UNKNOWN:
        bound = max(0.0, solver.best_objective_bound * TICK_S - _rounding_s(problem, objective))
    return searched(
        solver,
        limits,
        {"problem": problem.digest(), "objective": objective},
        LIMIT if best is None else OPTIMAL if status == cp.OPTIMAL else FEASIBLE,
        best,
        bound,
        build_s,
        (*steps.steps, Step("end of search", best, bound)),
        timetable,
    )


def _cost(model: Any, objective: str, start: Any, first: int, release: int, due: int, horizon: int, at: int) -> Any:
    if objective == TARDINESS:
        tardy = model.new_int_var(0, horizon + first, f"tardiness[request={at}]")
        model.add(tardy >= start + first - due)
        return tardy
    return start + first - release


def _rounding_s(problem: SerialProblem, objective: str) -> float:
    """What rounding may hide: TTFT counts from a release that was rounded down by up to a tick, which adds to it."""
    return 0.0 if objective == TARDINESS else problem.count * TICK_S
