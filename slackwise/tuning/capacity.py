"""Capacity: the highest rate of a trace's traffic that a configuration serves within its objectives.

The trace is thinned or superposed, never squeezed: a higher rate keeps its bursts and hours. Requests at a lower
rate are a subset of those at a higher one, so that attainment falls steadily and bisection finds where it crosses the
target.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from slackwise.errors import InputError
from slackwise.simulator import Configuration, Objectives, Simulation
from slackwise.traces import Trace, scale_rate
from slackwise.traces.resample import period_s

TARGET = 0.99
"""Share of requests that must meet both objectives: P99 within the objective, as ModServe judges (SoCC 2025, 5.1)."""

TOLERANCE = 0.02
HIGHEST = 64.0
FEWEST_REQUESTS = 200
"""No rate is tried that leaves fewer requests than this: attainment of 99 % could not be told there."""


@dataclass(frozen=True)
class Probe:
    """One rate that was tried."""

    factor: float  # times the rate of the trace
    requests_per_s: float
    attainment: float  # share of requests that met both objectives


@dataclass(frozen=True)
class Capacity:
    """Verdict "found": `passing` met the target and `failing` did not, and their rates are within the tolerance.

    "above": the highest rate asked for still passes. "below": even the lowest one fails, so there is no `passing`.
    """

    configuration: Configuration
    objectives: Objectives
    verdict: str
    passing: Probe | None
    failing: Probe | None
    probes: tuple[Probe, ...]  # in the order tried
    target: float
    tolerance: float

    @property
    def requests_per_s(self) -> float:
        """The highest rate shown to be within the objectives; 0 for the verdict "below"."""
        return self.passing.requests_per_s if self.passing else 0.0

    def describe(self) -> str:
        """The verdict in one line."""
        name = self.configuration.name
        if self.passing is None:
            lowest = self.probes[-1]
            return (
                f"{name}: none. Even at {lowest.requests_per_s:.3g} requests/s {lowest.attainment:.3%} meet their "
                f"objectives, not {self.target:.3%}: try another --slo-scale, --slo-factor or --target"
            )
        passing, failing = self.passing, self.failing
        met = f"{passing.requests_per_s:.3g} requests/s (rate x {passing.factor:.3g}; {passing.attainment:.3%} met)"
        if failing is None:
            return f"{name}: {met}, the highest rate asked for"
        return f"{name}: {met}; not {failing.requests_per_s:.3g} ({failing.attainment:.3%})"

    def to_json(self) -> dict[str, Any]:
        """Everything, for JSON."""
        cluster = self.configuration.cluster
        return {
            "name": self.configuration.name,
            "verdict": self.verdict,
            "requests_per_s": self.requests_per_s,
            "requests_per_s_per_gpu": self.requests_per_s / cluster.gpus,
            "factor": self.passing.factor if self.passing else 0.0,
            "passing": asdict(self.passing) if self.passing else None,
            "failing": asdict(self.failing) if self.failing else None,
            "target": self.target,
            "tolerance": self.tolerance,
            "probes": [asdict(each) for each in self.probes],
            "cluster": cluster.describe(),
            "policies": self.configuration.policies.to_dict(),
            "objectives": self.objectives.to_json(),
        }


def capacity(
    trace: Trace,
    configuration: Configuration,
    objectives: Objectives,
    target: float = TARGET,
    tolerance: float = TOLERANCE,
    highest: float = HIGHEST,
    seed: int = 0,
    image_context: str = "subtract",
    progress: Callable[[Probe], None] | None = None,
) -> Capacity:
    """The highest rate, in multiples of the trace's up to `highest`, at which `target` of the requests meet objectives.

    Doubles or halves from the trace's own rate to a bracket, then bisects it (geometrically) until its ends differ by
    no more than `tolerance`. `progress` is told every rate tried. Raises InputError for a target outside (0, 1], a
    tolerance outside [0.001, 1], a highest rate that leaves too few requests, and as `simulate` does.
    """
    check_search(target, tolerance)
    lowest = _lowest(trace, highest)
    probes: list[Probe] = []

    def passes(factor: float) -> bool:
        probes.append(_probe(trace, factor, configuration, objectives, seed, image_context))
        if progress is not None:
            progress(probes[-1])
        return probes[-1].attainment >= target

    low, high = _bracket(passes, lowest, highest)
    while low and high and high / low > 1.0 + tolerance:
        middle = math.sqrt(low * high)
        low, high = (middle, high) if passes(middle) else (low, middle)
    at = {each.factor: each for each in probes}
    passing, failing = at.get(low or 0.0), at.get(high or 0.0)
    verdict = "below" if passing is None else "above" if failing is None else "found"
    return Capacity(configuration, objectives, verdict, passing, failing, tuple(probes), target, tolerance)


def attainment_at(
    trace: Trace,
    configuration: Configuration,
    objectives: Objectives,
    seed: int = 0,
    image_context: str = "subtract",
) -> float:
    """Share of requests that meet their objectives, without serving an overload to its end.

    The run stops when no unfinished request could still meet both objectives (arrival + TTFT objective + TBT objective
    for every token but the first), so the share is exact whatever the backlog.
    """
    simulation = Simulation(trace, configuration, objectives, seed, image_context)
    requests, progress = simulation.workload.requests, simulation.workload.progress
    gaps, slowest_s = np.maximum(1, progress.output_tokens - 1), objectives.tbt_s(requests.images)
    simulation.run_until(float((requests.deadline_s + slowest_s * gaps).max()))
    ttft_s = progress.first_token_s - requests.arrival_s
    tbt_s = np.where(progress.output_tokens > 1, (progress.finish_s - requests.arrival_s - ttft_s) / gaps, 0.0)
    met = (ttft_s <= requests.deadline_s - requests.arrival_s) & (tbt_s <= slowest_s)  # nan, unfinished, is not
    return float(met.sum() / len(trace))


def _probe(
    trace: Trace, factor: float, configuration: Configuration, objectives: Objectives, seed: int, image_context: str
) -> Probe:
    scaled = trace if factor == 1.0 else scale_rate(trace, factor, seed)
    attained = attainment_at(scaled, configuration, objectives, seed, image_context)
    return Probe(factor, len(scaled) / period_s(trace), attained)


def _bracket(passes: Callable[[float], bool], lowest: float, highest: float) -> tuple[float | None, float | None]:
    """A factor that passes and a higher one that fails, at most twice as high; None for an end that was not found."""
    factor = min(1.0, highest)
    if passes(factor):
        while factor < highest:
            wider = min(2.0 * factor, highest)
            if not passes(wider):
                return factor, wider
            factor = wider
        return factor, None
    while factor > lowest:
        lower = max(factor / 2.0, lowest)
        if passes(lower):
            return lower, factor
        factor = lower
    return None, factor


def check_search(target: float, tolerance: float) -> None:
    """Raise InputError for a target outside (0, 1] or a tolerance outside [0.001, 1]."""
    if not 0.0 < target <= 1.0:
        raise InputError(f"target is {target:g}: it must be above 0 and at most 1")
    if not 0.001 <= tolerance <= 1.0:
        raise InputError(f"tolerance is {tolerance:g}: it must be from 0.001 to 1")


def _lowest(trace: Trace, highest: float) -> float:
    """The lowest factor to try."""
    if len(trace) == 0:
        raise InputError("the trace has no request in the window")
    lowest = min(1.0, FEWEST_REQUESTS / len(trace))
    if not lowest <= highest < math.inf:
        raise InputError(f"the highest rate factor is {highest:g}: it must be at least {lowest:g} for this window")
    return lowest
