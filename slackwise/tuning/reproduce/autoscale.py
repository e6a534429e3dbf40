"""Section 5.2: GPUs over a day with an image burst, every service autoscaled."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from slackwise.simulator import Configuration, Result
from slackwise.simulator.provisioning import Provisioning
from slackwise.streams import stream
from slackwise.traces import Trace, fold, scale_rate
from slackwise.traces.resample import noted
from slackwise.tuning.interval import CONFIDENCE
from slackwise.tuning.reproduce import paper
from slackwise.tuning.reproduce.finding import CHECK, OURS, Finding, Row, judged, number
from slackwise.tuning.reproduce.services import MONOLITH, ROUTING, TUNED, TUNED_TODAY, Tuned, others, steps
from slackwise.tuning.reproduce.setting import COUNTS, INTERN, LLAMA, Progress, Setting
from slackwise.tuning.reproduce.timeline import HOUR_S, arrivals, gpu_hours, line_of, watched
from slackwise.tuning.reproduce.traffic import DAY_H, JUDGED_H, busy_rate, capped, rate_of, window

FLEET = 4
"""The large fleet over the fleet here, for time: a day has many requests."""

MEAN_LOAD = 0.12
"""Mean rate of the day, as a share of the fleet's busy rate."""

BURST_AT, BURST_LENGTH, BURST = 14 / 24, 1 / 24, 3
"""The burst begins at this share of the day, for such a share, and adds so many times its image requests."""

LOOKS = 288
RESAMPLES = 1000
SCALED = "modserve_ceil"
INTERVAL_S = 60.0
"""Seconds between two looks of the autoscaler, which resizes every five minutes and when objectives are missed."""


def autoscale(setting: Setting, tuned: Tuned, progress: Progress) -> Finding:
    """GPU-hours and attainment of each service on one day, and its time line."""
    rows: list[Row] = []
    lines: dict[str, Any] = {}
    saved: dict[str, float] = {}
    for at, model in enumerate(setting.models):
        services = scaled(setting, model, tuned, setting.gpus // FLEET)
        day = burst_day(setting, model)
        hours: dict[str, NDArray[np.float64]] = {}
        for place, (name, each) in enumerate(services.items()):
            progress(f"{model}, {name}", (at + place / len(services)) / len(setting.models))
            result, samples = watched(setting, day, each, LOOKS)
            hours[name] = gpu_hours(result, samples)
            rows += values(name, model, result, hours[name])
            if name in (MONOLITH, ROUTING, TUNED):
                lines.setdefault(model, {})[name] = line_of(samples)
        lines.setdefault(model, {})["arrivals"] = arrivals(day, setting.hours, LOOKS)
        rows += savings(setting, model, hours)
        saved[model] = 100 * (1 - float(hours[ROUTING].sum() / hours[MONOLITH].sum()))
    why = (
        "Both sides pay for a start-up time that the paper does not give, our day and its burst are made, and a "
        "fleet a fourth as large rounds coarser: a monolith is four GPUs, an encoder one."
    )
    goals = []
    if {LLAMA, INTERN} <= set(saved):
        by = f"Llama {saved[LLAMA]:.1f} %, InternVL {saved[INTERN]:.1f} %"
        what = "the decoder-only model saves fewer GPUs than the cross-attention model"
        goals.append(judged(what, saved[INTERN] < saved[LLAMA], by))
    return Finding(tuple(rows), why, tuple(goals), (), {"day": lines})


def burst_day(setting: Setting, model: str) -> Trace:
    """A day of several days of the week laid upon each other, hour by hour, with more images for an hour."""
    gpus = setting.gpus // FLEET
    wanted = MEAN_LOAD * busy_rate(window(setting, COUNTS[0]), steps(setting, model, gpus)[MONOLITH], setting)
    one = capped(setting.seed, COUNTS[0], JUDGED_H, DAY_H)
    days = max(1, int(np.ceil(wanted / rate_of(one))))
    start_h = JUDGED_H - JUDGED_H % DAY_H - 12.0 + DAY_H
    trace = fold(capped(setting.seed, COUNTS[0], start_h, DAY_H * days), days)
    trace = scale_rate(trace, min(1.0, wanted / rate_of(trace)), setting.seed)
    length_s = setting.hours * HOUR_S
    trace = trace.take(trace.arrival_s < length_s)
    inside = (trace.arrival_s >= BURST_AT * length_s) & (trace.arrival_s < (BURST_AT + BURST_LENGTH) * length_s)
    hot = trace.take(inside & (trace.images > 0))
    return _with_copies(trace, hot, setting)


def _with_copies(trace: Trace, hot: Trace, setting: Setting) -> Trace:
    """The trace with BURST copies of `hot`, each request moved to a time of its own inside the burst."""
    moved = [trace]
    for copy in range(BURST):
        order = stream(setting.seed, f"reproduce.burst/{copy}").permutation(len(hot))
        moved.append(replace(hot.take(order), arrival_s=hot.arrival_s))
    columns = ("arrival_s", "recorded_images", "context_tokens", "output_tokens")
    joined = {name: np.concatenate([getattr(each, name) for each in moved]) for name in columns}
    order = np.argsort(joined["arrival_s"], kind="stable")
    told = f"image requests of {BURST_LENGTH:.1%} of the day times {1 + BURST}"
    return noted(replace(trace, **{name: column[order] for name, column in joined.items()}), told)


def scaled(setting: Setting, model: str, tuned: Tuned, gpus: int) -> dict[str, Configuration]:
    """The services, each with the paper's autoscaler, on the fleet that they may grow to."""
    made = steps(setting, model, gpus) | others(setting, model, gpus, tuned)
    wanted = [name for name in (MONOLITH, ROUTING, TUNED, TUNED_TODAY) if name in made]
    settings = Provisioning(interval_s=INTERVAL_S, gpu_cap=gpus)
    scaled = {name: made[name].policies.changed([f"provisioning={SCALED}"]) for name in wanted}
    return {name: replace(made[name], policies=each, provisioning=settings) for name, each in scaled.items()}


def values(name: str, model: str, result: Result, hours: NDArray[np.float64]) -> list[Row]:
    p99 = number(float(np.quantile(result.ttft_s, 0.99, method="higher")))
    return [
        Row(f"{name}: GPU-hours", model, result.gpu_s / HOUR_S, "h", main=name in (MONOLITH, ROUTING, TUNED)),
        Row(f"{name}: SLO met", model, 100 * float(result.met.mean()), "%", main=True),
        Row(f"{name}: P99 TTFT", model, p99, "s"),
    ]


def savings(setting: Setting, model: str, hours: Mapping[str, NDArray[np.float64]]) -> list[Row]:
    """GPU-hours saved against the monolith, hours resampled in pairs."""
    rows, base = [], hours[MONOLITH]
    draws = stream(setting.seed, "reproduce.hours").integers(0, len(base), (RESAMPLES, len(base)))
    for name, each in hours.items():
        if name != MONOLITH:
            count = min(len(base), len(each))
            resampled = 100 * (1 - each[:count][draws % count].sum(1) / base[:count][draws % count].sum(1))
            low, high = np.quantile(resampled, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
            value = 100 * (1 - float(each.sum() / base.sum()))
            said = paper.GPUS_SAVED[model] if name == ROUTING else None
            use = CHECK if said else OURS
            what = f"{name}: GPU-hours saved against the autoscaled monolith"
            rows.append(Row(what, model, value, "%", float(low), float(high), said, use, True))
    return rows
