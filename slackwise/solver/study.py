"""A fleet plan from a trace in one call: capacity table, demand, plan, and the plan in words."""

from __future__ import annotations

import hashlib
import math
import os
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from slackwise.errors import InfeasibleError, InputError
from slackwise.latency.gpu import load_gpu
from slackwise.latency.model import load_model
from slackwise.policies.winner import versions
from slackwise.simulator import Cluster, Objectives, Pool, isolated
from slackwise.simulator.cluster import TOPOLOGIES
from slackwise.solver.demand import Demand, budgeted, demand, scenarios
from slackwise.solver.measure import REFERENCE_PARALLEL, default_kinds, measure
from slackwise.solver.planning import check_inflation, plan_data
from slackwise.solver.provisioning.data import DEFAULT_TERMS, PlanData, Terms
from slackwise.solver.provisioning.explain import explain, sentence
from slackwise.solver.provisioning.plan import Plan
from slackwise.solver.provisioning.week import provision_week
from slackwise.solver.result import DEFAULT_LIMITS, INFEASIBLE, Limits, SolveResult, fingerprint
from slackwise.solver.table import CapacityTable, read_table, write_table
from slackwise.traces import Trace

MODEL, GPU = "Llama-3.2-11B-Vision", "A100-80GB"
DEFAULT_TOPOLOGIES = ("monolith", "E+PD")

Report = Callable[[str], None]


@dataclass(frozen=True)
class PlanRequest:
    """What is asked: a model on GPUs, objectives, prices and rules, uncertainty, limits."""

    model: str = MODEL
    gpu: str = GPU
    slo_factor: float = 5.0
    slo_scale: str = "work"
    seed: int = 0
    window_s: float = 300.0
    servers: int = 16
    target: float = 0.95
    topologies: tuple[str, ...] = DEFAULT_TOPOLOGIES
    terms: Terms = DEFAULT_TERMS
    kappa: float = 1.0
    scenarios: int | None = None
    violation: float = 0.01
    budget: float | None = None
    reach: float = 1.0
    levels: int = 8
    slo: float = 1.0  # objectives times this
    table_path: Path | None = None
    limits: Limits = DEFAULT_LIMITS
    backend: str = "highs"

    def __post_init__(self) -> None:
        check_inflation(self.kappa, self.slo, self.levels)  # before anything is measured

    @classmethod
    def of(
        cls,
        model: str | None,
        gpu: str | None,
        slo_factor: float,
        slo_scale: str,
        seed: int,
        options: Mapping[str, Any],
    ) -> PlanRequest:
        """From the options of the command line. Raises InputError for what is out of range."""
        given = dict(options)
        terms = Terms(*(given.pop(name) for name in ("headroom", "switch_gpu_s", "min_up_windows")))
        limits = Limits(given.pop("gap"), given.pop("seconds"), workers=given.pop("workers"), seed=seed)
        given["topologies"] = tuple(given["topologies"]) or DEFAULT_TOPOLOGIES
        names = load_model(model or MODEL).name, load_gpu(gpu or GPU).name
        return cls(*names, slo_factor, slo_scale, seed, terms=terms, limits=limits, **given)

    def objectives(self) -> Objectives:
        """The objectives of the reference monolith."""
        return isolated(self.reference(), REFERENCE_PARALLEL, self.slo_factor, self.slo_scale)

    def reference(self) -> Cluster:
        """The monolith by which objectives are set."""
        return Cluster(self.model, self.gpu, (Pool("EPD", 1, REFERENCE_PARALLEL),))

    def to_json(self) -> dict[str, Any]:
        """The fields, for JSON."""
        return asdict(self) | {"table_path": str(self.table_path) if self.table_path else None}


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

    def schedule(self) -> list[dict[str, Any]]:
        """What to run when: stretches of windows with the same fleet."""
        ready, rows = self.plan.ready, list[dict[str, Any]]()
        edges = [0, *(np.flatnonzero(np.any(np.diff(ready, axis=0), axis=1)) + 1).tolist(), len(ready)]
        gpus = self.plan.gpus(self.data)
        for first, last in pairwise(edges):
            fleet = [f"{count} x {self.data.kinds[at].name}" for at, count in enumerate(ready[first].tolist()) if count]
            rows.append(
                {
                    "windows": f"{first} to {last - 1}" if last - first > 1 else str(first),
                    "from": _clock(first * self.data.window_s),
                    "fleet": ", ".join(fleet).replace(f" on {self.request.gpu}", "") or "nothing",
                    "gpus": int(gpus[first]),
                }
            )
        return rows

    def to_json(self, times: bool = True) -> dict[str, Any]:
        """Everything, for JSON."""
        return {
            "request": self.request.to_json(),
            "objectives": self.table.objectives,
            "result": self.result.to_json(times),
            "plan": self.plan.to_json(self.data),
            "schedule": self.schedule(),
        }


def plan_for(trace: Trace, request: PlanRequest, report: Report = lambda line: None) -> PlanStudy:
    """Plan for `trace`. Raises InfeasibleError with what would have to give way, and the errors of bad data."""
    for name in request.topologies:
        if name not in TOPOLOGIES:
            raise InputError(f"unknown topology '{name}'. Known: {', '.join(TOPOLOGIES)}")
    if request.budget is not None and request.scenarios is not None:
        raise InputError("give --scenarios or --budget, not both")
    base = demand(trace, request.window_s)
    table = capacity_table(trace, request, report)
    asked = base
    if request.budget is not None:
        asked = budgeted(base, request.budget, request.reach)
    elif request.scenarios is not None:
        asked = scenarios(base, request.scenarios, request.seed, request.violation)
    return solve_plan(asked, table, request, report)


def solve_plan(
    asked: Demand, table: CapacityTable, request: PlanRequest, report: Report = lambda line: None
) -> PlanStudy:
    """Plan for a demand on a table; see `plan_for`."""
    data = plan_data(
        asked,
        table,
        {request.gpu: request.servers},
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
            f"no fleet of {request.servers} servers serves this demand; {sentence(explain(data, ttft_s))}"
        )
    result.required()
    return PlanStudy(request, table, asked, data, result)


def capacity_table(trace: Trace, request: PlanRequest, report: Report) -> CapacityTable:
    """The table at `request.table_path`, or of the user's cache; measured and kept there if it does not exist.

    Raises InputError for a table of another model, or one that cannot be read.
    """
    path = request.table_path or _cache(trace, request)
    if path.exists():
        table = read_table(path)
        _check_table(path, table, request)
        return table
    kinds = default_kinds(request.model, request.gpu, [TOPOLOGIES[each] for each in request.topologies])
    table = measure(
        trace, request.model, kinds, request.objectives(), request.target, seed=request.seed, progress=report
    )
    if request.table_path is None:
        path.parent.mkdir(parents=True, exist_ok=True)
    write_table(path, table)
    return table


def _check_table(path: Path, table: CapacityTable, request: PlanRequest) -> None:
    """Raise InputError unless the table was measured for what is asked now."""
    asked = [("model", table.model, request.model), ("share within the objectives", table.quantile, request.target)]
    asked += [("GPU", kind.gpu, request.gpu) for kind in table.kinds]
    objectives = request.objectives().to_json()
    asked += [(f"objective {name}", table.objectives.get(name), value) for name, value in objectives.items()]
    for what, has, wanted in asked:
        same = math.isclose(has, wanted) if isinstance(has, float) and isinstance(wanted, float) else has == wanted
        if not same:
            raise InputError(f"{path} was measured for {what} {has}, not {wanted}: name another --table to measure one")


def _cache(trace: Trace, request: PlanRequest) -> Path:
    """Where the table of this traffic, model and objectives is kept."""
    rows = hashlib.sha256(b"".join(np.ascontiguousarray(each).tobytes() for each in _columns(trace))).hexdigest()
    asked = {name: getattr(request, name) for name in ("model", "gpu", "target", "topologies", "seed")}
    key = fingerprint({"rows": rows, **asked, "objectives": request.objectives().to_json(), **versions()})
    folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "slackwise"
    return folder / f"capacity-{key}.json"


def _columns(trace: Trace) -> tuple[Any, ...]:
    return trace.images, trace.context_tokens, trace.output_tokens


def _clock(seconds: float) -> str:
    """Seconds from the start as days, hours and minutes: "1d 06:05"."""
    minutes = int(seconds // 60)
    days = f"{minutes // 1440}d " if minutes >= 1440 else ""
    return f"{days}{minutes // 60 % 24:02d}:{minutes % 60:02d}"
