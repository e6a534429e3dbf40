"""A fleet plan from a trace in one call: capacity table, demand, plan, and the plan in words."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from slackwise.errors import InfeasibleError
from slackwise.solver.capacities import capacity_table
from slackwise.solver.demand import Demand, budgeted, demand, scenarios
from slackwise.solver.planning import plan_data
from slackwise.solver.provisioning.data import PlanData
from slackwise.solver.provisioning.explain import explain, sentence
from slackwise.solver.provisioning.plan import Plan
from slackwise.solver.provisioning.week import provision_week
from slackwise.solver.request import REACH, VIOLATION, PlanRequest
from slackwise.solver.result import INFEASIBLE, SolveResult
from slackwise.solver.table import CapacityTable
from slackwise.traces import Trace

Report = Callable[[str], None]


@dataclass(frozen=True)
class PlanStudy:
    """A plan, what it was made from, and the proof."""

    request: PlanRequest
    table: CapacityTable
    demand: Demand
    data: PlanData
    result: SolveResult

    @property
    def plan(self) -> Plan:
        """The plan."""
        plan: Plan = self.result.required().solution
        return plan

    def named(self, kind: int) -> str:
        """A kind, the GPU left out where all have the same."""
        name = self.data.kinds[kind].name
        return name if len(self.request.hardware.gpus) > 1 else name.partition(" on ")[0]

    def gpu_hours(self) -> dict[str, float]:
        """GPU-hours that serve, by GPU type, of the types that are used."""
        found: dict[str, float] = {}
        for kind, count in zip(self.data.kinds, self.plan.ready.sum(axis=0).tolist(), strict=True):
            found[kind.gpu] = found.get(kind.gpu, 0.0) + count * kind.tensor_parallel * self.data.window_s / 3600
        return {gpu: each for gpu, each in found.items() if each}

    def schedule(self) -> list[dict[str, Any]]:
        """What to run when: stretches of windows with the same fleet."""
        ready, rows = self.plan.ready, list[dict[str, Any]]()
        edges = [0, *(np.flatnonzero(np.any(np.diff(ready, axis=0), axis=1)) + 1).tolist(), len(ready)]
        gpus = self.plan.gpus(self.data)
        for first, last in pairwise(edges):
            fleet = [f"{count} x {self.named(at)}" for at, count in enumerate(ready[first].tolist()) if count]
            rows.append(
                {
                    "windows": f"{first} to {last - 1}" if last - first > 1 else str(first),
                    "from": _clock(first * self.data.window_s),
                    "fleet": ", ".join(fleet) or "nothing",
                    "gpus": int(gpus[first]),
                }
            )
        return rows

    def to_json(self, times: bool = True) -> dict[str, Any]:
        """Everything, for JSON."""
        return {
            "request": self.request.to_json(),
            "objectives": self.table.objectives,
            "unit": self.request.hardware.unit,
            "result": self.result.to_json(times),
            "gpu_hours": self.gpu_hours(),
            "plan": self.plan.to_json(self.data),
            "schedule": self.schedule(),
        }


def plan_for(trace: Trace, request: PlanRequest, report: Report = lambda line: None) -> PlanStudy:
    """Plan for `trace`. Raises InfeasibleError with what would have to give way, and the errors of bad data."""
    asked = asked_demand(demand(trace, request.window_s), request)
    return solve_plan(asked, capacity_table(trace, request, report), request, report)


def asked_demand(base: Demand, request: PlanRequest) -> Demand:
    """The demand that the request wants served: the means, drawn scenarios, or a budget of upper values."""
    if request.budget is not None:
        return budgeted(base, request.budget, REACH if request.reach is None else request.reach)
    if request.scenarios is not None:
        violation = VIOLATION if request.violation is None else request.violation
        return scenarios(base, request.scenarios, request.seed, violation)
    return base


def solve_plan(
    asked: Demand, table: CapacityTable, request: PlanRequest, report: Report = lambda line: None
) -> PlanStudy:
    """Plan for a demand on a table; see `plan_for`."""
    servers = dict(zip(request.hardware.gpus, request.hardware.servers, strict=True))

    data = plan_data(
        asked,
        table,
        servers,
        request.terms,
        request.kappa,
        request.topologies,
        request.levels,
        request.slo,
    )
    result = provision_week(
        data, request.limits, request.backend, progress=lambda step: report(f"{step.at}; bound {step.bound:,.0f} GPU-s")
    )
    if result.status == INFEASIBLE:
        ttft_s = float(table.objectives["text_ttft_s"])
        raise InfeasibleError(
            f"no fleet of {request.hardware.describe()} serves this demand; {sentence(explain(data, ttft_s))}"
        )
    result.required()
    return PlanStudy(request, table, asked, data, result)


def _clock(seconds: float) -> str:
    """Seconds from the start as days, hours and minutes: "1d 06:05"."""
    minutes = int(seconds // 60)
    days = f"{minutes // 1440}d " if minutes >= 1440 else ""
    return f"{days}{minutes // 60 % 24:02d}:{minutes % 60:02d}"
