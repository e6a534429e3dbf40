"""Plans for long horizons: branch on the SLO split, look for a path through fleets, solve blocks where it falls short.

The bound is honest: that of paths.py ignores only what makes plans dearer; a block is solved with any fleet at its
beginning, free of charge, so the blocks' bounds sum to a lower bound of the whole; a split that is never solved counts
with its floors (floors.py). The plan is the fast one, or the blocks' plans one after another, repaired where an
instance would leave too soon; where the seam breaks a rule the two blocks are solved as one.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from itertools import pairwise
from multiprocessing import get_context

import numpy as np
from numpy.typing import NDArray

from slackwise.solver.backend import solve, solver_version
from slackwise.solver.provisioning.data import Option, PlanData, options
from slackwise.solver.provisioning.dominance import useful
from slackwise.solver.provisioning.floors import Floors, floors
from slackwise.solver.provisioning.model import build, plan_fingerprint, read_plan
from slackwise.solver.provisioning.paths import fleet_path, settled
from slackwise.solver.provisioning.plan import Plan
from slackwise.solver.provisioning.validator import check, violations
from slackwise.solver.result import (
    DEFAULT_LIMITS,
    FEASIBLE,
    INFEASIBLE,
    LIMIT,
    OPTIMAL,
    UNBOUNDED,
    Limits,
    SolveResult,
    Step,
)

BLOCK = 48
"""Windows of a block: four hours of five minutes."""

SHARE = 0.4
"""Of the gap asked for, what a block may leave open; the rest is for the seams."""

Progress = Callable[[Step], None]


@dataclass
class _Clock:
    """Seconds spent and left."""

    limit_s: float | None
    pool: ProcessPoolExecutor | None
    build_s: float = 0.0
    solve_s: float = 0.0

    def __post_init__(self) -> None:
        self.began = time.perf_counter()

    def left(self) -> float | None:
        return None if self.limit_s is None else max(0.0, self.limit_s - (time.perf_counter() - self.began))


@dataclass
class _Part:
    """A block, windows first .. last - 1: what is known of it."""

    first: int
    last: int
    bound: float
    ready: NDArray[np.int64] | None = None  # counts of its own, else those of the fast plan
    exact: bool = False  # solved as a MIP


def provision_week(
    data: PlanData,
    limits: Limits = DEFAULT_LIMITS,
    backend: str = "highs",
    block: int = BLOCK,
    only: tuple[Option, ...] | None = None,
    progress: Progress | None = None,
) -> SolveResult:
    """The cheapest plan for a horizon of any length, to `limits.gap`; its solution has passed the validator.

    Every split of `options(data)` (or of `only`) is either solved or cut off by its floors. The same input gives the
    same plan unless `limits.seconds` ends it. Blocks run in `limits.workers` processes.
    """
    pool = _pool(limits.workers if data.windows > block else 1)
    try:
        return _provision(data, limits, backend, block, only, progress, pool)
    finally:
        if pool is not None:
            pool.shutdown()


def _provision(
    data: PlanData,
    limits: Limits,
    backend: str,
    block: int,
    only: tuple[Option, ...] | None,
    progress: Progress | None,
    pool: ProcessPoolExecutor | None,
) -> SolveResult:
    clock = _Clock(limits.seconds, pool)
    steps: list[Step] = []
    choices = only or options(data)
    lowest = {at: floors(data, each) for at, each in enumerate(choices)}
    totals = {at: found.total(data) if found.feasible else math.inf for at, found in lowest.items()}
    best: tuple[Plan, float] | None = None
    bounds, statuses = dict(totals), set[str]()

    def note(at: str) -> None:
        steps.append(Step(at, best[1] if best else None, min(bounds.values())))
        if progress is not None:
            progress(steps[-1])

    for number, at in enumerate(sorted(totals, key=lambda each: (totals[each], each))):
        if totals[at] == math.inf or (best and totals[at] >= best[1] * (1.0 - limits.gap)):
            continue
        parts = [_Part(first, last, -math.inf) for first, last in _cuts(data, block)]
        good_enough = best[1] * (1.0 - limits.gap) if best else math.inf
        search = _Search(data, choices[at], limits, backend, clock, parts, good_enough, totals[at])
        _solve_option(search, lowest[at])
        bounds[at] = search.bound
        statuses.add(search.status)
        if search.best is not None and (best is None or search.best[0] < best[1]):
            best = search.best[1], search.best[0]
        note(f"split {number + 1} of {len(choices)}: {choices[at].describe(data)}")
        if clock.left() == 0.0:
            break
    bound = min([*bounds.values(), best[1]] if best else bounds.values())
    return _result(data, limits, backend, best, bound, statuses, clock, tuple(steps))


def _result(
    data: PlanData,
    limits: Limits,
    backend: str,
    best: tuple[Plan, float] | None,
    bound: float,
    statuses: set[str],
    clock: _Clock,
    steps: tuple[Step, ...],
) -> SolveResult:
    if best is not None:
        check(data, best[0])
        status = OPTIMAL if best[1] - bound <= limits.gap * abs(best[1]) + 1e-9 else FEASIBLE
    else:
        unknown = LIMIT in statuses or (clock.left() == 0.0)
        status = UNBOUNDED if UNBOUNDED in statuses else LIMIT if unknown else INFEASIBLE
    return SolveResult(
        status=status,
        objective=best[1] if best else None,
        bound=bound,
        solver=backend,
        version=solver_version(),
        seed=limits.seed,
        workers=limits.workers,
        fingerprint=plan_fingerprint(data, limits, backend),
        build_s=clock.build_s,
        solve_s=clock.solve_s,
        trajectory=steps,
        solution=best[0] if best else None,
    )


@dataclass
class _Search:
    """The search for the plan of one split: a fast plan and its bound, then LPs and MIPs of blocks until they meet."""

    data: PlanData
    option: Option
    limits: Limits
    backend: str
    clock: _Clock
    parts: list[_Part]
    good_enough: float  # a bound that cuts this split off
    least: float  # a bound known from elsewhere
    fast: Plan | None = None
    best: tuple[float, Plan] | None = None
    status: str = OPTIMAL

    def __post_init__(self) -> None:
        self.loss = useful(self.data, self.option).loss

    @property
    def bound(self) -> float:
        """Of the split, what dropping dominated kinds may hide taken off."""
        total = sum(each.bound for each in self.parts)
        return max(self.least, total * (1.0 - self.loss) if 0 < total < math.inf else total)

    def settle(self) -> None:
        """Take the plan as it stands if it breaks no rule and is the cheapest."""
        whole = [each.ready if each.ready is not None else self._fast_rows(each) for each in self.parts]
        known = [each for each in whole if each is not None]
        if len(known) < len(whole):
            return
        plan = Plan(self.option, settled(self.data, np.concatenate(known)))
        cost = plan.cost(self.data)
        if (self.best is None or cost < self.best[0]) and next(violations(self.data, plan), None) is None:
            self.best = cost, plan

    def done(self) -> bool:
        """Whether the gap is closed, the split is cut off, or time is up."""
        if self.bound >= self.good_enough or self.clock.left() == 0.0:
            return True
        return self.best is not None and self.best[0] - self.bound <= self.limits.gap * abs(self.best[0])

    def _fast_rows(self, part: _Part) -> NDArray[np.int64] | None:
        return None if self.fast is None else self.fast.ready[part.first : part.last]

    def solve(self, parts: list[_Part], relaxed: bool) -> None:
        """Solve blocks, as LPs for their bounds or as MIPs for their plans too; in a pool several at a time."""
        jobs = [self._job(each, relaxed) for each in parts]
        answers = (
            list(self.clock.pool.map(_solve_block, jobs)) if self.clock.pool else [_solve_block(each) for each in jobs]
        )
        for part, (bound, status, ready, build_s, solve_s) in zip(parts, answers, strict=True):
            self.clock.build_s += build_s
            self.clock.solve_s += solve_s
            if status in (INFEASIBLE, UNBOUNDED):
                self.status, part.bound = status, bound
            else:
                part.bound = max(part.bound, bound)
            if not relaxed:
                part.exact, part.ready = True, ready
                self.status = LIMIT if ready is None and self.status == OPTIMAL else self.status

    def _job(self, part: _Part, relaxed: bool) -> _Job:
        data, whole = self.data, (part.first, part.last) == (0, self.data.windows)
        mine = data if whole else data.cut(part.first, part.last, data.initial if part.first == 0 else None)
        share = replace(self.limits, gap=self.limits.gap * (1.0 if whole else SHARE), seconds=self.clock.left())
        return _Job(mine, self.option, share, "highs" if relaxed else self.backend, relaxed)

    def worst(self, count: int) -> list[_Part]:
        """Up to `count` blocks, not yet solved as MIPs, whose fast plans cost most above their bounds."""
        open_ = [each for each in self.parts if not each.exact]
        return open_[:count] if self.fast is None else sorted(open_, key=self._excess, reverse=True)[:count]

    def _excess(self, part: _Part) -> float:
        rows = self._fast_rows(part)
        assert rows is not None
        mine = self.data.cut(part.first, part.last, None)
        return Plan(self.option, rows).cost(mine) - part.bound

    def merge(self) -> None:
        """Join the two blocks at whose seam the fleet jumps most: together they find a way across."""
        gpus = [
            np.zeros(1) if each.ready is None else Plan(self.option, each.ready).gpus(self.data) for each in self.parts
        ]
        jumps = [abs(float(before[-1]) - float(after[0])) for before, after in pairwise(gpus)]
        at = int(np.argmax(jumps))
        left, right = self.parts[at : at + 2]
        self.parts[at : at + 2] = [_Part(left.first, right.last, left.bound + right.bound)]


def _solve_option(search: _Search, lowest: Floors) -> None:
    """Fast plan, LP bound, then MIPs of the blocks that leave most open; blocks are joined where seams do not fit."""
    path = fleet_path(search.data, search.option, lowest)
    search.fast, search.least = path.plan, max(search.least, path.bound)
    search.settle()
    together = max(1, search.limits.workers)
    for at in range(0, len(search.parts), together):
        if search.done() or search.status != OPTIMAL:
            return
        search.solve(search.parts[at : at + together], relaxed=True)
    while not search.done() and search.status == OPTIMAL:
        parts = search.worst(together)
        if parts:
            search.solve(parts, relaxed=False)
            if search.status == OPTIMAL:
                search.settle()
        elif len(search.parts) > 1:
            search.merge()
        else:
            return


@dataclass(frozen=True)
class _Job:
    """A block to solve, maybe in another process."""

    data: PlanData
    option: Option
    limits: Limits
    backend: str
    relaxed: bool


def _solve_block(job: _Job) -> tuple[float, str, NDArray[np.int64] | None, float, float]:
    """(bound, status, counts or None, seconds to build, seconds to solve)."""
    built = build(job.data, job.option, relaxed=job.relaxed)
    answer = solve(built.model, job.limits, job.backend)
    ready = None if answer.values is None or job.relaxed else read_plan(job.data, built, answer).ready
    return answer.bound, answer.status, ready, built.seconds, answer.solve_s


def _pool(workers: int) -> ProcessPoolExecutor | None:
    """Processes for blocks: MathOpt holds the interpreter while it solves, so threads would wait for each other."""
    return ProcessPoolExecutor(workers, get_context("spawn")) if workers > 1 else None


def _cuts(data: PlanData, block: int) -> list[tuple[int, int]]:
    """Blocks of about `block` windows, cut where the load is lowest: there the fleet is smallest."""
    count = max(1, round(data.windows / block))
    busiest, half = data.load.max(axis=0), block // 4
    edges = [0]
    for at in range(1, count):
        middle = at * data.windows // count
        low, high = max(edges[-1] + 1, middle - half), min(data.windows - 1, middle + half)
        edges.append(low + int(np.argmin(busiest[low : high + 1])))
    return list(zip(edges, [*edges[1:], data.windows], strict=True))
