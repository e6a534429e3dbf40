"""The ladder of bounds for a window and a fleet, and the regret of every policy as an interval.

Rungs, each dearer than the one before: trivial (everyone alone), time-indexed LP (capacity as a fluid), interval LP,
CP-SAT on late requests, CP-SAT on the full objective. On a fleet that serves one request at a time the last two are
exact, and their timetables can be replayed; elsewhere a step of a batching engine is shared by many requests, the
rungs keep what each of them must cost at least, and the last one does not exist.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from slackwise.errors import EmptyError, unknown
from slackwise.policies.bundle import ROLES, Policies, PolicyChoice
from slackwise.policies.registry import policies
from slackwise.simulator import Configuration, Objectives, Simulation, result_of
from slackwise.solver.result import DEFAULT_LIMITS, Limits, SolveResult, finite
from slackwise.solver.schedule.bounds import time_indexed, trivial
from slackwise.solver.schedule.full import least_cost_serial
from slackwise.solver.schedule.intervals import interval_bound
from slackwise.solver.schedule.late import MOST_REQUESTS, fewest_late, fewest_late_serial
from slackwise.solver.schedule.offline import selected
from slackwise.solver.schedule.problem import LATE, OBJECTIVES, SLIVER, Relaxation, Stage, relaxation, simulated_cost
from slackwise.solver.schedule.serial import SerialProblem, Timetable, is_serial, serial_problem, spread_out
from slackwise.traces import Trace

Report = Callable[[str], None]

AS_CONFIGURED = "as configured"

ROUNDS = 3
"""Policies that are changed together at most, besides the first."""


@dataclass(frozen=True)
class Window:
    """Requests, a fleet, and what they are judged by."""

    trace: Trace
    configuration: Configuration
    objectives: Objectives
    seed: int = 0
    sequences: int | None = None  # requests that an instance runs at a time; None: as the engine says
    image_context: str = "subtract"  # whether the recorded context holds image tokens

    def __post_init__(self) -> None:
        if len(self.trace) == 0:
            raise EmptyError("the window has no request")

    def run(self, chosen: Policies | None = None) -> Simulation:
        """A run that has not begun, under other policies if any are given."""
        configuration = self.configuration if chosen is None else replace(self.configuration, policies=chosen)
        run = Simulation(self.trace, configuration, self.objectives, self.seed, self.image_context)
        if self.sequences is not None:
            run.state.pools.max_sequences = np.minimum(run.state.pools.max_sequences, self.sequences)
        return run

    def serial(self) -> SerialProblem:
        """Its timetable problem; InputError unless instances serve one request at a time."""
        return serial_problem(self.run(), replace(self, trace=spread_out(self.trace)).run())


@dataclass(frozen=True)
class Rung:
    """One bound: no schedule costs less."""

    name: str
    bound: float
    verdict: str
    seconds: float


@dataclass(frozen=True)
class Ladder:
    """Bounds, costs of policies, and the best schedule known."""

    objective: str
    rungs: tuple[Rung, ...]
    costs: dict[str, float]  # policies (in words) -> simulated cost, best first
    best_known: float  # the cheapest policy or timetable
    timetable: Timetable | None = field(default=None, repr=False)
    search: SolveResult | None = None  # of the last rung, if CP-SAT climbed it

    @property
    def best_rung(self) -> Rung:
        """The highest bound; the first of those that give it."""
        return max(self.rungs, key=lambda each: each.bound)

    def regret(self, name: str) -> tuple[float, float]:
        """How far a policy is from the best possible: at least as far as from the best known, at most to the bound."""
        cost = self.costs[name]
        if not np.isfinite(cost):
            return cost, cost
        return cost - min(self.best_known, cost), cost - min(self.best_rung.bound, cost)

    def to_json(self, times: bool = True) -> dict[str, Any]:
        """Everything, for JSON."""
        rungs = [
            vars(each) if times else {k: v for k, v in vars(each).items() if k != "seconds"} for each in self.rungs
        ]
        rows = [
            {"policies": name, "cost": finite(cost), "regret": [finite(each) for each in self.regret(name)]}
            for name, cost in self.costs.items()
        ]
        return {
            "objective": self.objective,
            "unit": OBJECTIVES[self.objective],
            "rungs": rungs,
            "bound": self.best_rung.bound,
            "bound_from": self.best_rung.name,
            "best_known": finite(self.best_known),
            "policies": rows,
            "search": None if self.search is None else self.search.to_json(times),
            "timetable": None if self.timetable is None else self.timetable.to_json(),
        }


def climb(
    window: Window, objective: str = LATE, limits: Limits = DEFAULT_LIMITS, report: Report = lambda line: None
) -> Ladder:
    """All rungs for a window, and the cost of every registered policy in it.

    Raises InputError for an unknown objective, EmptyError for an empty window.
    """
    if objective not in OBJECTIVES:
        raise unknown("objective", objective, OBJECTIVES)
    run = window.run()
    problem = window.serial() if is_serial(run) and not run.rejected.any() else None
    relaxed = relaxation(run) if problem is None else serial_relaxation(relaxation(run), problem)
    costs, starts = policy_costs(window, relaxed, objective)
    report(f"{len(costs)} policies simulated, the best costs {min(costs.values()):.6g}")
    rungs: list[Rung] = []
    search: SolveResult | None = None

    def add(name: str, solve: Callable[[], tuple[float, str]]) -> None:
        begun = time.perf_counter()
        bound, verdict = solve()
        rungs.append(Rung(name, bound, verdict, round(time.perf_counter() - begun, 3)))
        report(f"{name}: {bound:.6g} ({verdict})")

    add("trivial", lambda: (trivial(relaxed, objective), "bound"))
    add("time-indexed LP", lambda: (time_indexed(relaxed, objective), "bound"))
    if objective == LATE and problem is not None:
        add("interval LP", lambda: (interval_bound(problem), "bound"))
    if objective == LATE and len(window.trace) <= MOST_REQUESTS:
        search = fewest_late(relaxed, limits) if problem is None else fewest_late_serial(problem, limits)
        rungs.append(
            Rung("CP-SAT late requests", search.bound, search.status, round(search.build_s + search.solve_s, 3))
        )
    elif problem is not None and len(window.trace) <= MOST_REQUESTS:
        search = least_cost_serial(problem, objective, limits, starts)
        rungs.append(
            Rung("CP-SAT full objective", search.bound, search.status, round(search.build_s + search.solve_s, 3))
        )
    tables = [] if search is None or search.solution is None else [search.solution]
    if problem is None:
        return Ladder(objective, tuple(rungs), costs, min(costs.values()), None, search)
    if objective == LATE:
        tables.append(selected(problem))
    timetable = min(tables, key=lambda each: each.cost(problem, objective), default=None)
    known = [min(costs.values()), *(each.cost(problem, objective) for each in tables)]
    return Ladder(objective, tuple(rungs), costs, min(known), timetable, search)


def serial_relaxation(relaxed: Relaxation, problem: SerialProblem) -> Relaxation:
    """The relaxation of a fleet that serves one request at a time, which knows all of a request's service.

    Not cut, a request that is in service at t began after t - busy, so its first token comes after t + first - busy:
    that is the tail, which may be negative.
    """
    tail = problem.first_s - problem.busy_s
    stage = Stage("service", problem.machines, problem.busy_s * SLIVER, problem.arrival_s, tail)
    return replace(relaxed, least_ttft_s=problem.first_s * SLIVER, stages=(stage,), to_the_end=())


def policy_costs(window: Window, relaxed: Relaxation, objective: str) -> tuple[dict[str, float], np.ndarray]:
    """(cost of each registered policy put in its role, best first; times of first tokens under the best).

    Of the best one every role but its own is tried again beside it, and so on while that gains, ROUNDS times at most:
    combinations have names such as "routing x, batching y".
    """
    found = {name: _served(window, chosen, relaxed, objective) for name, chosen in candidates(window.configuration)}
    best = min(found, key=lambda each: (found[each].cost, each))
    for _ in range(ROUNDS):
        fixed = replace(window.configuration, policies=found[best].chosen)
        more = {
            _together(best, name): _served(window, chosen, relaxed, objective) for name, chosen in candidates(fixed)[1:]
        }
        better = min(more, key=lambda each: (more[each].cost, each))
        if more[better].cost >= found[best].cost:
            break
        found[better], best = more[better], better
    ordered = sorted(found, key=lambda each: (found[each].cost, each))
    return {name: found[name].cost for name in ordered}, found[ordered[0]].first_token_s


def _together(*names: str) -> str:
    """Names of changes one after another, of each role the last: "routing x, batching y"."""
    parts = [each.split(" ", 1) for name in names if name != AS_CONFIGURED for each in name.split(", ")]
    return ", ".join(f"{role} {policy}" for role, policy in dict(parts).items())


@dataclass(frozen=True)
class _Served:
    """What policies came to."""

    cost: float
    chosen: Policies
    first_token_s: np.ndarray


def _served(window: Window, chosen: Policies, relaxed: Relaxation, objective: str) -> _Served:
    run = window.run(chosen)
    run.run_until()
    return _Served(run_cost(relaxed, run, objective), chosen, np.array(run.state.progress.first_token_s))


def run_cost(relaxed: Relaxation, run: Simulation, objective: str) -> float:
    """What a finished run cost."""
    result = result_of(run)
    within = np.zeros(len(result.arrival_s))
    within[~result.rejected] = relaxed.due_s - relaxed.arrival_s
    return simulated_cost(result, within, objective)


def candidates(configuration: Configuration) -> list[tuple[str, Policies]]:
    """The configuration's own policies, and each registered policy in each role in which it decides something."""
    own, chosen = configuration.policies, [(AS_CONFIGURED, configuration.policies)]
    roles = ["routing", "batching", "chunking", "admission"]
    if configuration.cluster.topology != "monolith":
        roles += ["encode_routing", "encode_batching"]
    for role in roles:
        for policy in policies(ROLES[role]):
            if policy.name != own.to_dict()[role]["name"]:
                chosen.append((f"{role} {policy.name}", replace(own, **{role: PolicyChoice(policy.name)})))
    return chosen
