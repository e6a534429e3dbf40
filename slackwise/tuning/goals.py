"""What a search goes by: one or two metrics of a run, and bounds that it must keep."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from slackwise.errors import InputError, unknown
from slackwise.simulator import Result
from slackwise.simulator.metrics import QUANTILES
from slackwise.simulator.state import CLASSES
from slackwise.tuning.estimates import ALL, METRICS

COST = "gpu_s"
"""GPU-seconds of a run, from the order of an instance to its release."""

GOALS = {**METRICS, COST: False}
"""Metrics, and whether more is better."""

WORST = 1e9
"""What stands for infinity (a request that was never served): samplers want numbers."""


@dataclass(frozen=True)
class Goal:
    """A metric of GOALS over a class of requests. Raises InputError for an unknown metric or class."""

    metric: str
    category: str = ALL

    def __post_init__(self) -> None:
        if self.metric not in GOALS:
            raise unknown("metric", self.metric, GOALS)
        if self.category not in (ALL, *CLASSES):
            raise unknown("class", self.category, (ALL, *CLASSES))

    @property
    def name(self) -> str:
        """As it is written: `ttft_p99_s`, `image.ttft_p99_s`."""
        return self.metric if self.category == ALL else f"{self.category}.{self.metric}"

    @property
    def more_is_better(self) -> bool:
        """Whether it is maximised."""
        return GOALS[self.metric]

    def better(self, one: float, other: float) -> bool:
        """Whether `one` is better than `other`."""
        return one > other if self.more_is_better else one < other

    def of(self, result: Result) -> float:
        """The metric of a run; the worst number there is where no request is of the class, or one was never served."""
        rows = np.ones(len(result.met), bool) if self.category == ALL else _rows(result, self.category)
        worst = 0.0 if self.more_is_better else WORST
        if not rows.any():
            return worst
        value = _value(self.metric, result, rows)
        return value if np.isfinite(value) else worst

    def of_ttft(self, ttft_s: NDArray[np.float64]) -> float:
        """A metric of TTFT of these seconds, shape (n,); the worst number there is if there are none."""
        return _of_times(self.metric, ttft_s) if len(ttft_s) else WORST


@dataclass(frozen=True)
class Bound:
    """A goal that must be at least, or at most, a number."""

    goal: Goal
    at_least: bool
    limit: float

    @property
    def name(self) -> str:
        """As it is written: `attainment>=0.99`."""
        return f"{self.goal.name}{'>=' if self.at_least else '<='}{self.limit:g}"

    def violation(self, result: Result) -> float:
        """How far it is from being kept, as a share of the limit; 0 or less if it is kept."""
        return self.away(self.goal.of(result))

    def away(self, value: float) -> float:
        """The same of a value of the goal."""
        away = self.limit - value
        return (away if self.at_least else -away) / (abs(self.limit) or 1.0)


def goal(text: str) -> Goal:
    """The goal written as `metric` or `class.metric`. Raises InputError for an unknown one."""
    category, dot, metric = text.strip().rpartition(".")
    return Goal(metric, category if dot else ALL)


def bound(text: str) -> Bound:
    """The bound written as `attainment>=0.99` or `image.ttft_p99_s<=2`. Raises InputError for anything else."""
    parts = re.fullmatch(r"\s*([\w.-]+)\s*(<=|>=)\s*([-+.\deE]+)\s*", text)
    try:
        limit = float(parts[3]) if parts else float("nan")
    except ValueError:
        limit = float("nan")
    if parts is None or not np.isfinite(limit):
        raise InputError(f"the constraint '{text}' is not understood: write attainment>=0.99 or image.ttft_p99_s<=2")
    return Bound(goal(parts[1]), parts[2] == ">=", limit)


def goals(texts: Sequence[str]) -> tuple[Goal, ...]:
    """One or two goals. Raises InputError for more, for one named twice, or for an unknown one."""
    found = tuple(goal(each) for each in texts)
    if not 1 <= len(found) <= 2 or len(set(found)) < len(found):
        raise InputError(f"a search has one objective, or two different ones, not: {', '.join(texts) or 'none'}")
    return found


def _rows(result: Result, category: str) -> NDArray[np.bool_]:
    return np.asarray(result.category == CLASSES.index(category))


def _value(metric: str, result: Result, rows: NDArray[np.bool_]) -> float:
    met = int(result.met[rows].sum())
    simple = {
        "attainment": lambda: met / int(rows.sum()),
        "goodput_rps": lambda: met / result.span_s,
        "gpu_s_per_good": lambda: result.gpu_s / met if met else float("inf"),
        COST: lambda: result.gpu_s,
        "tbt_mean_s": lambda: _mean_gap_s(result, rows),
    }
    if metric in simple:
        return float(simple[metric]())
    return _of_times(metric, (result.ttft_s if metric.startswith("ttft") else result.tbt_s)[rows])


def _of_times(metric: str, times_s: NDArray[np.float64]) -> float:
    """Mean or quantile, as the metric's name says, of one time a request."""
    level = metric.removesuffix("_s").rpartition("_")[2]
    return float(times_s.mean() if level == "mean" else np.quantile(times_s, QUANTILES[level], method="higher"))


def _mean_gap_s(result: Result, rows: NDArray[np.bool_]) -> float:
    served = rows & result.served
    gaps = np.maximum(0, result.output_tokens[served] - 1)
    return float((result.tbt_s[served] * gaps).sum() / max(1, gaps.sum()))
