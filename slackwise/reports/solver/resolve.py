"""Plans made again under other terms: what if, the price of safety, the front of cost and attainment."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from slackwise.errors import InfeasibleError, LimitError
from slackwise.solver.demand import budgeted, demand, scenarios
from slackwise.solver.study import PlanStudy, solve_plan
from slackwise.traces import Trace

Change = Callable[[PlanStudy], PlanStudy]

FACTORS = (0.6, 0.8, 1.0, 1.25, 1.6)
"""Of the demand planned for, along the front."""

DRAWS = 20


def what_if(study: PlanStudy) -> dict[str, PlanStudy | None]:
    """Exact re-solves, None where nothing is feasible any more: servers, demand, objectives, start-up time."""
    servers = study.request.servers
    changes: dict[str, Change] = {
        "one server more": lambda base: _asked(base, servers=servers + 1),
        "one server fewer": lambda base: _asked(base, servers=servers - 1),
        "demand +10 %": lambda base: _demanded(base, 1.1),
        "demand -10 %": lambda base: _demanded(base, 0.9),
        "objectives 10 % longer": lambda base: _asked(base, slo=1.1 * base.request.slo),
        "objectives 10 % shorter": lambda base: _asked(base, slo=0.9 * base.request.slo),
        "start-up halved": lambda base: _started(base, 0.5),
        "start-up doubled": lambda base: _started(base, 2.0),
    }
    if servers == 1:
        del changes["one server fewer"]
    return {name: _tried(study, each) for name, each in changes.items()}


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


def _asked(study: PlanStudy, **changes: float) -> PlanStudy:
    return solve_plan(study.demand, study.table, replace(study.request, **changes))  # type: ignore[arg-type]


def _demanded(study: PlanStudy, factor: float) -> PlanStudy:
    return solve_plan(study.demand.scaled(factor), study.table, study.request)


def _started(study: PlanStudy, factor: float) -> PlanStudy:
    kinds = tuple(replace(each, start_s=factor * each.start_s) for each in study.table.kinds)
    return solve_plan(study.demand, replace(study.table, kinds=kinds), study.request)
