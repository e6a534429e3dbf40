"""Section 5.3: how many encoders a text instance needs: P99 TTFT over the monolith's by ratio and image share."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

from slackwise.tuning.outcome import Outcome, run_windows
from slackwise.tuning.paired import judge
from slackwise.tuning.reproduce import paper
from slackwise.tuning.reproduce.curves import rounded
from slackwise.tuning.reproduce.finding import CHECK, SHOWN, Finding, Goal, Row, judged, number
from slackwise.tuning.reproduce.services import Tuned, modserve, monolith
from slackwise.tuning.reproduce.setting import COUNTS, Progress, Setting
from slackwise.tuning.reproduce.traffic import at_share, busy_rate, window

TEXT = (4, 6, 8, 10, 12)
"""Text instances of TP-4 on 64 GPUs; encoders of TP-1 have the rest."""

SHARES = (0.1, 0.3, 0.5, 0.7, 0.9)
LOADS = (0.45, 0.6)
"""As in the ablation: shares of the rate that would take all of the monoliths' time, at each image share its own."""

RESAMPLES = 200
METRIC = "ttft_p99_s"


def pools(setting: Setting, tuned: Tuned, progress: Progress) -> Finding:
    """The grid for each model, load and reading of the counts, and where the monolith is met."""
    cells = [(model, COUNTS[0], load) for model in setting.models for load in LOADS]
    cells += [(model, COUNTS[1], LOADS[-1]) for model in setting.models]
    rows: list[Row] = []
    goals: list[Goal] = []
    grids: dict[str, Any] = {}
    for at, (model, count, load) in enumerate(cells):
        case = f"{model}, {count}, load {load:g}"

        def tell(share: float, at: int = at, case: str = case) -> None:
            progress(case, (at + share) / len(cells))

        grid = _grid(setting, model, count, load, tell)
        found = {each["images_per_text"]: each["factor"] for each in grid}
        rows += _rows(grid, case, model, (count, load) == (COUNTS[0], LOADS[-1]))
        goals.append(_goal(found, case))
        if (count, load) == (COUNTS[0], LOADS[-1]):
            grids[model] = {"shares": list(SHARES), "rows": grid}
    why = (
        "Load, objectives and sizes of pictures are unknown, and a text instance of ours at TP-4 is held back by "
        "decodes as much as by prefills: where text is heavy more text instances pay, whatever the encoders do."
    )
    return Finding(tuple(rows), why, tuple(goals), (), {"grid": grids})


def _grid(setting: Setting, model: str, count: str, load: float, tell: Any) -> list[dict[str, Any]]:
    """One entry a ratio, with the factor over the monolith and the P99 in seconds at each share."""
    gpus, day = setting.gpus // 2, window(setting, count)
    texts = list(dict.fromkeys(max(1, round(text * gpus / 64)) for text in TEXT))
    base = monolith(setting, model, gpus)
    grid = [_ratio(text, gpus) for text in texts]
    for at, share in enumerate(SHARES):
        light = at_share(day, share, 0.2 * len(day) / day.span_s, setting.seed)
        rate = load * busy_rate(light, base, setting)
        trace = at_share(day, share, rate, setting.seed)
        ours = [modserve(setting, model, gpus, text) for text in texts]
        objectives = setting.objectives(model)
        outcomes = [run_windows([trace], each, objectives, setting.seed) for each in (base, *ours)]
        for entry, outcome in zip(grid, outcomes[1:], strict=True):
            _add(entry, outcomes[0], outcome)
        tell((at + 1) / len(SHARES))
    for entry in grid:
        known = [each for each in entry["factors"] if each]
        entry["factor"] = rounded(math.exp(sum(map(math.log, known)) / len(known))) if known else None
    return grid


def _ratio(text: int, gpus: int) -> dict[str, Any]:
    encoders = gpus - 4 * text
    return {
        "text": text,
        "encoders": encoders,
        "images_per_text": round(encoders / text, 2),
        "factors": [],
        "low": [],
        "high": [],
        "p99_s": [],
    }


def _add(entry: dict[str, Any], base: Outcome, outcome: Outcome) -> None:
    """The factor and its interval, from the paired difference of P99 with ours as it is."""
    outcomes = [outcome, _named(base)]
    found = judge(outcomes, outcome.name, metric=METRIC, resamples=RESAMPLES).difference("base", METRIC)
    ours = found.baseline
    for name, value in (("factors", found.value), ("low", ours + found.low), ("high", ours + found.high)):
        finite = number(value / ours) if ours > 0 else None
        entry[name].append(None if finite is None else rounded(finite))
    entry["p99_s"].append(rounded(ours))


def _named(outcome: Outcome) -> Outcome:
    return replace(outcome, configuration=replace(outcome.configuration, name="base"))


def _rows(grid: Sequence[Mapping[str, Any]], case: str, model: str, main: bool) -> list[Row]:
    rows = []
    flat = [(each, at) for each in grid for at in range(len(SHARES))]
    best, at = max(flat, key=lambda cell: cell[0]["factors"][cell[1]] or 0.0)
    told = f"{case}, {best['text']}:{best['encoders']}, image share {SHARES[at]:g}"
    interval = best["low"][at], best["high"][at]
    what = "best P99 factor of a cell over the monolith"
    rows.append(Row(what, told, best["factors"][at], "x", *interval, paper.BEST_RATIO[model], SHOWN, main))
    even = break_even(grid)
    rows.append(Row("encoders a text instance at break-even", case, even, "-", None, None, 2.4, CHECK, main))
    for each in grid:
        for share, factor, low, high in zip(SHARES, each["factors"], each["low"], each["high"], strict=True):
            cell = f"{case}, {each['text']}:{each['encoders']}, image share {share:g}"
            rows.append(Row("P99 TTFT of the monolith over ours", cell, factor, "x", low, high))
    return rows


def break_even(grid: Sequence[Mapping[str, Any]]) -> float | None:
    """Encoders a text instance from which on the mean factor is above 1, between neighbours on a logarithmic scale.

    None if it is never lost with fewer encoders and won with more.
    """
    points = sorted((float(each["images_per_text"]), float(each["factor"])) for each in grid if each["factor"])
    for (fewer, under), (more, over) in pairwise(points):
        if under < 1.0 <= over:
            part = math.log(under) / (math.log(under) - math.log(over))
            return float(round(fewer * (more / fewer) ** part, 2))
    return None


def _goal(found: Mapping[float, float | None], case: str) -> Goal:
    """Between 1.33 and 2.4 encoders a text instance: lost at the one, won at the other."""
    low, high = paper.BREAK_EVEN
    under = min(found, key=lambda each: abs(each - low))
    over = min(found, key=lambda each: abs(each - high))
    what = f"break-even between {low:g} and {high:g} encoders a text instance: {case}"
    one, two = found[under], found[over]
    if one is None or two is None or under == over:
        return judged(what, None, "too few ratios have a number")
    by = f"mean factor x {one:.2f} at {under:g} (goal: below 1), x {two:.2f} at {over:g} (goal: above 1)"
    return judged(what, one < 1.0 < two, by)
