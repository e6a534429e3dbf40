"""The whole week, every service autoscaled: what pools and queues do from day to day. The paper shows a day."""

from __future__ import annotations

from typing import Any

from numpy.typing import NDArray

from slackwise.traces import Trace
from slackwise.tuning.reproduce.autoscale import MEAN_LOAD, savings, scaled, values
from slackwise.tuning.reproduce.finding import Finding, Row
from slackwise.tuning.reproduce.services import MONOLITH, ROUTING, Tuned, steps
from slackwise.tuning.reproduce.setting import COUNTS, Progress, Setting
from slackwise.tuning.reproduce.timeline import arrivals, gpu_hours, line_of, watched
from slackwise.tuning.reproduce.traffic import at_rate, busy_rate, capped, describe, rate_of, window

DAYS = 7
FLEET = 8
"""The large fleet over the fleet here: as much as one week keeps busy. More traffic would be days laid upon days."""

LEAST_GPUS = 8
"""Room for a text instance and encoders."""

SERVICES = (MONOLITH, ROUTING)
LOOKS = 336
"""One in half an hour."""


def week(setting: Setting, tuned: Tuned, progress: Progress) -> Finding:
    """GPU-hours and attainment of each service over the week, and its time line, for the last model."""
    model, gpus = setting.models[-1], max(LEAST_GPUS, setting.gpus // FLEET)
    trace = _week(setting, model, gpus)
    services = {name: each for name, each in scaled(setting, model, tuned, gpus).items() if name in SERVICES}
    rows: list[Row] = []
    hours: dict[str, NDArray[Any]] = {}
    lines: dict[str, Any] = {"arrivals": arrivals(trace, DAYS * setting.hours, LOOKS)}
    for place, (name, each) in enumerate(services.items()):
        progress(f"{model}, {name}", place / len(services))
        result, samples = watched(setting, trace, each, LOOKS)
        hours[name] = gpu_hours(result, samples)
        rows += values(name, model, result, hours[name])
        lines[name] = line_of(samples)
    rows += savings(setting, model, hours)
    why = "The paper autoscales over one day; here the days that were searched are in it, so it ranks nothing."
    return Finding(tuple(rows), why, (), (describe(trace),), {"week": {model: lines}})


def _week(setting: Setting, model: str, gpus: int) -> Trace:
    """The synthetic week from Tuesday noon, thinned to the mean load of the day that fleets are scaled over."""
    trace = capped(setting.seed, COUNTS[0], 0.0, DAYS * setting.hours)
    wanted = MEAN_LOAD * busy_rate(window(setting, COUNTS[0]), steps(setting, model, gpus)[MONOLITH], setting)
    return at_rate(trace, min(wanted, rate_of(trace)), setting.seed)
