"""The demo: a study of each model side by side, and the files that it leaves."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from slackwise.errors import InputError
from slackwise.files import check_folder, write_text
from slackwise.latency.gpu import load_gpu
from slackwise.latency.model import load_model
from slackwise.optional import require
from slackwise.reports.card import card
from slackwise.reports.document import document
from slackwise.reports.page import page
from slackwise.reports.processes import Report, run_all
from slackwise.tuning.search_study import Plan, study

NEEDED = (("optuna", "demo"), ("matplotlib", "demo"), ("jinja2", "demo"))
"""Optional dependencies of the demo and the extra that holds them."""


def check(models: Sequence[str], plan: Plan, folder: Path) -> tuple[tuple[str, ...], Plan]:
    """Models and plan with names in full. Raises InputError for what would only fail after the work is done."""
    for module, extra in NEEDED:
        require(module, extra)
    names = tuple(load_model(each).name for each in models)
    if len(set(names)) < len(names):
        raise InputError(f"a model is named twice: {', '.join(names)}")
    check_folder(folder)
    return names, replace(plan, gpu=load_gpu(plan.gpu).name)


def warm_up() -> None:
    """Compile the simulator, or load it from the cache, so that the processes that follow find it there."""
    import slackwise.simulator.kernel
    import slackwise.tuning.estimates  # noqa: F401


def demo(models: Sequence[str], plan: Plan, processes: int, report: Report) -> dict[str, Any]:
    """Study every model and return report.json."""
    return document(run_all(_card, [(model, plan) for model in models], processes, report), plan)


def write_files(folder: Path, found: Mapping[str, Any]) -> list[Path]:
    """Write report.html, report.json and the winners into `folder`, each whole; return their paths."""
    texts = {"report.html": page(found), "report.json": json.dumps(found, indent=1, allow_nan=False) + "\n"}
    for name, winner in winners(found).items():
        texts[name] = json.dumps(winner, indent=2, allow_nan=False) + "\n"
    for name, text in texts.items():
        write_text(folder / name, text)
    return [folder / name for name in texts]


def winners(found: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """File name -> winner of each model; winner.json is that of the first model that today's engine runs."""
    cards = found["cards"]
    first = next((each for each in cards if not each["rows"][-1]["hypothetical"]), cards[0])
    return {("winner.json" if each is first else f"winner-{each['model']}.json"): each["winner"] for each in cards}


def _card(argument: tuple[str, Plan], progress: Callable[[str, float], None]) -> dict[str, Any]:
    model, plan = argument
    found = card(study(model, plan, progress))
    progress("done", 1.0)
    return found
