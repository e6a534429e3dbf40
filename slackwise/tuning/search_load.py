"""The load of a study: hours of the synthetic week, superposed until they load the GPUs of today's service.

A rate is reached by laying consecutive segments of the week upon each other (`fold`) and thinning the rest; gaps are
never squeezed. It is chosen on the searched part alone. The part that is reported lies on other days of the week.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from slackwise.errors import InputError
from slackwise.simulator import preset, simulate
from slackwise.traces import Trace, fold, scale_rate, synthesize
from slackwise.tuning.search import Service
from slackwise.tuning.search_space import DEFAULT

SEARCH_FROM_H, REPORT_FROM_H = 0.0, 36.0
"""Hours of the week, 0 being Tuesday noon: where the searched and the reported part begin."""

FACTORS = tuple(2.0 ** (step / 4) for step in range(-8, 17))
"""Rates that are tried, in units of the week's own: a quarter to sixteen times, 19 % apart."""

LONGEST_H = REPORT_FROM_H / FACTORS[-1]
"""Longest searched part: at the largest factor it ends where the reported part begins."""

TARGET = 0.75
"""Attainment of today's service that counts as loaded: it hurts, and is not hopeless."""


@dataclass(frozen=True)
class Load:
    """Two parts of the week at `factor` times its rate: one to search on, one to report on."""

    factor: float
    searched: Trace
    reported: Trace


def part(start_h: float, hours: float, factor: float, seed: int) -> Trace:
    """`hours` hours of traffic at `factor` times the week's rate, made of the hours from `start_h` on."""
    segments = math.ceil(factor)
    trace = fold(synthesize(seed, start_h=start_h, duration_h=hours * segments), segments)
    return trace if factor == segments else scale_rate(trace, factor / segments, seed)


def load(service: Service, search_hours: float, report_hours: float, seed: int = 0, target: float = TARGET) -> Load:
    """The highest load of FACTORS at which today's service still attains `target` on the searched part.

    Raises InputError if hours are not positive, or so many that the searched part would run into the reported one.
    """
    if not 0.0 < search_hours <= LONGEST_H or not 0.0 < report_hours < math.inf:
        raise InputError(f"hours to search must be above 0 and at most {LONGEST_H:g}, not {search_hours:g}")
    low, high = 0, len(FACTORS)  # FACTORS[low] is taken to hold, FACTORS[high] not
    while high - low > 1:
        middle = (low + high) // 2
        held = _attainment(part(SEARCH_FROM_H, search_hours, FACTORS[middle], seed), service, seed) >= target
        low, high = (middle, high) if held else (low, middle)
    factor = FACTORS[low]
    return Load(
        factor,
        part(SEARCH_FROM_H, search_hours, factor, seed),
        part(REPORT_FROM_H, report_hours, factor, seed),
    )


def _attainment(trace: Trace, service: Service, seed: int) -> float:
    today = preset(DEFAULT, service.model, service.gpu, service.gpus)
    return float(simulate(trace, today, service.objectives, seed).met.mean())
