"""How fast the solver is, and how good its bounds: a week's plan, a rolling one, late requests, 10,000 requests."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from slackwise.simulator import isolated
from slackwise.simulator.presets import preset
from slackwise.simulator.speed import machine, versions
from slackwise.solver.backend import solver_version
from slackwise.solver.demand import Demand, demand
from slackwise.solver.measure import default_kinds, measure
from slackwise.solver.planning import plan_data
from slackwise.solver.provisioning.data import Kind, PlanData
from slackwise.solver.provisioning.plan import Plan
from slackwise.solver.provisioning.week import provision_week
from slackwise.solver.request import PlanRequest
from slackwise.solver.result import Limits
from slackwise.solver.schedule.bounds import time_indexed
from slackwise.solver.schedule.intervals import interval_bound
from slackwise.solver.schedule.ladder import Window, policy_costs, serial_relaxation
from slackwise.solver.schedule.late import fewest_late_serial
from slackwise.solver.schedule.offline import selected
from slackwise.solver.schedule.problem import LATE, TTFT, Relaxation, relaxation
from slackwise.solver.table import CapacityTable
from slackwise.traces import Trace, fold, synthesize

Progress = Callable[[str], None]


@dataclass(frozen=True)
class Sizes:
    """What is solved."""

    rows: int = 1_000_000  # of the synthetic week
    factor: float = 20.0  # on its rates: the fleet then takes up most of 16 servers
    servers: int = 16
    horizon: int = 24  # windows of a rolling plan
    turns: int = 12  # rolling plans, spread over the week
    late: int = 80  # requests on 4 servers that serve one at a time
    bound: int = 10_000
    sample: int = 1500  # requests of a point of the capacity table


FULL = Sizes()
SMALL = Sizes(rows=20_000, factor=200.0, turns=2, late=12, bound=100, sample=100)


def solve_speed(seed: int = 0, sizes: Sizes = FULL, progress: Progress = lambda line: None) -> dict[str, Any]:
    """All figures; seconds are of the wall clock, and building a model is told apart from solving it."""
    trace = synthesize(seed, rows=sizes.rows)
    asked, table, table_s = _table(trace, sizes, seed)
    progress(f"capacity table of {len(table.kinds)} kinds in {table_s:.1f} s")
    week, data, plan = _week(asked, table, sizes)
    progress(f"week: {week['week_s']:.1f} s, gap {100 * week['week_gap']:.2f} %")
    rolling = _rolling(data, plan, sizes)
    progress(f"rolling: {rolling['rolling_s']:.2f} s at worst")
    late = _late(sizes, seed)
    progress(f"late requests: {late['late_80x4_s']:.2f} s, {late['late_80x4_status']}")
    bounds = _bounds(sizes, seed, progress)
    found = {"table_s": table_s, **week, **rolling, **late, **bounds}
    rounded = {name: round(each, 4) if isinstance(each, float) else each for name, each in found.items()}
    return rounded | {"seed": seed, "machine": machine(), "versions": versions() | {"ortools": solver_version()}}


def _table(trace: Trace, sizes: Sizes, seed: int) -> tuple[Demand, CapacityTable, float]:
    """(demand of the week in windows of 5 minutes, capacities of the default kinds and of encoders that batch)."""
    begun = time.perf_counter()
    request = PlanRequest(seed=seed)
    kinds = default_kinds(request.model, request.gpu)
    encoder = next(kind for kind in kinds if kind.stages == "E")
    every: tuple[Kind, ...] = (*kinds, replace(encoder, batch=8))
    table = measure(trace, request.model, every, request.objectives(), requests=sizes.sample, seed=seed, sizes=(1,))
    return demand(trace, request.window_s).scaled(sizes.factor), table, time.perf_counter() - begun


def _week(asked: Demand, table: CapacityTable, sizes: Sizes) -> tuple[dict[str, Any], PlanData, Plan]:
    begun = time.perf_counter()
    data = plan_data(asked, table, {table.kinds[0].gpu: sizes.servers})
    built = time.perf_counter()
    result = provision_week(data, Limits(gap=0.01, workers=2)).required()
    solved = time.perf_counter()
    plan: Plan = result.solution
    facts = {
        "week_s": solved - begun,
        "week_build_s": built - begun + result.build_s,
        "week_gap": result.gap,
        "week_status": result.status,
        "week_windows": data.windows,
        "week_kinds": len(data.kinds),
        "week_most_gpus": int(plan.gpus(data).max()),
    }
    return facts, data, plan


def _rolling(data: PlanData, plan: Plan, sizes: Sizes) -> dict[str, Any]:
    """Plans of the next windows from the fleet that is there, at times spread over the week."""
    seconds, build, gaps = [], [], []
    for first in np.linspace(1, data.windows - sizes.horizon, sizes.turns).astype(int).tolist():
        before = {kind: int(count) for kind, count in enumerate(plan.ready[first - 1]) if count}
        begun = time.perf_counter()
        ahead = replace(data.cut(first, first + sizes.horizon, before), lead_s=data.window_s)
        result = provision_week(ahead, Limits(gap=0.01)).required()
        seconds.append(time.perf_counter() - begun)
        build.append(result.build_s)
        gaps.append(result.gap or 0.0)
    return {
        "rolling_s": max(seconds),
        "rolling_median_s": statistics.median(seconds),
        "rolling_build_s": max(build),
        "rolling_gap": max(gaps),
        "rolling_windows": sizes.horizon,
        "rolling_turns": len(seconds),
    }


def _late(sizes: Sizes, seed: int) -> dict[str, Any]:
    window = _window("vllm", sizes.late, 2, seed, sequences=1)
    begun = time.perf_counter()
    problem = window.serial()
    built = time.perf_counter()
    found = fewest_late_serial(problem, Limits(gap=0.0, work=20.0, seed=seed))
    return {
        "late_80x4_s": time.perf_counter() - built,
        "late_80x4_build_s": built - begun,
        "late_80x4_status": found.status,
        "late_80x4_objective": found.objective,
        "late_80x4_bound": found.bound,
    }


def _bounds(sizes: Sizes, seed: int, progress: Progress) -> dict[str, Any]:
    """Bounds of 10,000 requests beside the best registered policies; the first row is `bound_10k_*`."""
    serial = _window("vllm", sizes.bound, 1, seed, sequences=1)
    problem = serial.serial()
    alone = serial_relaxation(relaxation(serial.run()), problem)
    cases: list[tuple[Window, str, Relaxation, Callable[[], float]]] = []
    for objective, folds in ((TTFT, 4), (TTFT, 8), (TTFT, 16), (LATE, 4), (LATE, 16)):
        batching = _window("modserve", sizes.bound, folds, seed)
        relaxed = relaxation(batching.run())
        cases.append((batching, objective, relaxed, lambda r=relaxed, o=objective: time_indexed(r, o)))  # type: ignore[misc]
    cases.append((serial, LATE, alone, lambda: max(interval_bound(problem), time_indexed(alone, LATE))))
    rows = []
    for window, objective, relaxed, bound_of in cases:
        begun = time.perf_counter()
        bound = bound_of()
        seconds = time.perf_counter() - begun
        costs, _ = policy_costs(window, relaxed, objective)
        best = next(iter(costs))
        known = min(costs[best], selected(problem).cost(problem, LATE)) if window is serial else costs[best]
        rows.append(
            {
                "fleet": window.configuration.cluster.describe(),
                "sequences": window.sequences,
                "objective": objective,
                "requests_per_s": round(len(window.trace) / window.trace.span_s, 3),
                "bound": round(bound, 2),
                "seconds": round(seconds, 3),
                "best_policy": best,
                "best_cost": round(costs[best], 2),
                "best_known": round(known, 2),
                "ratio": round(bound / costs[best], 4) if costs[best] else 1.0,
            }
        )
        progress(f"bound of {objective}: {rows[-1]['ratio']} of the best policy's cost in {seconds:.1f} s")
    return {"bound_10k_s": rows[0]["seconds"], "bound_10k_ratio": rows[0]["ratio"], "bound_10k": rows}


def _window(name: str, requests: int, folds: int, seed: int, sequences: int | None = None) -> Window:
    """The first requests of the week from its second day on, `folds` times as dense, on 16 A100s."""
    trace = fold(synthesize(seed, start_h=30, duration_h=120), folds).take(slice(0, requests))
    configuration = preset(name, "Llama-3.2-11B-Vision", gpus=16)
    return Window(trace, configuration, isolated(configuration.cluster, scale="work"), seed, sequences)
