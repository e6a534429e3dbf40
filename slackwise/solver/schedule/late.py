"""The fewest late requests: CP-SAT on which to serve in time."""

from __future__ import annotations

import math
import time
from typing import Any

import numpy as np

from slackwise.solver.result import FEASIBLE, LIMIT, OPTIMAL, Limits, SolveResult, Step
from slackwise.solver.schedule.cpsat import cp_model, cp_solver, searched
from slackwise.solver.schedule.intervals import compulsory, interval_bound
from slackwise.solver.schedule.problem import LATE, Relaxation, Stage
from slackwise.solver.schedule.serial import SerialProblem

TICK_S = 1e-4
"""Times are whole numbers of this; rounded so that the oracle gains: work down, due times up, releases down."""

MOST_REQUESTS = 400
"""More requests than this are left to the LP."""


def fewest_late(relaxed: Relaxation, limits: Limits) -> SolveResult:
    """A lower bound of the late requests of any schedule on any fleet: work as a fluid, lateness all or nothing.

    For every interval [a, b] and every stage, the work of the requests in time that are released in it and due in it
    is at most machines x (b - a) (energetic reasoning, Erschler and Lopez 1990). The largest stage counts.
    """
    begun, cp = time.perf_counter(), cp_model()
    model, count = cp.CpModel(), len(relaxed.arrival_s)
    late = [model.new_bool_var(f"late[request={at}]") for at in range(count)]
    alone = relaxed.cost(LATE, relaxed.arrival_s + relaxed.least_ttft_s)
    for at in np.flatnonzero(alone > 0):
        model.add(late[at] == 1)
    for stage in relaxed.stages_for(LATE):
        _energy(model, relaxed, stage, late)
    model.minimize(sum(late))
    return _solved(model, limits, relaxed.constant(LATE), relaxed.digest(), time.perf_counter() - begun)


def _energy(model: Any, relaxed: Relaxation, stage: Stage, late: list[Any]) -> None:
    work = np.floor(stage.work_s / TICK_S).astype(np.int64)
    release = np.floor(stage.release_s / TICK_S).astype(np.int64)
    due = np.ceil((relaxed.due_s - stage.tail_s) / TICK_S + 1e-6).astype(np.int64) + 1
    busy = work > 0
    for begin in np.unique(release[busy]):
        inside = busy & (release >= begin) & (due > begin)
        order = np.flatnonzero(inside)[np.argsort(due[inside], kind="stable")]
        total = np.cumsum(work[order])
        ends = due[order]
        for at in range(len(order)):
            last = at + 1 == len(order) or ends[at + 1] > ends[at]
            room = stage.machines * int(ends[at] - begin)
            if last and total[at] > room:
                mine = order[: at + 1]
                surplus = int(total[at]) - room
                model.add(sum(int(work[each]) * late[each] for each in mine) >= surplus)


def fewest_late_serial(problem: SerialProblem, limits: Limits) -> SolveResult:
    """The fewest late requests where instances serve one request at a time: exact but for the rounding of times.

    Whoever is in time is an interval of its whole service between arrival and due time; at most `machines` overlap,
    which is the same as giving each a machine. The late ones follow after everyone else. `solution` is a Timetable.
    Rows of compulsory intervals (intervals.py) say the same for single times, and the bound of their LP is a row too:
    they only speed it up.
    """
    begun, cp = time.perf_counter(), cp_model()
    model, count = cp.CpModel(), problem.count
    release, first, busy, due = problem.ticks(TICK_S)
    horizon = int(release.max() + busy.sum() + 1)
    starts, kept, spans = [], [], []
    for at in range(count):
        latest = max(int(release[at]), min(horizon, int(due[at] - first[at])))
        start = model.new_int_var(int(release[at]), latest, f"start[request={at}]")
        served = model.new_bool_var(f"in time[request={at}]")
        if release[at] + first[at] > due[at]:
            model.add(served == 0)
        spans.append(model.new_optional_fixed_size_interval_var(start, int(busy[at]), served, f"service[request={at}]"))
        starts.append(start)
        kept.append(served)
    model.add_cumulative(spans, [1] * count, problem.machines)
    must = compulsory(problem, parts=1)
    for crowd in must.crowds(problem.machines):
        model.add(sum(kept[must.request[each]] for each in crowd) <= problem.machines)
    least = interval_bound(problem)
    model.add(sum(kept) <= count - int(least))
    model.maximize(sum(kept))
    solver, build_s = cp_solver(limits), time.perf_counter() - begun
    status = solver.solve(model)
    best, bound, timetable = None, float(int(least)), None
    if status in (cp.OPTIMAL, cp.FEASIBLE):
        in_time = np.array([solver.value(each) == 1 for each in kept])
        at_tick = np.array([solver.value(each) for each in starts])
        timetable = problem.timetable(np.where(in_time, at_tick, horizon + np.arange(count)))
        best = timetable.cost(problem, LATE)
    if status != cp.UNKNOWN:
        bound = float(count - math.floor(solver.best_objective_bound + 1e-6))
    steps = (Step("end of search", best, bound),)
    verdict, question = _verdict(status, best, bound), {"problem": problem.digest()}
    return searched(solver, limits, question, verdict, best, bound, build_s, steps, timetable)


def _verdict(status: int, best: float | None, bound: float) -> str:
    if best is None:
        return LIMIT
    return OPTIMAL if status == cp_model().OPTIMAL and best - bound < 1e-6 else FEASIBLE


def _solved(model: Any, limits: Limits, constant: float, digest: str, build_s: float) -> SolveResult:
    cp, solver = cp_model(), cp_solver(limits)
    status = solver.solve(model)
    found = status in (cp.OPTIMAL, cp.FEASIBLE)
    bound = 0.0 if status == cp.UNKNOWN else math.ceil(solver.best_objective_bound - 1e-6)
    verdict = OPTIMAL if status == cp.OPTIMAL else FEASIBLE if found else LIMIT
    objective = solver.objective_value + constant if found else None
    return searched(solver, limits, {"late": digest}, verdict, objective, float(bound) + constant, build_s)
