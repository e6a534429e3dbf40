"""Section 5.2: monolith, pools apart, + scheduling, + routing on 128 GPUs, static fleets."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from slackwise.simulator import Configuration, summary
from slackwise.simulator.state import CLASSES
from slackwise.traces import Trace
from slackwise.tuning.interval import Difference
from slackwise.tuning.outcome import Outcome, run_windows
from slackwise.tuning.paired import judge
from slackwise.tuning.reproduce import paper
from slackwise.tuning.reproduce.curves import ttft_curve
from slackwise.tuning.reproduce.finding import CHECK, OURS, Finding, Goal, Row, goal_over, reduction
from slackwise.tuning.reproduce.services import (
    DECOUP,
    MONOLITH,
    NO_LATER,
    NO_LATER_TODAY,
    ROUTING,
    STEPS,
    TUNED,
    TUNED_TODAY,
    Tuned,
    others,
    steps,
)
from slackwise.tuning.reproduce.setting import COUNTS, Progress, Setting
from slackwise.tuning.reproduce.traffic import at_rate, busy_rate, describe, window

LOADS = (0.3, 0.45, 0.6)
"""Rates, as shares of the one at which encode and prefill would take all of the monoliths' time."""

HIGH, LOW = LOADS[-1], LOADS[0]
METRICS = ("ttft_mean_s", "ttft_p99_s", "tbt_mean_s")
WORDS = {"ttft_mean_s": "mean TTFT", "ttft_p99_s": "P99 TTFT", "tbt_mean_s": "mean TBT", "attainment": "SLO met"}
RESAMPLES = 300

ALL_TUNED = (TUNED, TUNED_TODAY, NO_LATER, NO_LATER_TODAY)

READINGS = (("per_image", "least_requests"), ("none", "least_requests"), ("per_image", "round_robin"))
"""(images of a request, router) before the paper's routing, the usual one first: fanned out from the beginning, or by
its routing only; to the fewest requests, or in turn. The paper says neither."""


Pair = tuple[str, str, dict[str, Difference]]
"""A service, what it is compared with, and the differences by metric."""


def ablation(setting: Setting, tuned: Tuned, progress: Progress) -> Finding:
    """Each step against the one before it, by load, reading of the counts and reading of what precedes routing."""
    cells = list(_cells(setting))
    rows: list[Row] = []
    told: dict[str, dict[str, list[Pair]]] = {}
    curves: dict[str, Any] = {}
    traffic: dict[str, str] = {}
    for at, (model, count, load, reading) in enumerate(cells):
        progress(f"{model}, {count}, load {load:g}, {reading[1]}", at / len(cells))
        trace = _trace(setting, model, count, load)
        main = (count, load, reading) == (COUNTS[0], HIGH, READINGS[0])
        outcomes = _outcomes(setting, model, trace, reading, tuned if reading == READINGS[0] else {})
        case = f"{model}, {count}, load {load:g}, {reading[0]}, {reading[1]}"
        pairs = list(_pairs(outcomes))
        rows += _reductions(pairs, case, model, main) + _values(outcomes, case, main)
        if reading == READINGS[0]:
            told.setdefault(model, {})[f"{count}, load {load:g}"] = pairs
        if main:
            curves[model] = {each.name: ttft_curve(each.result) for each in outcomes}
            traffic[model] = describe(trace)
    why = (
        "The paper gives neither its rate nor its router before ModServe's; our encoders at TP-1 take "
        f"{' and '.join(_slower(setting, model) for model in setting.models)} times as long for an image as the "
        "monoliths' TP-4, and the more they do, the less pools apart gain at low load."
    )
    goals = [goal for model, cells_ in told.items() for goal in _goals(model, cells_)]
    notes = tuple(f"{model}, {COUNTS[0]}, load {HIGH:g}: {text}" for model, text in traffic.items())
    return Finding(tuple(rows), why, tuple(goals), notes, {"ttft": curves})


def _slower(setting: Setting, model: str) -> str:
    """How many times as long an encoder takes for a tile as the monolith, which has four GPUs for it."""
    apart, together = (_tile_s(steps(setting, model, setting.gpus)[name]) for name in (DECOUP, MONOLITH))
    return f"{apart / together:.1f} ({model})"


def _tile_s(configuration: Configuration) -> float:
    cluster = configuration.cluster
    return float(cluster.costs(cluster.pools[0]).record["encode_s_per_tile"])


def _cells(setting: Setting) -> Iterator[tuple[str, str, float, tuple[str, str]]]:
    """The usual reading everywhere; the others at one reading of the counts and the high load."""
    for model in setting.models:
        for count in COUNTS:
            yield from ((model, count, load, READINGS[0]) for load in LOADS)
        yield from ((model, COUNTS[0], HIGH, reading) for reading in READINGS[1:])


def _trace(setting: Setting, model: str, count: str, load: float) -> Trace:
    day = window(setting, count)
    monolith = steps(setting, model, setting.gpus)[MONOLITH]
    return at_rate(day, load * busy_rate(day, monolith, setting), setting.seed)


def _outcomes(setting: Setting, model: str, trace: Trace, reading: tuple[str, str], tuned: Tuned) -> Sequence[Outcome]:
    services = steps(setting, model, setting.gpus, *reading)
    if tuned:
        services |= others(setting, model, setting.gpus, tuned, ALL_TUNED)
    objectives = setting.objectives(model)
    return [run_windows([trace], each, objectives, setting.seed) for each in services.values()]


def _pairs(outcomes: Sequence[Outcome]) -> Iterator[Pair]:
    """(name, what it is compared with, differences): each step with the one before it, all others with ModServe."""
    by_name = {each.name: each for each in outcomes}
    for name in by_name:
        base = STEPS[STEPS.index(name) - 1] if name in STEPS else ROUTING
        if name != MONOLITH:
            found = judge([by_name[base], by_name[name]], base, resamples=RESAMPLES)
            yield name, base, {metric: found.difference(name, metric) for metric in (*METRICS, "attainment")}


def _reductions(pairs: Sequence[Pair], case: str, model: str, main: bool) -> list[Row]:
    rows = []
    for name, base, found in pairs:
        said = dict(zip(METRICS, paper.REDUCTION[model].get(name, ()), strict=False)) if name in STEPS else {}
        for metric in METRICS:
            value, low, high = reduction(found[metric])
            use = CHECK if metric in said else OURS
            what = f"{name}: {WORDS[metric]} lower than {base}"
            rows.append(Row(what, case, value, "%", low, high, said.get(metric), use, main))
    return rows


def _values(outcomes: Sequence[Outcome], case: str, main: bool) -> list[Row]:
    rows = []
    for each in outcomes:
        row = summary(each.result)["classes"]
        for metric in ("mean", "p99"):
            rows.append(Row(f"{each.name}: {metric} TTFT", case, row["all"]["ttft_s"][metric], "s", main=main))
        rows.append(Row(f"{each.name}: SLO met", case, 100 * row["all"]["attainment"], "%", main=main))
        rows += [
            Row(f"{each.name}: P99 TTFT, {kind}", case, row[kind]["ttft_s"]["p99"], "s")
            for kind in CLASSES
            if kind in row
        ]
    return rows


def _goals(model: str, cells: Mapping[str, Sequence[Pair]]) -> list[Goal]:
    """Over all cells: each step better than the one before it, and what was tuned better than ModServe."""
    wanted = [(name, metric) for name in STEPS[1:] for metric in METRICS[:2]]
    wanted += [(name, "attainment") for name in (TUNED, TUNED_TODAY)]
    wanted += [(name, metric) for name in (NO_LATER, NO_LATER_TODAY) for metric in (*METRICS[:2], "attainment")]
    goals = []
    for name, metric in wanted:
        found = {case: each[metric] for case, pairs in cells.items() for one, _, each in pairs if one == name}
        words = f"lowers {WORDS[metric]}" if name in STEPS else f"is ahead of ModServe in {WORDS[metric]}"
        if found:
            goals.append(goal_over(f"{model}: {name} {words} everywhere", found))
    return goals
