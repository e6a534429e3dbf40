"""Plans made again under other terms: what if, the price of safety, the front of cost and attainment."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from slackwise.errors import InfeasibleError, LimitError
from slackwise.solver.demand import budgeted, demand, scenarios
from slackwise.solver.hardware import Hardware
from slackwise.solver.study import PlanStudy, solve_plan
from slackwise.traces import Trace

Change = Callable[[PlanStudy], PlanStudy]

FACTORS = (0.6, 0.8, 1.0, 1.25, 1.6)
"""Of the demand planned for, along the front."""

DRAWS = 20


def what_if(study: PlanStudy) -> dict[str, PlanStudy | None]:
    """Exact re-solves, None where nothing is feasible any more: servers, demand, objectives, start-up time."""
    changes: dict[str, Change] = {
        **_one_server(study, 1, "more"),
        **_one_server(study, -1, "fewer"),
        "demand +10 %": lambda base: _demanded(base, 1.1),
        "demand -10 %": lambda base: _demanded(base, 0.9),
        "objectives 10 % longer": lambda base: _asked(base, slo=1.1 * base.request.slo),
        "objectives 10 % shorter": lambda base: _asked(base, slo=0.9 * base.request.slo),
        "start-up halved": lambda base: _started(base, 0.5),
        "start-up doubled": lambda base: _started(base, 2.0),
    }
    return {name: _tried(study, each) for name, each in changes.items()}


def _one_server(study: PlanStudy, step: int, word: str) -> dict[str, Change]:
    """A server more or fewer of each GPU type that has a limit; one stays at least."""
    hardware, found = study.request.hardware, dict[str, Change]()
    for at, (gpu, count) in enumerate(zip(hardware.gpus, hardware.servers, strict=True)):
        if count is not None and count + step > 0:
            counts = tuple(each if other != at else count + step for other, each in enumerate(hardware.servers))
            name = f"one server {word}" + (f" of {gpu}" if len(hardware.gpus) > 1 else "")
            found[name] = _with_servers(replace(hardware, servers=counts))
    return found


def _with_servers(hardware: Hardware) -> Change:
    return lambda study: _asked(study, hardware=hardware)


def safer(study: PlanStudy, trace: Trace) -> dict[str, PlanStudy | None]:
    """Plans that stand more than the mean: longer delays, drawn scenarios, budgeted uncertainty."""
    base = demand(trace, study.request.window_s)
    changes: dict[str, Change] = {
        "delays x 1.5 (kappa)": lambda found: _asked(found, kappa=1.5),
        f"{DRAWS} scenarios": lambda found: solve_plan(
            scenarios(base, DRAWS, found.request.seed), found.table, found.request
        ),
        "one load at its upper value (Gamma 1)": lambda found: solve_plan(
            budgeted(base, 1.0), found.table, found.request
        ),
    }
    return {name: _tried(study, each) for name, each in changes.items()}


def front(study: PlanStudy) -> dict[float, PlanStudy | None]:
    """Plans for less and for more than what is demanded, by factor."""
    return {factor: study if factor == 1.0 else _tried(study, _factor(factor)) for factor in FACTORS}


def _factor(factor: float) -> Change:
    return lambda study: _demanded(study, factor)


def _tried(study: PlanStudy, change: Change) -> PlanStudy | None:
    try:
        return change(study)
    except (InfeasibleError, LimitError):
        return None


def _asked(study: PlanStudy, **changes: Any) -> PlanStudy:
    return solve_plan(study.demand, study.table, replace(study.request, **changes))


def _demanded(study: PlanStudy, factor: float) -> PlanStudy:
    return solve_plan(study.demand.scaled(factor), study.table, study.request)


def _started(study: PlanStudy, factor: float) -> PlanStudy:
    kinds = tuple(replace(each, start_s=factor * each.start_s) for each in study.table.kinds)
    return solve_plan(study.demand, replace(study.table, kinds=kinds), study.request)
