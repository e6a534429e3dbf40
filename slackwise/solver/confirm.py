"""Plans confirmed by simulation: headroom is raised until the plan, replayed on its demand, meets the target.

Capacities are measured under Poisson arrivals and plans are made for means; real traffic comes in bursts. How much
headroom that takes is found by trying.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from slackwise.errors import InfeasibleError, LimitError
from slackwise.solver.replay import Replayed, replay
from slackwise.solver.study import PlanStudy, solve_plan
from slackwise.traces import Trace

STEPS = (0.0, 0.05, 0.1, 0.2, 0.35, 0.5, 0.75, 1.0, 1.5, 2.0)
"""Headroom on top of what was asked for."""


@dataclass(frozen=True)
class Confirmed:
    """A plan and its replay on the demand that it was made for."""

    study: PlanStudy
    run: Replayed
    met: bool  # whether the target is met; if not, the plan is that of the highest attainment

    @property
    def headroom(self) -> float:
        """Capacity beyond the load, as a share of it."""
        return self.study.request.terms.headroom


def confirmed(study: PlanStudy, trace: Trace, report: Callable[[str], None] = lambda line: None) -> Confirmed:
    """The first plan of STEPS whose replay meets `request.target`; else the one that attains most."""
    best: Confirmed | None = None
    for step in STEPS:
        try:
            tried = study if step == 0.0 else _with_headroom(study, step)
        except (InfeasibleError, LimitError):
            break
        run = Replayed.of(replay(tried, trace)[1])
        found = Confirmed(tried, run, run.attainment >= study.request.target)
        report(f"headroom {100 * found.headroom:.0f} %: replayed, it attains {100 * run.attainment:.1f} %")
        if best is None or run.attainment > best.run.attainment:
            best = found
        if found.met:
            return found
    assert best is not None
    return best


def _with_headroom(study: PlanStudy, step: float) -> PlanStudy:
    terms = replace(study.request.terms, headroom=study.request.terms.headroom + step)
    return solve_plan(study.demand, study.table, replace(study.request, terms=terms))
