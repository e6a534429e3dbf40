"""GPUs against attainment: the same traffic on static fleets of every size, by each service."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from slackwise.tuning.confidence import confidence
from slackwise.tuning.outcome import run_windows
from slackwise.tuning.reproduce.finding import Finding, Row
from slackwise.tuning.reproduce.services import MONOLITH, ROUTING, Tuned, others, steps
from slackwise.tuning.reproduce.setting import COUNTS, Progress, Setting
from slackwise.tuning.reproduce.traffic import at_rate, busy_rate, window

LOAD = 0.3
"""Of the whole fleet's monoliths, as in the ablation."""

SIZES = (0.25, 0.375, 0.5, 0.625, 0.75, 0.875, 1.0)
TARGETS = (0.95, 0.99)
RESAMPLES = 300


def front(setting: Setting, tuned: Tuned, progress: Progress) -> Finding:
    """Attainment by GPUs, and the fewest GPUs that attain a target."""
    rows: list[Row] = []
    curves: dict[str, Any] = {}
    cells = [(model, share) for model in setting.models for share in SIZES]
    day = window(setting, COUNTS[0])
    for at, (model, share) in enumerate(cells):
        gpus = max(8, round(setting.gpus * share / 4) * 4)
        progress(f"{model}, {gpus} GPUs", at / len(cells))
        rate = LOAD * busy_rate(day, steps(setting, model, setting.gpus)[MONOLITH], setting)
        trace = at_rate(day, rate, setting.seed)
        made = steps(setting, model, gpus)
        services = {name: made[name] for name in (MONOLITH, ROUTING)} | others(setting, model, gpus, tuned)
        for name, each in services.items():
            outcome = run_windows([trace], each, setting.objectives(model), setting.seed)
            told = confidence(outcome.results, setting.seed, resamples=RESAMPLES).intervals["all"]["attainment"]
            met = float(outcome.result.met.mean())
            curves.setdefault(model, {}).setdefault(name, []).append([gpus, 100 * met])
            low, high = (None, None) if told is None else (100 * told[0], 100 * told[1])
            rows.append(Row(f"{name}: SLO met", f"{model}, {gpus} GPUs", 100 * met, "%", low, high))
    fewest = [row for model in setting.models for row in _fewest(model, curves[model])]
    why = "The paper has no such figure; fleets keep the ratio of pools that each service has."
    return Finding((*fewest, *rows), why, (), (), {"front": curves})


def _fewest(model: str, curves: Mapping[str, Sequence[Sequence[float]]]) -> list[Row]:
    rows = []
    for name, line in curves.items():
        for target in TARGETS:
            enough = [gpus for gpus, met in line if met >= 100 * target]
            value = float(min(enough)) if enough else None
            rows.append(Row(f"{name}: fewest GPUs of the grid for {target:.0%}", model, value, "GPUs", main=True))
    return rows
