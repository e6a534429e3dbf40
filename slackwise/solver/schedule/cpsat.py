"""CP-SAT under our limits, and what a search of it came to."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from slackwise.optional import require
from slackwise.solver.backend import solver_version
from slackwise.solver.result import Limits, SolveResult, Step, fingerprint


def cp_model() -> Any:
    """The CP-SAT module; InputError with the line that installs it where it is missing."""
    return require("ortools.sat.python.cp_model", "solver")


def cp_solver(limits: Limits) -> Any:
    """A solver: reproducible unless `limits.seconds` ends it, as several workers run interleaved."""
    solver = cp_model().CpSolver()
    parameters = solver.parameters
    parameters.num_workers, parameters.interleave_search = limits.workers, limits.workers > 1
    parameters.random_seed, parameters.relative_gap_limit = limits.seed, limits.gap
    if limits.seconds is not None:
        parameters.max_time_in_seconds = limits.seconds
    if limits.work is not None:
        parameters.max_deterministic_time = limits.work
    return solver


def trajectory(unit: float) -> Any:
    """A callback that keeps every better solution as a Step, objectives in multiples of `unit`."""

    class Trajectory(cp_model().CpSolverSolutionCallback):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.steps: list[Step] = []

        def on_solution_callback(self) -> None:
            name = f"solution {len(self.steps) + 1}"
            self.steps.append(Step(name, unit * self.objective_value, unit * self.best_objective_bound))

    return Trajectory()


def searched(
    solver: Any,
    limits: Limits,
    question: Mapping[str, Any],
    status: str,
    objective: float | None,
    bound: float,
    build_s: float,
    steps: tuple[Step, ...] = (),
    solution: Any = None,
) -> SolveResult:
    """What `solver` found; the fingerprint is of the `question` and of all limits but wall-clock seconds."""
    version = solver_version()
    return SolveResult(
        status=status,
        objective=objective,
        bound=bound,
        solver="cp-sat",
        version=version,
        seed=limits.seed,
        workers=limits.workers,
        fingerprint=fingerprint({**question, "limits": vars(limits) | {"seconds": None}, "v": version}),
        build_s=build_s,
        solve_s=solver.wall_time,
        trajectory=steps,
        solution=solution,
    )
