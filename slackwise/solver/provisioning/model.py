"""The fleet model as a whole: build it, solve it, read the plan from it."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from slackwise.solver.backend import Answer, mathopt, solve, solver_version
from slackwise.solver.provisioning import constraints, objective
from slackwise.solver.provisioning.data import Option, PlanData
from slackwise.solver.provisioning.dominance import useful
from slackwise.solver.provisioning.floors import floors
from slackwise.solver.provisioning.plan import Plan
from slackwise.solver.provisioning.validator import check
from slackwise.solver.provisioning.variables import Columns, add_columns
from slackwise.solver.result import DEFAULT_LIMITS, Limits, SolveResult, Step, fingerprint


@dataclass(frozen=True)
class Built:
    """A model, its columns, and the seconds that building took."""

    model: Any
    columns: Columns
    option: Option | None
    seconds: float


def build(data: PlanData, option: Option | None = None, slack: str | None = None, relaxed: bool = False) -> Built:
    """The model of `data`: with the split fixed to `option`, or with binaries that choose it; `relaxed` as an LP.

    With `slack`, one of variables.SLACKS, it gives way there and minimises by how much, instead of the price.
    """
    start = time.perf_counter()
    model = mathopt().Model(name="fleet plan")
    columns = add_columns(model, data, option, slack)
    if option is None:
        constraints.one_topology(model, data, columns)
        constraints.one_level(model, data, columns)
        constraints.slo_split(model, data, columns)
        constraints.only_deployed(model, data, columns)
    constraints.capacity(model, data, columns, option)
    constraints.least_instances(model, data, columns, option)
    constraints.starts(model, data, columns)
    constraints.start_up(model, data, columns)
    constraints.min_up(model, data, columns)
    constraints.servers(model, data, columns)
    if option is not None and slack is None:
        constraints.floors(model, data, columns, floors(data, option))
    (objective.cheapest if slack is None else objective.least_slack)(model, data, columns)
    if relaxed:
        for column in model.variables():
            column.integer = False
    return Built(model, columns, option, time.perf_counter() - start)


def provision(
    data: PlanData,
    limits: Limits = DEFAULT_LIMITS,
    backend: str = "highs",
    option: Option | None = None,
    hint: Plan | None = None,
) -> SolveResult:
    """The cheapest plan for `data`, by one MIP; its solution, a Plan, has passed the validator.

    For long horizons see week.provision_week. Raises CheckError if the solver fails or its plan breaks a rule.
    """
    built = build(data, option)
    start = None if hint is None else {built.columns.ready[key]: float(hint.ready[key]) for key in built.columns.ready}
    answer = solve(built.model, limits, backend, start)
    plan = None if answer.values is None else read_plan(data, built, answer)
    cost = None
    if plan is not None:
        check(data, plan)
        cost = plan.cost(data)
    bound = answer.bound * (1.0 - useful(data, option).loss) if option and answer.bound > 0 else answer.bound
    trajectory = (Step("end of search", cost, bound),) if np.isfinite(bound) else ()
    return SolveResult(
        status=answer.status,
        objective=cost,
        bound=bound,
        solver=backend,
        version=solver_version(),
        seed=limits.seed,
        workers=limits.workers,
        fingerprint=plan_fingerprint(data, limits, backend),
        build_s=built.seconds,
        solve_s=answer.solve_s,
        trajectory=trajectory,
        solution=plan,
    )


def read_plan(data: PlanData, built: Built, answer: Answer) -> Plan:
    """The plan in the values of an answer."""
    values = answer.values or {}
    ready = np.zeros((data.windows, len(data.kinds)), np.int64)
    for (window, kind), column in built.columns.ready.items():
        ready[window, kind] = round(values[column])
    return Plan(built.option or _chosen(built.columns, values), ready)


def plan_fingerprint(data: PlanData, limits: Limits, backend: str) -> str:
    """Of everything that decides the plan; a limit of seconds does not belong to it."""
    options = asdict(limits) | {"seconds": None}
    return fingerprint(data.to_json() | {"limits": options, "backend": backend, "ortools": solver_version()})


def _chosen(columns: Columns, values: Any) -> Option:
    topology = next(name for name, column in columns.topology.items() if values[column] > 0.5)
    return Option(topology, {name: level for (name, level), column in columns.level.items() if values[column] > 0.5})
