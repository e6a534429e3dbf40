"""Section 5.3: the highest rate as the objectives become laxer, in both readings of who may take how long."""

from __future__ import annotations

from typing import Any

from slackwise.simulator.objectives import SCALES
from slackwise.tuning.reproduce import paper
from slackwise.tuning.reproduce.finding import CHECK, Finding, Row
from slackwise.tuning.reproduce.services import MONOLITH, ROUTING, TODAY, Tuned, others, steps
from slackwise.tuning.reproduce.setting import COUNTS, Progress, Setting
from slackwise.tuning.reproduce.throughput import rates, ratio
from slackwise.tuning.reproduce.traffic import window

FACTORS = (2.0, 3.0, 5.0, 8.0, 12.0, 20.0)
FLEET = 0.25
"""Of the large fleet."""


def slo(setting: Setting, tuned: Tuned, progress: Progress) -> Finding:
    """Highest rates over the monolith's by factor and scale of the objectives, on a quarter of the fleet."""
    cells = [(model, scale, factor) for model in setting.models for scale in SCALES for factor in FACTORS]
    gpus, day = round(setting.gpus * FLEET), window(setting, COUNTS[0])
    rows: list[Row] = []
    curves: dict[str, Any] = {}
    for at, (model, scale, factor) in enumerate(cells):
        progress(f"{model}, objectives x {factor:g}, {scale}", at / len(cells))
        made = steps(setting, model, gpus)
        services = {name: made[name] for name in (MONOLITH, ROUTING)}
        extra = others(setting, model, gpus, tuned)
        services |= {name: each for name, each in extra.items() if name == TODAY or name in tuned.get(model, {})}
        found = rates(setting, services, [day], setting.objectives(model, factor, scale))
        curve = curves.setdefault(f"{model}, {scale}", {})
        for name, each in found.items():
            over = ratio(each, found[MONOLITH])
            curve.setdefault(name, []).append([factor, each[0], over.value])
            if name != MONOLITH:
                what, case = f"{name}: highest rate over the monolith's", f"{model}, {scale}, objectives x {factor:g}"
                rows.append(Row(what, case, over.value, "x"))
    best = [_best(model, scale, curves[f"{model}, {scale}"]) for model in setting.models for scale in SCALES]
    why = (
        "One window only, so no interval; and the most over a sweep is a maximum, which a coarse grid and noise lift. "
        "With one objective for all image requests many miss it on idle GPUs, and no rate reaches 99 %."
    )
    return Finding((*best, *rows), why, (), (), {"slo": curves})


def _best(model: str, scale: str, curve: dict[str, Any]) -> Row:
    values = [ratio_ for _, _, ratio_ in curve[ROUTING] if ratio_ is not None]
    said = paper.THROUGHPUT_OVER_SLOS[model]
    what = f"{ROUTING}: the most over all factors"
    return Row(what, f"{model}, {scale}", max(values, default=None), "x", paper=said, use=CHECK, main=True)
