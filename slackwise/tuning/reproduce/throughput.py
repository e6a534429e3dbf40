"""Section 5.2: the highest rate within the objectives on 4 to 16 servers."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from slackwise.simulator import Configuration, Objectives
from slackwise.traces import Trace
from slackwise.tuning.capacity import capacity
from slackwise.tuning.interval import student_t
from slackwise.tuning.reproduce import paper
from slackwise.tuning.reproduce.finding import CHECK, OURS, Finding, Goal, Row, judged
from slackwise.tuning.reproduce.services import (
    DECOUP,
    MONOLITH,
    ROUTING,
    SCHED,
    TUNED,
    TUNED_TODAY,
    Tuned,
    others,
    steps,
)
from slackwise.tuning.reproduce.setting import COUNTS, INTERN, LLAMA, Progress, Setting
from slackwise.tuning.reproduce.traffic import at_rate, busy_rate, windows

FLEETS = (0.25, 0.5, 0.75, 1.0)
"""Of the large fleet: 4, 8, 12 and 16 servers if it has 128 GPUs."""

BEGIN = 0.25
"""Share of the monoliths' busy rate that the search for a capacity begins at."""

TOLERANCE = 0.04
LAX = 10.0
"""The other factor of the objectives, on the smallest fleet: the paper does not give its own."""


@dataclass(frozen=True)
class Ratio:
    """A service's highest rate over another's, over windows: geometric mean with Student's t on logarithms."""

    value: float | None
    low: float | None = None
    high: float | None = None


def ratio(ours: Sequence[float], theirs: Sequence[float]) -> Ratio:
    """The ratio over windows; no number where one of them carries no rate at all."""
    if min(*ours, *theirs) <= 0.0:
        return Ratio(None)
    logs = np.log(np.asarray(ours) / np.asarray(theirs))
    middle = float(logs.mean())
    if len(logs) < 2:
        return Ratio(math.exp(middle))
    half = student_t(len(logs) - 1) * float(logs.std(ddof=1)) / math.sqrt(len(logs))
    return Ratio(math.exp(middle), math.exp(middle - half), math.exp(middle + half))


def rates(
    setting: Setting, services: Mapping[str, Configuration], days: Sequence[Trace], objectives: Objectives
) -> dict[str, list[float]]:
    """Requests a second that each service carries within the objectives, on each day."""
    found: dict[str, list[float]] = {name: [] for name in services}
    for day in days:
        begin = at_rate(day, BEGIN * busy_rate(day, services[MONOLITH], setting), setting.seed)
        for name, each in services.items():
            most = capacity(begin, each, objectives, tolerance=TOLERANCE, seed=setting.seed)
            found[name].append(most.requests_per_s)
    return found


def throughput(setting: Setting, tuned: Tuned, progress: Progress) -> Finding:
    """Each service's highest rate, as a multiple of the monolith's, by fleet and reading."""
    cells: list[tuple[str, str, float, float | None]] = []
    cells += [(model, COUNTS[0], share, None) for model in setting.models for share in FLEETS]
    cells += [(model, COUNTS[1], FLEETS[0], None) for model in setting.models]
    cells += [(model, COUNTS[0], FLEETS[0], LAX) for model in setting.models]
    rows: list[Row] = []
    curves: dict[str, Any] = {}
    gains: dict[str, float | None] = {}
    ahead: dict[str, dict[str, Ratio]] = {}
    for at, (model, count, share, factor) in enumerate(cells):
        gpus = _gpus(setting, share)
        progress(f"{model}, {gpus} GPUs, {count}", at / len(cells))
        services = steps(setting, model, gpus) | others(setting, model, gpus, tuned)
        found = rates(setting, services, windows(setting, count), setting.objectives(model, factor))
        case = f"{model}, {count}, {gpus} GPUs, objectives x {factor or setting.slo_factor:g}"
        main = count == COUNTS[0] and share == FLEETS[-1]
        rows += _rows(found, case, model, main)
        if count == COUNTS[0] and factor is None:
            _append(curves.setdefault(model, {}), gpus, found)
        if main:
            gains[model] = ratio(found[ROUTING], found[MONOLITH]).value
        for name in (TUNED, TUNED_TODAY):
            ahead.setdefault(f"{model}: {name}", {})[case] = ratio(found.get(name, [0.0]), found[ROUTING])
    goals = [_order(gains), *(_ahead(name, each) for name, each in ahead.items())]
    why = (
        "The paper does not give its objectives; with ours the time between tokens binds as often as the first token, "
        "and the prefill-first engine, not the pools, decides that."
    )
    return Finding(tuple(rows), why, tuple(goals), (), {"capacity": curves})


def _gpus(setting: Setting, share: float) -> int:
    """GPUs of a fleet, in whole TP-4 instances."""
    return max(8, round(setting.gpus * share / 4) * 4)


def _append(curves: dict[str, Any], gpus: int, found: Mapping[str, Sequence[float]]) -> None:
    for name, each in found.items():
        curves.setdefault(name, []).append([gpus, round(float(np.mean(each)), 3)])


def _rows(found: Mapping[str, Sequence[float]], case: str, model: str, main: bool) -> list[Row]:
    rows = []
    for name, each in found.items():
        if name != MONOLITH:
            over = ratio(each, found[MONOLITH])
            said = paper.THROUGHPUT[model] if name == ROUTING else None
            what = f"{name}: highest rate over the monolith's"
            rows.append(Row(what, case, over.value, "x", over.low, over.high, said, CHECK if said else OURS, main))
        rows.append(Row(f"{name}: highest rate", case, float(np.mean(each)) or None, "requests/s", main=main))
    for name in (DECOUP, SCHED):
        over = ratio(found[name], found[ROUTING])
        rows.append(Row(f"{name}: highest rate over + Routing's", case, over.value, "x", over.low, over.high))
    return rows


def _order(gains: Mapping[str, float | None]) -> Goal:
    """Decoder-only gains more throughput than cross-attention."""
    what = "the decoder-only model gains more throughput than the cross-attention model"
    intern, llama = gains.get(INTERN), gains.get(LLAMA)
    if intern is None or llama is None:
        return judged(what, None, "a service carries no rate within the objectives")
    return judged(what, intern > llama, f"InternVL x {intern:.2f}, Llama x {llama:.2f}; by {intern - llama:+.2f}")


def _ahead(name: str, cases: Mapping[str, Ratio]) -> Goal:
    """What was tuned carries more than ModServe in every case."""
    known = {case: each for case, each in cases.items() if each.value is not None}
    what = f"{name} carries more than ModServe everywhere"
    if not known:
        return judged(what, None, "no case in which both carry a rate")
    worst = min(known, key=lambda case: known[case].value or 0.0)
    least = known[worst]
    sure = [each.low is not None and each.low > 1.0 for each in known.values()]
    holds = True if all(sure) and len(known) == len(cases) else False if (least.value or 0.0) < 1.0 else None
    interval = "" if least.low is None else f" [{least.low:.2f}, {least.high:.2f}]"
    return judged(
        what, holds, f"{sum(sure)} of {len(cases)} cases surely; the worst, {worst}: x {least.value:.2f}{interval}"
    )
