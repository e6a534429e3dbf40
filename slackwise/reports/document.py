"""report.json: everything a page or a table shows, and what is needed to run it again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from importlib.metadata import version
from typing import Any

from slackwise.policies.winner import versions
from slackwise.tuning.search_study import Plan

OBJECTIVE = "SLO attainment: share of requests whose TTFT and mean TBT are both within their objectives"


def document(cards: Sequence[dict[str, Any]], plan: Plan) -> dict[str, Any]:
    """The report of a study of one or several models."""
    return {
        "command": command([card["model"] for card in cards], plan),
        "plan": asdict(plan),
        "seed": plan.seed,
        "versions": versions() | {"optuna": version("optuna")},
        "objective": OBJECTIVE,
        "rows": [row for card in cards for row in card["rows"]],
        "cards": list(cards),
    }


def command(models: Sequence[str], plan: Plan) -> str:
    """What to type to get the report again, every option spelled out."""
    named = [f"--model {model}" for model in models]
    load = f"--gpu {plan.gpu} --gpus {plan.gpus} --hours {plan.hours:g} --target {plan.target:g}"
    search = f"--trials {plan.trials} --slo-factor {plan.slo_factor:g} --slo-scale {plan.slo_scale} --seed {plan.seed}"
    return " ".join(["slackwise demo", *named, load, search])
