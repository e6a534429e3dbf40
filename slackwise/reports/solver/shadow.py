"""What binds a plan, and what a unit of each limit is worth by the LP: approximate, as instances are whole."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from slackwise.solver.backend import mathopt
from slackwise.solver.provisioning.model import build
from slackwise.solver.study import PlanStudy

LONGEST = 400
"""Windows of the LP whose prices are read; of a longer plan, those around its peak."""


@dataclass(frozen=True)
class Binding:
    """A limit: in how many windows it binds."""

    limit: str
    windows: int
    of: int


def binding(study: PlanStudy) -> list[Binding]:
    """Where servers are full, and where no instance of a class can be missed."""
    data, plan = study.data, study.plan
    found = []
    gpus = plan.gpus(data)
    for gpu, servers in data.servers.items():
        if servers is not None:
            full = int((gpus >= servers * data.gpus_per_server).sum())
            found.append(Binding(f"{servers} servers of {gpu} are full", full, data.windows))
    needed = data.needed()
    for name, level in plan.option.levels.items():
        members = list(data.classes[name])
        served = np.einsum("wk,kow->ow", plan.ready[:, members], data.rate[members, level])
        smallest = np.min(np.where(plan.ready[:, members].T[:, None] > 0, data.rate[members, level], np.inf), axis=0)
        tight = int(((served - smallest) < needed * (1 - 1e-9)).any(axis=0).sum())
        found.append(Binding(f"capacity of {name}: without one instance demand is not served", tight, data.windows))
    return found


def marginal_values(study: PlanStudy) -> dict[str, float]:
    """GPU-seconds by which the LP's cost changes with one server more, and with 1 % more demand on each class."""
    data = study.data
    if data.windows > LONGEST:
        peak = int(np.argmax(study.plan.gpus(data)))
        first = int(np.clip(peak - LONGEST // 2, 0, data.windows - LONGEST))
        data = data.cut(first, first + LONGEST, None)
    built = build(data, study.plan.option, relaxed=True)
    for row in list(built.model.linear_constraints()):
        if row.name.startswith("cheapest whole fleet"):  # cuts, which would take the prices of capacity upon them
            built.model.delete_linear_constraint(row)
    answer = mathopt().solve(built.model, mathopt().SolverType.GLOP)
    values = {"one server more": 0.0} | {f"1 % more demand on {name}": 0.0 for name in study.plan.option.levels}
    if not answer.has_dual_feasible_solution():
        return {}
    for row in built.model.linear_constraints():
        price = answer.dual_values(row)
        if row.name.startswith(("GPUs of the servers", "servers[")):
            values["one server more"] += price * (data.gpus_per_server if row.name.startswith("GPUs") else 1)
        for name in study.plan.option.levels:
            if row.name.startswith("capacity[") and f", {name} at level" in row.name:
                values[f"1 % more demand on {name}"] += 0.01 * price * row.lower_bound
    return {name: value + 0.0 for name, value in values.items()}  # no -0
