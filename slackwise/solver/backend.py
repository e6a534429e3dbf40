"""The door to the MIP solvers: MathOpt (OR-Tools) with HiGHS, or with CP-SAT as a second opinion."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from functools import cache
from importlib.metadata import version
from typing import Any

from slackwise.errors import CheckError, unknown
from slackwise.optional import require
from slackwise.solver.result import FEASIBLE, INFEASIBLE, LIMIT, OPTIMAL, UNBOUNDED, Limits

BACKENDS = ("highs", "cp-sat")


@dataclass(frozen=True)
class Answer:
    """What a backend says about one model."""

    status: str
    objective: float | None
    bound: float
    values: Mapping[Any, float] | None  # variable -> value
    solve_s: float


@cache
def mathopt() -> Any:
    """The MathOpt module; InputError with the line that installs it where it is missing."""
    return require("ortools.math_opt.python.mathopt", "solver")


def solver_version() -> str:
    """Version of OR-Tools, which brings both solvers along."""
    return version("ortools")


def solve(model: Any, limits: Limits, backend: str = "highs", hint: Mapping[Any, float] | None = None) -> Answer:
    """Minimise a MathOpt model. `hint` is a solution, whole or in part, to start from.

    HiGHS takes no number of threads here, so `limits.workers` is for CP-SAT alone. Raises InputError for an unknown
    backend, CheckError if the solver fails.
    """
    if backend not in BACKENDS:
        raise unknown("backend", backend, BACKENDS)
    start = time.perf_counter()
    found = _run(model, limits, backend, hint)
    if found.termination.reason == mathopt().TerminationReason.INFEASIBLE_OR_UNBOUNDED:
        model.objective.clear()  # without an objective only infeasibility is left
        status = INFEASIBLE if _answer(_run(model, limits, backend, None), 0.0).status == INFEASIBLE else UNBOUNDED
        return Answer(status, None, math.inf if status == INFEASIBLE else -math.inf, None, time.perf_counter() - start)
    return _answer(found, time.perf_counter() - start)


def _run(model: Any, limits: Limits, backend: str, hint: Mapping[Any, float] | None) -> Any:
    kind = mathopt().SolverType.HIGHS if backend == "highs" else mathopt().SolverType.CP_SAT
    parameters, start = _parameters(limits, backend), _model_parameters(hint)
    try:
        return mathopt().solve(model, kind, params=parameters, model_params=start)
    except Exception as error:
        raise CheckError(f"{backend} failed: {error.__context__ or error}") from None


def _parameters(limits: Limits, backend: str) -> Any:
    parameters = mathopt().SolveParameters(relative_gap_tolerance=limits.gap, random_seed=limits.seed)
    if limits.seconds is not None:
        parameters.time_limit = timedelta(seconds=limits.seconds)
    if backend == "highs":
        if limits.work is not None:
            parameters.node_limit = int(limits.work)
        return parameters
    parameters.threads = limits.workers
    parameters.cp_sat.interleave_search = limits.workers > 1
    if limits.work is not None:
        parameters.cp_sat.max_deterministic_time = limits.work
    return parameters


def _model_parameters(hint: Mapping[Any, float] | None) -> Any:
    parameters = mathopt().ModelSolveParameters()
    if hint:
        parameters.solution_hints.append(mathopt().SolutionHint(variable_values=dict(hint)))
    return parameters


def _answer(found: Any, solve_s: float) -> Answer:
    reasons = mathopt().TerminationReason
    reason, bounds = found.termination.reason, found.termination.objective_bounds
    has = bool(found.solutions) and found.has_primal_feasible_solution()
    if reason == reasons.OPTIMAL:
        status = OPTIMAL
    elif reason == reasons.INFEASIBLE:
        status = INFEASIBLE
    elif reason == reasons.UNBOUNDED:
        status = UNBOUNDED
    elif reason in (reasons.FEASIBLE, reasons.NO_SOLUTION_FOUND, reasons.IMPRECISE):
        status = FEASIBLE if has else LIMIT
    else:
        raise CheckError(f"the solver ended with {reason}: {found.termination.detail}")
    bound = float(bounds.dual_bound) if bounds is not None else -math.inf
    objective = float(found.objective_value()) if has else None
    values = found.variable_values() if has else None
    return Answer(status, objective, bound if status != INFEASIBLE else math.inf, values, solve_s)
