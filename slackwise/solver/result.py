"""What a solve gives: a verdict, an objective, a bound that holds, and all that is needed to get it again."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from slackwise.errors import InfeasibleError, InputError, LimitError, UnboundedError

OPTIMAL, FEASIBLE, INFEASIBLE, UNBOUNDED, LIMIT = "optimal", "feasible", "infeasible", "unbounded", "limit"
"""Verdicts. "optimal": the gap asked for is proved; "feasible": a limit came first; "limit": it came before any
solution."""

TIMES = ("build_s", "solve_s")
"""Fields that differ from run to run."""


@dataclass(frozen=True)
class Limits:
    """When to stop. Only limits of work are reproducible; a limit of seconds is not."""

    gap: float = 0.01  # relative gap that counts as optimal
    seconds: float | None = None  # wall clock
    work: float | None = None  # CP-SAT: deterministic time; HiGHS: nodes of the search tree
    workers: int = 1  # CP-SAT only; more than one run interleaved, so that they stay reproducible
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0.0 <= self.gap < 1.0:
            raise InputError(f"gap is {self.gap:g}: it must be from 0 to below 1")
        for name in ("seconds", "work"):
            value = getattr(self, name)
            if value is not None and not 0.0 <= value < math.inf:
                raise InputError(f"{name} is {value:g}: a limit must be 0 or more")
        if self.workers < 1:
            raise InputError(f"workers is {self.workers}: it must be at least 1")


DEFAULT_LIMITS = Limits()


@dataclass(frozen=True)
class Step:
    """A point of the trajectory: how far the search was, and what it knew."""

    at: str  # the stage of the search: "block 3 of 12", "solution 2"
    objective: float | None
    bound: float


@dataclass(frozen=True)
class SolveResult:
    """The outcome of one solve. `bound` holds also without a solution: no solution is better than it."""

    status: str  # a verdict
    objective: float | None
    bound: float
    solver: str
    version: str
    seed: int
    workers: int
    fingerprint: str  # of the data, the options and the versions
    build_s: float = 0.0
    solve_s: float = 0.0
    trajectory: tuple[Step, ...] = ()
    solution: Any = field(default=None, repr=False)

    @property
    def gap(self) -> float | None:
        """(objective - bound) / objective, 0 if both are 0; None without a solution."""
        if self.objective is None:
            return None
        distance = max(0.0, self.objective - self.bound)
        return 0.0 if distance == 0.0 else distance / abs(self.objective) if self.objective else math.inf

    def required(self) -> SolveResult:
        """This result if it holds a solution. Raises the error of its verdict, each with its own exit code."""
        if self.solution is not None:
            return self
        if self.status == INFEASIBLE:
            raise InfeasibleError("proved infeasible: nothing meets every constraint")
        if self.status == UNBOUNDED:
            raise UnboundedError("unbounded: the objective falls without end; is a price negative?")
        known = f"; the objective is {self.bound:g} or more" if math.isfinite(self.bound) else ""
        raise LimitError(f"a limit was reached before any solution was found{known}")

    def to_json(self, times: bool = True) -> dict[str, Any]:
        """For JSON, the solution left out; without `times`, the same input gives the same bytes."""
        gap = self.gap
        document = {
            "status": self.status,
            "objective": self.objective,
            "bound": finite(self.bound),
            "gap": None if gap is None else finite(gap),
            "build_s": self.build_s,
            "solve_s": self.solve_s,
            "workers": self.workers,
            "seed": self.seed,
            "solver": self.solver,
            "version": self.version,
            "fingerprint": self.fingerprint,
            "trajectory": [vars(each) | {"bound": finite(each.bound)} for each in self.trajectory],
        }
        return document if times else {key: value for key, value in document.items() if key not in TIMES}


def finite(value: float) -> float | None:
    """The value, or None where JSON has no number for it."""
    return value if math.isfinite(value) else None


def fingerprint(document: Mapping[str, Any]) -> str:
    """sha256 of a JSON document, first 16 hex digits: the same input has the same one."""
    text = json.dumps(document, sort_keys=True, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
